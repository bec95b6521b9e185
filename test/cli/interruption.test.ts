import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { requirement } from '../support/requirement.js';
import {
  ended,
  hasCommand,
  listing,
  MAIN,
  sampleText,
  startWarpdrive,
  temporaryFolder,
  untilWriting,
  warpdrive,
} from './support-cli.js';

const BIG = sampleText(12_000_000);

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  test(`${signal} in the middle leaves the source and nothing else`, async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'big');
    writeFileSync(path, BIG);
    const child = startWarpdrive(['compress', '--level=12', path]);
    const end = ended(child);
    await untilWriting(folder, 1);
    child.kill(signal);
    assert.deepEqual(await end, { code, signal: null });
    assert.deepEqual(listing(folder), ['big']);
    assert.ok(readFileSync(path).equals(BIG));
  });
}

test('a signal ends a process that waits for its input, and one whose reader stands still', async () => {
  const waiting = startWarpdrive(['compress'], ['pipe']);
  const waitingEnd = ended(waiting);
  waiting.stdout!.resume();
  await sleep(1000);
  waiting.kill('SIGTERM');
  assert.equal((await waitingEnd).code, 143);
  const folder = temporaryFolder();
  const path = join(folder, 'big');
  writeFileSync(path, BIG);
  const stuck = startWarpdrive(['compress', '-c', path]);
  const stuckEnd = ended(stuck);
  // Nobody reads its output: the pipe is full soon.
  stuck.stdout!.pause();
  await sleep(1500);
  stuck.kill('SIGTERM');
  const { code, signal } = await stuckEnd;
  assert.ok(code === 143 || signal === 'SIGTERM');
});

test('a reader that goes away ends it quietly', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'big');
  writeFileSync(path, BIG);
  const script = `"$1" "$2" compress -c "$3" | head -c 10 >/dev/null; echo "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', script, '-', process.execPath, MAIN, path], {
    encoding: 'utf8',
  });
  assert.equal(stderr, '');
  assert.equal(stdout, '141\n');
});

test('a full device is told in one line', () => {
  const full = openSync('/dev/full', 'w');
  const { code, stderr } = warpdrive(['compress', '-c'], { input: sampleText(1000), stdout: full });
  closeSync(full);
  assert.equal(code, 1);
  assert.equal(stderr, 'warpdrive: stdout: no space left on device\n');
});

test('a full disk: the source stays, the part is removed, and the next file is still tried', (t) => {
  const folder = temporaryFolder();
  const disk = join(folder, 'disk');
  mkdirSync(disk);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', disk]).status === 0;
  if (!requirement(t, mounted, 'permission to mount a tmpfs')) return;
  try {
    const small = sampleText(300_000);
    const random = spawnSync('head', ['-c', '2000000', '/dev/urandom'], { maxBuffer: 1e7 }).stdout;
    writeFileSync(join(disk, 'a'), random);
    writeFileSync(join(disk, 'b'), small);
    const { code, stderr } = warpdrive(['compress', 'a', 'b'], { cwd: disk });
    assert.equal(code, 1);
    assert.equal(stderr, 'warpdrive: a.gz: no space left on device\n');
    assert.deepEqual(listing(disk), ['a', 'b.gz']);
    assert.ok(readFileSync(join(disk, 'a')).equals(random));
    assert.ok(gunzipSync(readFileSync(join(disk, 'b.gz'))).equals(small));
  } finally {
    spawnSync('umount', ['-l', disk]);
    rmSync(disk, { recursive: true, force: true });
  }
});

test('an output that appears meanwhile is not overwritten', async () => {
  const folder = temporaryFolder();
  const path = join(folder, 'big');
  writeFileSync(path, BIG);
  const child = startWarpdrive(['compress', '--level=9', path]);
  const end = ended(child);
  await untilWriting(folder, 1);
  writeFileSync(`${path}.gz`, 'somebody else’s');
  assert.equal((await end).code, 2);
  assert.equal(readFileSync(`${path}.gz`, 'utf8'), 'somebody else’s');
  assert.deepEqual(listing(folder), ['big', 'big.gz']);
});

const hasScript = hasCommand('script');
const SCRIPT = 'the command script, which makes a terminal,';

/** Runs a shell command on a terminal of its own; what it showed. */
async function onTerminal(command: string, typed: string): Promise<string> {
  const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'ignore'] });
  after(() => void child.kill());
  let shown = '';
  child.stdout.on('data', (data) => {
    shown += data;
    if (typed && shown.includes('(y or n)?')) child.stdin.write(typed);
    if (typed && shown.includes('(y or n)?')) typed = '';
  });
  await ended(child);
  return shown;
}

test('at a terminal: asks before it overwrites', async (t) => {
  if (!requirement(t, hasScript, SCRIPT)) return;
  const folder = temporaryFolder();
  const path = join(folder, 'a');
  writeFileSync(path, 'text');
  writeFileSync(`${path}.gz`, 'precious');
  const command = `'${process.execPath}' '${MAIN}' compress -k '${path}'`;
  assert.match(await onTerminal(command, 'n\n'), /already exists; overwrite it \(y or n\)\?/);
  assert.equal(readFileSync(`${path}.gz`, 'utf8'), 'precious');
  await onTerminal(command, 'y\n');
  assert.equal(gunzipSync(readFileSync(`${path}.gz`)).toString(), 'text');
});

test('at a terminal: no compressed data without -f, and progress that is cleared', async (t) => {
  if (!requirement(t, hasScript, SCRIPT)) return;
  const folder = temporaryFolder();
  const path = join(folder, 'big');
  writeFileSync(path, BIG);
  const run = `WARPDRIVE_ENGINES=1 '${process.execPath}' '${MAIN}'`;
  assert.match(await onTerminal(`${run} compress -c '${path}'`, ''), /not written to a terminal/);
  const shown = await onTerminal(`${run} compress -k --level=12 '${path}'`, '');
  assert.ok(/\d+%.*MB\/s.*ETA/.test(shown), shown.slice(0, 500));
  assert.ok(shown.endsWith('\r\x1b[K'), 'cleared at the end');
  assert.equal(await onTerminal(`${run} compress -kfq --level=12 '${path}'`, ''), '');
});
