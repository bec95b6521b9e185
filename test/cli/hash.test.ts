import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, closeSync, mkdirSync, openSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { algorithmsOf } from '../../src/abi/algorithms.js';
import { requirement } from '../support/requirement.js';
import {
  ended,
  hasCommand,
  MAIN,
  noise,
  run,
  startWarpdrive,
  temporaryFolder,
  warpdrive,
} from './support-cli.js';

/** Programs of coreutils, with the algorithm of each. */
const PROGRAMS = [
  ['md5sum', 'md5'],
  ['sha1sum', 'sha1'],
  ['sha224sum', 'sha224'],
  ['sha256sum', 'sha256'],
  ['sha384sum', 'sha384'],
  ['sha512sum', 'sha512'],
  ['b2sum', 'blake2b512'],
] as const;

/** Around the sizes at which a first part goes to the device, and a second one is read. */
const SIZES = [0, 1, 63, 64, 16_383, 16_384, 16_385, 1_048_575, 1_048_576, 1_048_577, 2_097_152, 5_000_011];
const ODD_NAMES = [
  'a b',
  ' begins',
  '*star',
  'c\\d',
  'line\nbreak',
  'cr\rin',
  '-',
  '--tag',
  '#no',
  'ä€😀',
  '\\',
  "q'",
];

/** Files of many sizes and names, one of which is no text; their names as they stand on a command line. */
function sampleFolder(): { folder: string; names: string[] } {
  const folder = temporaryFolder();
  const names = SIZES.map((size) => `size-${size}`);
  for (const size of SIZES) writeFileSync(join(folder, `size-${size}`), noise(size, size + 1));
  for (const name of ODD_NAMES) writeFileSync(join(folder, name), name);
  return { folder, names: [...names, ...ODD_NAMES.map((name) => `./${name}`), ' begins', '*star', 'c\\d'] };
}

for (const [program, algorithm] of PROGRAMS) {
  test(`the same bytes as ${program}, and each checks the other's lists`, (t) => {
    if (!requirement(t, hasCommand(program), program)) return;
    const { folder: cwd, names } = sampleFolder();
    const others = algorithm === 'sha256' ? [['-z'], ['-b'], ['--tag', '-z'], ['-t']] : [];
    for (const options of [[], ['--tag'], ...others]) {
      const ours = warpdrive(['hash', '-a', algorithm, ...options, '--', ...names], { cwd });
      const theirs = run(program, [...options, '--', ...names], { cwd });
      assert.equal(ours.stderr, '');
      assert.equal(ours.code, 0);
      assert.ok(ours.stdout.equals(theirs.stdout), `${options}: ${ours.stdout}`);
      if (options.includes('-z')) continue;
      assert.equal(run(program, ['-c', '--strict', '--quiet'], { cwd, input: ours.stdout }).code, 0);
      const back = warpdrive(['hash', '-a', algorithm, '-c', '--strict'], { cwd, input: theirs.stdout });
      assert.equal(back.stderr, '');
      assert.equal(back.code, 0);
      assert.equal(back.stdout.toString().match(/: OK$/gm)?.length, names.length);
    }
  });
}

test('every algorithm there is, as node:crypto has it', () => {
  const content = noise(3_000_000);
  for (const algorithm of algorithmsOf('digest')) {
    const expected = createHash(algorithm).update(content).digest('hex');
    const { code, stdout, stderr } = warpdrive(['hash', '-a', algorithm], { input: content });
    assert.equal(stderr, '');
    assert.equal(code, 0);
    assert.equal(stdout.toString(), `${expected}  -\n`, algorithm);
  }
});

test('an algorithm that is not there: those that are', () => {
  const { code, stderr, stdout } = warpdrive(['hash', '-a', 'crc32', '/dev/null']);
  assert.equal(code, 1);
  assert.equal(stdout.length, 0);
  for (const algorithm of algorithmsOf('digest')) assert.match(stderr, new RegExp(`\\b${algorithm}\\b`));
});

