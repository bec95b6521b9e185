import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { requirement } from '../support/requirement.js';
import {
  ended,
  hasCommand,
  listing,
  MAIN,
  noise,
  run,
  startWarpdrive,
  temporaryFolder,
  untilWriting,
  warpdrive,
} from './support-cli.js';
import { type Algorithm, CHUNK, HEADER, openReference, sealReference, TAG } from './support-sealed.js';

const KEY = noise(32, 3);
const PASSPHRASE = 'correct horse ä€😀';
const ENV = { WARPDRIVE_PASSPHRASE: PASSPHRASE };
const BATCH = 16 * CHUNK;
/** Around the boundaries of chunks, and of what is worked on together. */
const SIZES = [CHUNK, 2 * CHUNK, BATCH, 2 * BATCH, 4 * BATCH].flatMap((size) => [size - 1, size, size + 1]);
const ALL_SIZES = [0, 1, 17, ...SIZES, 7 * BATCH + 12_345];

function folderWithKey(): { cwd: string; key: string[] } {
  const cwd = temporaryFolder();
  writeFileSync(join(cwd, 'key'), KEY);
  return { cwd, key: ['--key-file', 'key'] };
}

for (const algorithm of ['aes-256-gcm', 'chacha20-poly1305'] as Algorithm[]) {
  test(`${algorithm}: what encrypt writes, an independent reader reads, and the other way round`, () => {
    const { cwd, key } = folderWithKey();
    const names = ALL_SIZES.map((size) => `f${size}`);
    for (const size of ALL_SIZES) writeFileSync(join(cwd, `f${size}`), noise(size, size + 1));
    const packed = warpdrive(['encrypt', ...key, '-a', algorithm, ...names], { cwd });
    assert.equal(packed.stderr, '');
    assert.equal(packed.code, 0);
    assert.deepEqual(listing(cwd), ['key', ...names.map((name) => `${name}.wdx`)].sort());
    for (const size of ALL_SIZES) {
      const plain = noise(size, size + 1);
      const file = readFileSync(join(cwd, `f${size}.wdx`));
      assert.equal(file.length, HEADER + size + TAG * Math.max(1, Math.ceil(size / CHUNK)));
      assert.ok(openReference(file, { key: KEY }).equals(plain), `${size}`);
      writeFileSync(join(cwd, `f${size}.wdx`), sealReference(plain, { key: KEY }, { algorithm }));
    }
    const back = warpdrive(['decrypt', ...key, ...names.map((name) => `${name}.wdx`)], { cwd });
    assert.equal(back.stderr, '');
    assert.equal(back.code, 0);
    assert.deepEqual(listing(cwd), ['key', ...names].sort());
    for (const size of ALL_SIZES) {
      assert.ok(readFileSync(join(cwd, `f${size}`)).equals(noise(size, size + 1)), `${size}`);
    }
  });
}

test('a passphrase: from the environment, from a file, and the independent reader', () => {
  const cwd = temporaryFolder();
  writeFileSync(join(cwd, 'a'), 'text');
  assert.equal(warpdrive(['encrypt', '-k', '--cost', '12', 'a'], { cwd, env: ENV }).code, 0);
  const file = readFileSync(join(cwd, 'a.wdx'));
  assert.equal(file[11], 12);
  assert.equal(openReference(file, { passphrase: PASSPHRASE }).toString(), 'text');
  for (const content of [PASSPHRASE, `${PASSPHRASE}\n`, `${PASSPHRASE}\r\nanother line`]) {
    writeFileSync(join(cwd, 'passphrase'), content);
    const { stdout } = warpdrive(['decrypt', '-c', '--passphrase-file', 'passphrase', 'a.wdx'], { cwd });
    assert.equal(stdout.toString(), 'text', JSON.stringify(content));
  }
  const foreign = sealReference(Buffer.from('other'), { passphrase: PASSPHRASE }, { r: 4, p: 3 });
  assert.equal(warpdrive(['decrypt'], { input: foreign, env: ENV }).stdout.toString(), 'other');
});

test('without --cost it is 2^17, and every file has a salt, a prefix and a key of its own', () => {
  const cwd = temporaryFolder();
  writeFileSync(join(cwd, 'a'), 'text');
  writeFileSync(join(cwd, 'b'), 'text');
  assert.equal(warpdrive(['encrypt', 'a', 'b'], { cwd, env: ENV }).code, 0);
  const [a, b] = ['a.wdx', 'b.wdx'].map((name) => readFileSync(join(cwd, name)));
  assert.equal(a![11], 17);
  assert.equal(a!.readUInt32BE(12), 8);
  assert.equal(a!.readUInt32BE(16), 1);
  for (const [from, to] of [
    [20, 52],
    [52, 59],
    [59, HEADER],
    [HEADER, a!.length],
  ]) {
    assert.ok(!a!.subarray(from, to).equals(b!.subarray(from, to)), `${from}`);
  }
});

