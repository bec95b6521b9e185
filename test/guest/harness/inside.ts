import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node:test';
import { inspect } from 'node:util';
import { restoreDrivers } from '../support-devices.js';
import type { Message } from './report.js';

/** Runs the suites inside the guest and tells the host about them. Arguments: files to run. */

/** A suite that takes longer hangs. */
const FILE_LIMIT_MS = process.env['WARPDRIVE_BENCH'] ? 500_000 : 240_000;

const port = openSync('/dev/warpdrive-report', 'w');

function tell(message: Message): void {
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(port, bytes, at);
}

interface TestEvent {
  name: string;
  nesting: number;
  skip?: string | boolean;
  details: { error?: Error };
}

function tellTest({ name, nesting, skip, details }: TestEvent, passed: boolean): void {
  const { error } = details;
  // What node:test wraps around it says nothing more.
  const reason = error && inspect(error.cause instanceof Error ? error.cause : error);
  const skipped = typeof skip === 'string' ? skip : skip ? 'skipped' : undefined;
  tell({
    kind: 'test',
    name,
    nesting,
    passed,
    ...(skipped === undefined ? {} : { skipped }),
    ...(reason === undefined ? {} : { error: reason }),
  });
}

const files = process.argv.slice(2);
let passed = true;
for (const file of files) {
  restoreDrivers();
  await runSuite(file);
}
const coverage = process.env['NODE_V8_COVERAGE'];
for (const name of coverage ? readdirSync(coverage) : []) {
  tell({ kind: 'coverage', name, text: readFileSync(join(coverage!, name), 'utf8') });
}
const { stdout } = spawnSync('dmesg', { encoding: 'utf8', maxBuffer: 64 << 20 });
tell({ kind: 'log', text: stdout });
tell({ kind: 'end', passed });

/** Each suite finds the devices as the kernel has bound them. */
async function runSuite(file: string): Promise<void> {
  const stream = run({ files: [file], concurrency: 1, timeout: FILE_LIMIT_MS });
  stream.on('test:pass', (event) => tellTest(event as TestEvent, true));
  stream.on('test:fail', (event) => {
    passed = false;
    tellTest(event as TestEvent, false);
  });
  stream.on('test:stdout', ({ message }) => tell({ kind: 'output', text: message }));
  stream.on('test:stderr', ({ message }) => tell({ kind: 'output', text: message }));
  stream.resume();
  await once(stream, 'end');
}