test('what cannot be read is told, and the rest goes on, in order', () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'a'), noise(3_000_000));
  writeFileSync(join(folder, 'b'), '');
  mkdirSync(join(folder, 'folder'));
  const args = ['a', 'missing\n', 'folder', 'b', 'a'];
  const ours = warpdrive(['hash', ...args], { cwd: folder });
  assert.equal(ours.code, 1);
  assert.equal(
    ours.stderr,
    'warpdrive: missing\\n: no such file or directory\nwarpdrive: folder: is a directory\n',
  );
  const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  const big = sum(readFileSync(join(folder, 'a')));
  assert.equal(ours.stdout.toString(), `${big}  a\n${sum(Buffer.alloc(0))}  b\n${big}  a\n`);
});

test('a file that may not be read', (t) => {
  if (!requirement(t, process.getuid?.() !== 0 || hasCommand('setpriv'), 'another user than root')) return;
  const folder = temporaryFolder();
  chmodSync(folder, 0o755);
  writeFileSync(join(folder, 'a'), 'secret', { mode: 0 });
  const command = [process.execPath, MAIN, 'hash', join(folder, 'a'), '/dev/null'];
  // Without this capability root reads no more than others do.
  const drop = process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-all', '--inh-caps=-all'] : [];
  const [first, ...rest] = [...drop, ...command];
  const { code, stdout, stderr } = run(first!, rest, { cwd: folder });
  assert.equal(code, 1);
  assert.equal(stderr, `warpdrive: ${folder}/a: permission denied\n`);
  assert.match(stdout.toString(), /^e3b0c442\w+ {2}\/dev\/null\n$/);
});

test('pipes: the standard input, a FIFO without a writer yet, and - a second time', async (t) => {
  if (!requirement(t, hasCommand('mkfifo'), 'mkfifo')) return;
  const folder = temporaryFolder();
  const fifo = join(folder, 'fifo');
  assert.equal(run('mkfifo', [fifo]).code, 0);
  const content = noise(3_000_000);
  const expected = createHash('sha256').update(content).digest('hex');
  const empty = createHash('sha256').digest('hex');
  const twice = warpdrive(['hash', '-', '-'], { input: content });
  assert.equal(twice.stdout.toString(), `${expected}  -\n${empty}  -\n`);
  const child = startWarpdrive(['hash', fifo, '/dev/null']);
  const end = ended(child);
  let shown = '';
  child.stdout!.on('data', (data) => (shown += data));
  const closed = new Promise((resolve) => child.stdout!.once('close', resolve));
  await sleep(300);
  const writer = spawn('sh', ['-c', 'cat >"$0"', fifo], { stdio: ['pipe', 'ignore', 'ignore'] });
  writer.stdin.end(content);
  assert.equal((await end).code, 0);
  await closed;
  assert.equal(shown, `${expected}  ${fifo}\n${empty}  /dev/null\n`);
});

test('SIGINT ends it while it waits for the writer of a FIFO', async (t) => {
  if (!requirement(t, hasCommand('mkfifo'), 'mkfifo')) return;
  const fifo = join(temporaryFolder(), 'fifo');
  assert.equal(run('mkfifo', [fifo]).code, 0);
  const child = startWarpdrive(['hash', fifo]);
  const end = ended(child);
  await sleep(1000);
  child.kill('SIGINT');
  const { code, signal } = await end;
  assert.ok(code === 130 || signal === 'SIGINT', `${code} ${signal}`);
});