test('files of the first version stay readable', () => {
  const { cwd } = folderWithKey();
  const vector = (name: string): Buffer => {
    const path = fileURLToPath(new URL(`../../../test/fixtures/${name}`, import.meta.url));
    return Buffer.from(readFileSync(path, 'utf8').trim(), 'hex');
  };
  const digits = Array.from({ length: 32 }, (_, index) => index.toString(16).padStart(2, '0')).join('');
  writeFileSync(join(cwd, 'digits'), `${digits.toUpperCase()}\n`);
  const withKey = warpdrive(['decrypt', '--key-file', 'digits'], { cwd, input: vector('encrypted-key.hex') });
  assert.equal(withKey.stdout.toString(), 'warpdrive');
  const env = { WARPDRIVE_PASSPHRASE: 'correct horse' };
  const withPassphrase = warpdrive(['decrypt'], { input: vector('encrypted-passphrase.hex'), env });
  assert.equal(withPassphrase.stdout.toString(), 'warpdrive');
});

test('key files: 32 bytes or 64 digits, and nothing else', () => {
  const { cwd } = folderWithKey();
  const sealed = sealReference(Buffer.from('text'), { key: KEY });
  const digits = KEY.toString('hex');
  for (const content of [KEY, digits, digits.toUpperCase(), ` ${digits}\r\n`]) {
    writeFileSync(join(cwd, 'k'), content);
    const { stdout } = warpdrive(['decrypt', '--key-file', 'k'], { cwd, input: sealed });
    assert.equal(stdout.toString(), 'text');
  }
  const long = Buffer.alloc(5000, ' ');
  for (const content of ['', KEY.subarray(1), `${digits}0`, digits.slice(2), `g${digits.slice(1)}`, long]) {
    writeFileSync(join(cwd, 'k'), content);
    const { code, stdout, stderr } = warpdrive(['decrypt', '--key-file', 'k'], { cwd, input: sealed });
    assert.equal(code, 1);
    assert.equal(stdout.length, 0);
    assert.match(stderr, /^warpdrive: k: [^\n]*\n$/);
    assert.ok(!stderr.includes(digits.slice(4, 20)), 'nothing of the key is in a message');
  }
  assert.match(
    warpdrive(['encrypt', '--key-file', 'none'], { cwd }).stderr,
    /^warpdrive: none: no such file/,
  );
});

test('pipes, both ways, and standard input that is a file read from its middle', () => {
  const { cwd, key } = folderWithKey();
  for (const size of [0, 5, CHUNK, BATCH + 1]) {
    const packed = warpdrive(['encrypt', ...key], { cwd, input: noise(size) });
    assert.equal(packed.code, 0);
    assert.ok(openReference(packed.stdout, { key: KEY }).equals(noise(size)));
    const back = warpdrive(['decrypt', ...key, '-'], { cwd, input: packed.stdout });
    assert.equal(back.code, 0);
    assert.ok(back.stdout.equals(noise(size)));
    writeFileSync(join(cwd, 'shifted'), Buffer.concat([Buffer.alloc(10, 'x'), packed.stdout]));
    const script = `{ dd bs=10 count=1 of=/dev/null 2>/dev/null; "$0" "$1" decrypt --key-file key; } <shifted`;
    const shifted = run('sh', ['-c', script, process.execPath, MAIN], { cwd });
    assert.equal(shifted.stderr, '');
    assert.ok(shifted.stdout.equals(noise(size)));
  }
});

