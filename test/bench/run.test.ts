import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { Row, SuiteReport } from '../../bench/report.js';
import { runBench } from '../../bench/run.js';

/** Runs a bench; resolves with its exit code and what it printed. */
async function run(
  t: TestContext,
  ...args: string[]
): Promise<{ code: number; out: string; errors: string }> {
  let out = '';
  let errors = '';
  const stderr = t.mock.method(process.stderr, 'write', (text: string) => {
    errors += text;
    return true;
  });
  const code = await runBench(args, (text) => {
    out += text;
  });
  stderr.mock.restore();
  return { code, out, errors };
}

function checkRow(row: Row, name: string, unit: string, baseline: string): void {
  assert.equal(row.name, name);
  assert.equal(row.unit, unit);
  assert.equal(row.baseline.name, baseline);
  assert.ok(row.samples.value.length >= 5);
  assert.equal(row.samples.baseline.length, row.samples.value.length);
  for (const sample of [...row.samples.value, ...row.samples.baseline]) assert.ok(sample > 0);
  assert.ok(row.samples.value.includes(row.value!));
  assert.ok(row.samples.baseline.includes(row.baseline.value!));
  assert.equal(typeof row.met, 'boolean');
}

/** A folder for temporary files that nobody else uses. */
function ownTemporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'warpdrive-bench-test-'));
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = folder;
  t.after(() => {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

describe('bench', () => {
  it('prints one JSON document for a suite, with nothing else', async (t) => {
    const { code, out, errors } = await run(t, 'latency', '--json', '--quick');
    assert.equal(code, 0, errors);
    assert.equal(errors, '');
    const report = JSON.parse(out) as SuiteReport;
    assert.equal(report.suite, 'latency');
    assert.ok(report.machine.cpu.length > 0);
    assert.ok(report.machine.cores > 0);
    assert.equal(report.machine.node, process.version);
    assert.ok(report.machine.kernel.length > 0);
    assert.ok(report.machine.engines.some((engine) => engine.startsWith('node ')));
    assert.ok(!Number.isNaN(Date.parse(report.machine.date)));
    const [sync, raw, zlib, worker] = report.rows;
    assert.equal(report.rows.length, 4);
    checkRow(sync!, 'noop-sync', 'ns p50', 'raw-pingpong');
    checkRow(raw!, 'noop-sync-raw', 'ns p50', 'raw-pingpong');
    checkRow(zlib!, 'noop-await', 'ns p50', 'zlib-async-1-byte');
    checkRow(worker!, 'noop-await-worker', 'ns p50', 'worker-postmessage');
  });

  it('divides so that more is better, for times and for rates', async (t) => {
    const times = await run(t, 'latency', '--json', '--quick', '--rows', 'noop-await');
    const [time] = (JSON.parse(times.out) as SuiteReport).rows;
    assert.equal(time!.ratio, time!.baseline.value! / time!.value!);
    const rates = await run(t, 'throughput', '--json', '--quick', '--rows', 'gzip1-4k-1');
    const [rate] = (JSON.parse(rates.out) as SuiteReport).rows;
    assert.equal(rate!.ratio, rate!.value! / rate!.baseline.value!);
  });

  it('measures only the rows asked for', async (t) => {
    const { code, out } = await run(
      t,
      'throughput',
      '--json',
      '--quick',
      '--rows',
      'gunzip-64k-8,noop-pipelined',
    );
    assert.equal(code, 0);
    const { rows } = JSON.parse(out) as SuiteReport;
    assert.deepEqual(
      rows.map((row) => row.name),
      ['noop-pipelined', 'gunzip-64k-8'],
    );
    checkRow(rows[0]!, 'noop-pipelined', 'requests/s', 'worker-postmessage');
    checkRow(rows[1]!, 'gunzip-64k-8', 'MB/s', 'zlib.gunzip');
  });

  it('shares a device between processes of its own, and leaves nothing behind', async (t) => {
    const folder = ownTemporaryFolder(t);
    const rows = 'noop-sync,fair-flood-p99';
    const { code, out, errors } = await run(t, 'broker', '--json', '--quick', '--rows', rows);
    assert.equal(code, 0, errors);
    const report = JSON.parse(out) as SuiteReport;
    const [sync, flood] = report.rows;
    assert.equal(report.rows.length, 2);
    checkRow(sync!, 'noop-sync', 'ns p50', 'raw-pingpong-2-processes');
    checkRow(flood!, 'fair-flood-p99', 'x', 'equal-8th-client');
    assert.deepEqual(readdirSync(folder), []);
  });

  it('loads servers with both kinds of zlib, and leaves nothing behind', async (t) => {
    const folder = ownTemporaryFolder(t);
    const rows = 'gzip1-2k-broker,gzip1-20k-p99';
    const { code, out, errors } = await run(t, 'server', '--json', '--quick', '--rows', rows);
    assert.equal(code, 0, errors);
    const [broker, equal] = (JSON.parse(out) as SuiteReport).rows;
    checkRow(broker!, 'gzip1-2k-broker', 'requests/s', 'node:zlib');
    checkRow(equal!, 'gzip1-20k-p99', 'ms p99', 'node:zlib');
    const figures =
      /^(warpdrive|node:zlib): \d+ requests\/s, p50 .* ms, p99 .* ms, .* p99 .* ms, \d+ MB resident$/;
    for (const note of broker!.notes) assert.match(note, figures);
    assert.equal(broker!.notes.length, 2);
    assert.deepEqual(readdirSync(folder), []);
  });

  it('states a row without a target, and does not judge it', async (t) => {
    const { code, out } = await run(t, 'broker', '--quick', '--rows', 'zero-copy-gzip');
    assert.equal(code, 0);
    assert.match(out, /zero-copy-gzip +[\d,.]+ +MB\/s +[\d,.]+ +ordinary-buffers +[\d,.]+ +- +stated /);
  });

  it('prints a table with targets for people', async (t) => {
    const { code, out } = await run(t, 'latency', '--quick', '--rows', 'noop-await');
    assert.equal(code, 0);
    assert.match(
      out,
      /noop-await +[\d,.]+ +ns p50 +[\d,.]+ +zlib-async-1-byte +[\d,.]+ +ratio >= 10 +(met|MISSED)/,
    );
    assert.ok(out.includes(process.version));
  });

  it('answers an unknown suite with a list of those there are', async (t) => {
    const { code, out, errors } = await run(t, 'latncy');
    assert.notEqual(code, 0);
    assert.equal(out, '');
    assert.match(errors, /no suite "latncy"/);
    const suites = [
      'latency',
      'throughput',
      'cli',
      'syscalls',
      'memory',
      'starvation',
      'idle',
      'alloc',
      'broker',
      'crossover',
      'kernel-vs-user',
      'stream',
      'small',
      'server',
      'all',
    ];
    assert.ok(errors.includes(`suites: ${suites.join(', ')}`));
  });

  it('answers an unknown row with a list of those there are', async (t) => {
    const { code, errors } = await run(t, 'throughput', '--rows', 'gzip1-4k-1,gzip9');
    assert.notEqual(code, 0);
    assert.match(errors, /no row gzip9 in throughput: there are noop-pipelined, gzip1-4k-1, /);
  });

  it('refuses unknown options, no suite and two suites', async (t) => {
    for (const args of [['latency', '--fast'], [], ['latency', 'idle']]) {
      const { code, errors } = await run(t, ...args);
      assert.notEqual(code, 0);
      assert.match(errors, /usage: warpdrive bench SUITE/);
    }
  });
});