/** Lists that are not as they should be, in a folder with the files x, y and z. */
const X = createHash('sha256').update('x').digest('hex');
const Y = createHash('sha256').update('y').digest('hex');
const LISTS: Record<string, string> = {
  right: `${X}  x\n${Y} *y\n`,
  'in capitals': `${X.toUpperCase()}  x\n`,
  'with the line ends of others': `${X}  x\r\n${Y}  y\r\n`,
  'without its last line end': `${X}  x\n${Y}  y`,
  'with comments and empty lines': `# nothing\n\n${X}  x\n`,
  'with spaces before': `   ${X}  x\n`,
  'one wrong': `${X}  y\n${X}  x\n`,
  'two wrong': `${X}  y\n${Y}  x\n`,
  'one missing': `${X}  x\n${X}  missing\n`,
  'all missing': `${X}  missing\n${X}  missing2\n`,
  'one improper': `${X}  x\nthis is none\n`,
  'two improper': `${X}  x\n${X.slice(1)}  x\n${X}x  x\n`,
  'nothing proper': 'this is none\n',
  'of another algorithm': `MD5 (x) = ${X.slice(32)}\n`,
  empty: '',
  'BSD style': `SHA256 (x) = ${X}\nSHA256(y)= ${Y}\n`,
  'one space': `${X} x\n${Y} y\n`,
  'one space after two': `${X}  x\n${Y} y\n`,
  'two spaces after one': `${X} x\n${Y}  y\n`,
  'an escape of nothing': `\\${X}  x\\q\n`,
  'an escape at the end': `\\${X}  x\\\n`,
  'a directory': `${X}  .\n${X}  x\n`,
  'the list itself, from the standard input': `${X}  -\n${X}  x\n`,
};
const MODES = [[], ['--quiet', '--strict'], ['--status', '--ignore-missing'], ['--ignore-missing', '-w']];

/** What sha256sum tells, but for the words around it that are its own. */
function likeOurs(stderr: string): string {
  return stderr
    .replaceAll("'", '')
    .replace(/^sha256sum: /gm, 'warpdrive: ')
    .replace(/No such file/g, 'no such file')
    .replace(/Is a directory/g, 'is a directory');
}

for (const [what, list] of Object.entries(LISTS)) {
  test(`a list: ${what}: as sha256sum -c`, (t) => {
    if (!requirement(t, hasCommand('sha256sum'), 'sha256sum')) return;
    const cwd = temporaryFolder();
    for (const name of ['x', 'y']) writeFileSync(join(cwd, name), name);
    for (const mode of MODES) {
      const env = { LC_ALL: 'C' };
      const ours = warpdrive(['hash', '-c', ...mode], { cwd, input: Buffer.from(list), env });
      const theirs = run('sha256sum', ['-c', ...mode], { cwd, input: Buffer.from(list), env });
      assert.equal(ours.stdout.toString(), theirs.stdout.toString(), `${mode}`);
      assert.equal(ours.code, theirs.code, `${mode}`);
      assert.equal(ours.stderr, likeOurs(theirs.stderr), `${mode}`);
    }
  });
}

test('lines that can name no file are improper', () => {
  const cwd = temporaryFolder();
  writeFileSync(join(cwd, 'x'), 'x');
  for (const line of [`${X}  x\0y`, `SHA256 (x\0) = ${X}`, `${X}  ${'x'.repeat(100_000)}`]) {
    const input = Buffer.from(`${line}\n${X}  x\n`);
    const { code, stdout, stderr } = warpdrive(['hash', '-c', '--strict'], { cwd, input });
    assert.equal(code, 1);
    assert.equal(stdout.toString(), 'x: OK\n');
    assert.equal(stderr, 'warpdrive: WARNING: 1 line is improperly formatted\n');
  }
});

test('several lists, one of them missing, and one that is a directory', () => {
  const cwd = temporaryFolder();
  writeFileSync(join(cwd, 'x'), 'x');
  writeFileSync(join(cwd, 'list'), `${X}  x\n`);
  const { code, stdout, stderr } = warpdrive(['hash', '-c', 'nowhere', '.', 'list', 'list'], { cwd });
  assert.equal(code, 1);
  assert.equal(stdout.toString(), 'x: OK\nx: OK\n');
  assert.equal(stderr, 'warpdrive: nowhere: no such file or directory\nwarpdrive: .: is a directory\n');
  assert.equal(warpdrive(['hash', '-c', 'list', 'list'], { cwd }).code, 0);
});