test('options: -c, -k, -f, -o, -t, -v, -q, names and suffixes', () => {
  const { cwd, key } = folderWithKey();
  const file = (name: string): string => readFileSync(join(cwd, name), 'utf8');
  writeFileSync(join(cwd, 'a'), 'text');
  const verbose = warpdrive(['encrypt', ...key, '-kv', 'a'], { cwd });
  assert.equal(verbose.stderr, 'a:\tcreated a.wdx\n');
  assert.deepEqual(listing(cwd), ['a', 'a.wdx', 'key']);
  const tested = warpdrive(['decrypt', ...key, '-tv', 'a.wdx'], { cwd });
  assert.equal(tested.stderr, 'a.wdx:\tOK\n');
  assert.equal(tested.stdout.length, 0);
  assert.deepEqual(listing(cwd), ['a', 'a.wdx', 'key']);
  writeFileSync(join(cwd, 'a'), 'precious');
  const existing = warpdrive(['decrypt', ...key, 'a.wdx'], { cwd });
  assert.equal(existing.code, 2);
  assert.match(existing.stderr, /^warpdrive: a: already exists/);
  assert.equal(warpdrive(['decrypt', ...key, '-q', 'a.wdx'], { cwd }).stderr, '');
  assert.equal(file('a'), 'precious');
  assert.equal(warpdrive(['decrypt', ...key, '-kf', 'a'], { cwd }).code, 2, 'has no suffix');
  assert.equal(warpdrive(['decrypt', ...key, '-kf', 'a.wdx'], { cwd }).code, 0);
  assert.equal(file('a'), 'text');
  assert.equal(warpdrive(['decrypt', ...key, '-c', 'a.wdx'], { cwd }).stdout.toString(), 'text');
  assert.equal(warpdrive(['decrypt', ...key, '-o', '-', 'a.wdx'], { cwd }).stdout.toString(), 'text');
  assert.equal(warpdrive(['decrypt', ...key, '-k', '-o', 'b', 'a.wdx'], { cwd }).code, 0);
  assert.equal(file('b'), 'text');
  assert.equal(warpdrive(['encrypt', ...key, 'a.wdx'], { cwd }).code, 2, 'has the suffix already');
  assert.equal(warpdrive(['encrypt', ...key, '-o', 'b', 'b'], { cwd }).code, 1, 'input and output are one');
  assert.equal(file('b'), 'text');
  mkdirSync(join(cwd, 'folder'));
  symlinkSync('b', join(cwd, 'link'));
  assert.equal(warpdrive(['encrypt', ...key, 'folder'], { cwd }).code, 2);
  assert.equal(warpdrive(['encrypt', ...key, 'link'], { cwd }).code, 1);
  for (const args of [
    ['-a', 'aes-128-gcm'],
    ['--cost', '9'],
    ['--cost', '21'],
    ['--cost', 'x'],
    ['-t'],
    ['--passphrase-file', 'a'],
    ['-o', 'x', 'a', 'b'],
  ]) {
    const { code, stderr } = warpdrive(['encrypt', ...key, ...args], { cwd });
    assert.equal(code, 1, `${args}`);
    assert.match(stderr, /^warpdrive: [^\n]{1,300}\n$/);
  }
});

test('nobody may read an output who could not read the input', () => {
  const { cwd, key } = folderWithKey();
  for (const mode of [0o600, 0o640, 0o444, 0o755]) {
    writeFileSync(join(cwd, 'a'), 'text');
    chmodSync(join(cwd, 'a'), mode);
    assert.equal(warpdrive(['encrypt', ...key, 'a'], { cwd }).code, 0);
    assert.equal(statSync(join(cwd, 'a.wdx')).mode & 0o7777, mode);
    assert.equal(warpdrive(['decrypt', ...key, 'a.wdx'], { cwd }).code, 0);
    assert.equal(statSync(join(cwd, 'a')).mode & 0o7777, mode);
    run('rm', ['-f', 'a'], { cwd });
  }
  const script = `umask 0; "$0" "$1" encrypt --key-file key | "$0" "$1" decrypt --key-file key -o out`;
  assert.equal(run('sh', ['-c', script, process.execPath, MAIN], { cwd, input: Buffer.from('x') }).code, 0);
  assert.equal(statSync(join(cwd, 'out')).mode & 0o7777, 0o600);
});

test("another user's file: its group's permissions are not given to one's own", (t) => {
  const able = process.getuid?.() === 0 && hasCommand('setpriv');
  if (!requirement(t, able, 'root and setpriv, to become another user,')) return;
  const { cwd, key } = folderWithKey();
  writeFileSync(join(cwd, 'a'), 'text');
  chmodSync(join(cwd, 'a'), 0o644);
  chmodSync(join(cwd, 'key'), 0o644);
  chownSync(cwd, 65_534, 65_534);
  const user = ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, MAIN];
  const { code, stderr } = run('setpriv', [...user, 'encrypt', ...key, '-k', 'a'], { cwd });
  assert.equal(stderr, '');
  assert.equal(code, 0);
  const made = statSync(join(cwd, 'a.wdx'));
  assert.equal(made.uid, 65_534);
  assert.equal(made.mode & 0o7777, 0o600);
});

for (const [command, input] of [
  ['encrypt', noise(3 * BATCH)],
  ['decrypt', sealReference(noise(3 * BATCH), { key: KEY })],
] as const) {
  test(`SIGINT in the middle of ${command} leaves nothing behind`, async () => {
    const { cwd, key } = folderWithKey();
    const file = join(cwd, 'out');
    const child = startWarpdrive([command, '--key-file', join(cwd, key[1]!), '-o', file], ['pipe']);
    const end = ended(child);
    // It waits for more, for as long as nobody closes the pipe.
    child.stdin!.on('error', () => {});
    child.stdin!.write(input);
    await untilWriting(cwd, 1);
    child.kill('SIGINT');
    assert.deepEqual(await end, { code: 130, signal: null });
    assert.deepEqual(listing(cwd), ['key']);
  });
}

