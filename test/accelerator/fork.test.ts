import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Broker } from '../broker/support-broker.js';
import { requirement } from '../support/requirement.js';
import type { ForkReport } from './support-forker.js';

const FORKER = fileURLToPath(new URL('./support-forker.js', import.meta.url));
const PROBE = fileURLToPath(new URL('../../../test/fixtures/fork-probe.c', import.meta.url));
const O_CLOEXEC = 0o2000000;

/** What a descriptor of a process leads to. */
function target(pid: number, fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    return undefined;
  }
}

/** Tries it in a process of its own, with a native library that forks. */
async function forker(t: TestContext, kind: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'warpdrive-fork-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const library = join(folder, 'probe.so');
  const compiled = spawnSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, PROBE], { encoding: 'utf8' });
  if (!requirement(t, compiled.error === undefined, 'a C compiler')) return;
  assert.equal(compiled.status, 0, compiled.stderr);
  const { stdout } = await promisify(execFile)(process.execPath, [FORKER, kind, library], {
    timeout: 60_000,
  });
  const report = JSON.parse(stdout) as ForkReport;
  assert.ok(report.shared >= 4, `${report.shared} mappings were looked at`);
  assert.deepEqual(report.inherited, [], 'a forked child has none of them');
  const readable = report.names.filter((_, bit) => (report.readable & (1 << bit)) !== 0);
  assert.deepEqual(readable, ['own'], 'it finds its own memory, and nothing of the device');
  assert.deepEqual(report.notClosedOnExec, []);
  assert.deepEqual(report.seenBySpawned, []);
  assert.ok(report.works, 'its parent goes on');
}

describe('a process that forks, and starts programs', () => {
  test('hands on nothing of an accelerator of its own', (t) => forker(t, 'embedded'));

  test('nor of one that shares its address space', (t) => forker(t, 'sva'));

  test('nor of one of a broker, which has nothing to hand on either', async (t) => {
    const broker = await Broker.start(t);
    const device = await broker.device();
    await device.createQueue({ depth: 16 });
    await forker(t, broker.socket);
    const fds = readdirSync(`/proc/${broker.pid}/fd`).filter((fd) => Number(fd) > 2);
    assert.ok(fds.length > 10);
    for (const fd of fds) {
      // What this process was started with, and has handed on, is none of the broker's.
      if (target(process.pid, fd) === target(broker.pid, fd)) continue;
      const info = readFileSync(`/proc/${broker.pid}/fdinfo/${fd}`, 'utf8');
      const flags = Number.parseInt(/^flags:\s+(\d+)/m.exec(info)![1]!, 8);
      assert.notEqual(flags & O_CLOEXEC, 0, `descriptor ${fd} is closed on exec`);
    }
    const entries = readFileSync(`/proc/${broker.pid}/smaps`, 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
    const shared = entries.filter((entry) => entry.includes('/memfd:warpdrive-'));
    assert.ok(shared.length >= 3);
    for (const entry of shared) assert.match(entry, /^VmFlags:.* dc( |$)/m);
    await device.close();
  });
});