test('a name that is no text, from a list', () => {
  const cwd = temporaryFolder();
  const name = Buffer.from([0x66, 0xff, 0xfe]);
  writeFileSync(Buffer.concat([Buffer.from(`${cwd}/`), name]), 'x');
  const list = Buffer.concat([Buffer.from(`${X}  `), name, Buffer.from('\n')]);
  const { code, stdout } = warpdrive(['hash', '-c'], { cwd, input: list });
  assert.equal(code, 0);
  assert.ok(stdout.equals(Buffer.concat([name, Buffer.from(': OK\n')])));
});

test('a file that changes between the list and the check', () => {
  const cwd = temporaryFolder();
  writeFileSync(join(cwd, 'same'), noise(2_000_000));
  writeFileSync(join(cwd, 'changed'), noise(2_000_000));
  writeFileSync(join(cwd, 'gone'), 'x');
  const list = warpdrive(['hash', 'same', 'changed', 'gone'], { cwd }).stdout;
  const content = noise(2_000_000);
  content[1_999_999]! ^= 1;
  writeFileSync(join(cwd, 'changed'), content);
  unlinkSync(join(cwd, 'gone'));
  const { code, stdout } = warpdrive(['hash', '-c'], { cwd, input: list });
  assert.equal(code, 1);
  assert.equal(stdout.toString(), 'same: OK\nchanged: FAILED\ngone: FAILED open or read\n');
});

test('many files at once: all of them, in order', () => {
  const cwd = temporaryFolder();
  const names = Array.from({ length: 300 }, (_, index) => `f${index}`);
  const sizes = names.map((_, index) => (index % 10 === 0 ? 2_500_000 : index * 100));
  const lines = names.map((name, index) => {
    const content = noise(sizes[index]!, index + 1);
    writeFileSync(join(cwd, name), content);
    return `${createHash('sha256').update(content).digest('hex')}  ${name}\n`;
  });
  const { code, stdout } = warpdrive(['hash', ...names], { cwd });
  assert.equal(code, 0);
  assert.equal(stdout.toString(), lines.join(''));
  const checked = warpdrive(['hash', '-c', '--quiet'], { cwd, input: stdout });
  assert.equal(checked.code, 0);
  assert.equal(checked.stdout.length, 0);
});

test('options that mean nothing together are refused', () => {
  for (const args of [
    ['--quiet'],
    ['--status'],
    ['--strict'],
    ['-w'],
    ['--ignore-missing'],
    ['-c', '--tag'],
    ['-c', '-z'],
    ['-c', '-b'],
    ['-c', '-t'],
    ['--tag', '-t'],
    ['--nonsense'],
  ]) {
    const { code, stdout, stderr } = warpdrive(['hash', ...args, '/dev/null']);
    assert.equal(code, 1, `${args}`);
    assert.equal(stdout.length, 0);
    assert.match(stderr, /^warpdrive: [^\n]{1,300}\n$/);
  }
});

test('a reader that goes away, and a full device', () => {
  const full = openSync('/dev/full', 'w');
  const refused = warpdrive(['hash', '/dev/null'], { stdout: full });
  closeSync(full);
  assert.equal(refused.code, 1);
  assert.equal(refused.stderr, 'warpdrive: stdout: no space left on device\n');
  const names = Array.from({ length: 5000 }, () => '/dev/null');
  const script = `"$@" | head -n 1 >/dev/null; echo "\${PIPESTATUS[0]}"`;
  const args = ['-c', script, '-', process.execPath, MAIN, 'hash', ...names];
  const { stdout, stderr } = spawnSync('bash', args, { encoding: 'utf8' });
  assert.equal(stderr, '');
  assert.equal(stdout, '141\n');
});