test('a full device is told in one line, and leaves the input', () => {
  const { cwd, key } = folderWithKey();
  writeFileSync(join(cwd, 'a'), noise(3 * BATCH));
  const full = openSync('/dev/full', 'w');
  const { code, stderr } = warpdrive(['encrypt', ...key, '-c', 'a'], { cwd, stdout: full });
  closeSync(full);
  assert.equal(code, 1);
  assert.equal(stderr, 'warpdrive: stdout: no space left on device\n');
  assert.deepEqual(listing(cwd), ['a', 'key']);
});

test('a reader that goes away ends it quietly', () => {
  const { cwd } = folderWithKey();
  writeFileSync(join(cwd, 'a'), noise(4 * BATCH));
  const script = `"$0" "$1" encrypt --key-file key -c a | head -c 10 >/dev/null; echo "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', script, process.execPath, MAIN], {
    cwd,
    encoding: 'utf8',
  });
  assert.equal(stderr, '');
  assert.equal(stdout, '141\n');
});

test('the variable is not handed on, and does no harm where an option says otherwise', () => {
  const { cwd, key } = folderWithKey();
  const sealed = sealReference(Buffer.from('text'), { key: KEY });
  const { stdout } = warpdrive(['decrypt', ...key], { cwd, input: sealed, env: ENV });
  assert.equal(stdout.toString(), 'text');
  const empty = warpdrive(['encrypt'], { input: Buffer.from('x'), env: { WARPDRIVE_PASSPHRASE: '' } });
  assert.equal(empty.code, 1);
  assert.match(empty.stderr, /empty/);
  assert.equal(empty.stdout.length, 0);
});

const hasScript = hasCommand('script');

/** Runs a shell command on a terminal; answers each question in turn. What was shown, and the exit code. */
async function onTerminal(
  command: string,
  answers: string[],
): Promise<{ shown: string; code: number | null }> {
  const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'ignore'] });
  after(() => void child.kill());
  let shown = '';
  let asked = 0;
  child.stdout.on('data', (data) => {
    shown += data;
    // What is typed before the question would be shown by the terminal itself.
    const questions = shown.match(/(?:Passphrase|again): /g)?.length ?? 0;
    while (asked < questions) child.stdin.write(answers[asked++] ?? '\x04');
  });
  const { code } = await ended(child);
  return { shown, code };
}

test('at a terminal: asked twice for a new passphrase, once for an old one, and nothing of it shown', async (t) => {
  if (!requirement(t, hasScript, 'the command script, which makes a terminal,')) return;
  const cwd = temporaryFolder();
  const path = join(cwd, 'a');
  writeFileSync(path, 'text');
  const command = (words: string): string => `'${process.execPath}' '${MAIN}' ${words} '${path}`;
  const encrypt = command('encrypt --cost 10');
  const typed = 'hunter3\x7f2ä\x7f\r';
  const made = await onTerminal(`${encrypt}'`, [typed, 'hunter2\r']);
  assert.equal(made.code, 0, made.shown);
  assert.ok(!made.shown.includes('hunter'), made.shown);
  assert.deepEqual(listing(cwd), ['a.wdx']);
  const sealed = readFileSync(`${path}.wdx`);
  assert.equal(openReference(sealed, { passphrase: 'hunter2' }).toString(), 'text');
  const wrong = await onTerminal(`${command('decrypt')}.wdx'`, ['hunter1\r']);
  assert.equal(wrong.code, 1);
  assert.match(wrong.shown, /cannot be decrypted/);
  const right = await onTerminal(`${command('decrypt')}.wdx'`, ['garbage\x15hunter2\r']);
  assert.equal(right.code, 0, right.shown);
  assert.ok(!right.shown.includes('again'));
  assert.equal(readFileSync(path, 'utf8'), 'text');
  const differing = await onTerminal(`${encrypt}'`, ['one\r', 'two\r']);
  assert.equal(differing.code, 1);
  assert.match(differing.shown, /passphrases differ/);
  const interrupted = await onTerminal(`${encrypt}'; stty -a`, ['one\x03']);
  assert.match(interrupted.shown, /[^-]echo /, 'the terminal is as it was');
  assert.equal((await onTerminal(`${encrypt}'`, ['\x04'])).code, 1);
  assert.deepEqual(listing(cwd), ['a']);
});

test('without a terminal there is nobody to ask', (t) => {
  if (!requirement(t, hasCommand('setsid'), 'setsid')) return;
  const { code, stderr, stdout } = run('setsid', ['-w', process.execPath, MAIN, 'encrypt'], {
    input: Buffer.from('x'),
  });
  assert.equal(code, 1);
  assert.equal(stdout.length, 0);
  assert.match(stderr, /^warpdrive: there is no terminal to ask[^\n]*--passphrase-file[^\n]*\n$/);
});
