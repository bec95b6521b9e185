import assert from 'node:assert/strict';
import { closeSync, linkSync, mkdirSync, openSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import {
  hasCommand,
  listing,
  run,
  sampleText,
  temporaryFolder,
  warpdrive,
  writeSample,
} from './support-cli.js';

/** One line of at most 300 letters that begins with the program's name. */
function assertOneLine(stderr: string): void {
  assert.match(stderr, /^warpdrive: [^\n]{1,300}\n$/);
}

test('an existing output stays as it is without -f', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'a');
  const text = writeSample(path, 10_000);
  writeFileSync(`${path}.gz`, 'precious');
  const refused = warpdrive(['compress', path]);
  assert.equal(refused.code, 2);
  assertOneLine(refused.stderr);
  assert.match(refused.stderr, /a\.gz: already exists/);
  assert.equal(readFileSync(`${path}.gz`, 'utf8'), 'precious');
  assert.deepEqual(listing(folder), ['a', 'a.gz']);
  assert.equal(warpdrive(['compress', '-f', path]).code, 0);
  assert.ok(gunzipSync(readFileSync(`${path}.gz`)).equals(text));
  assert.deepEqual(listing(folder), ['a.gz']);
});

test('what must not be overwritten is not decompressed over either', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'a');
  writeFileSync(path, 'precious');
  writeFileSync(`${path}.gz`, gzipSync('new'));
  assert.equal(warpdrive(['decompress', `${path}.gz`]).code, 2);
  assert.equal(readFileSync(path, 'utf8'), 'precious');
  assert.deepEqual(listing(folder), ['a', 'a.gz']);
});

for (const [what, damage] of [
  ['truncated', (packed: Buffer) => packed.subarray(0, packed.length - 1000)],
  ['cut in its trailer', (packed: Buffer) => packed.subarray(0, packed.length - 3)],
  ['of a wrong checksum', (packed: Buffer) => flip(packed, packed.length - 6)],
  ['of a wrong length', (packed: Buffer) => flip(packed, packed.length - 2)],
  ['damaged in the middle', (packed: Buffer) => damageMiddle(packed)],
  ['not gzip at all', () => Buffer.from('this is no gzip file, whatever it is called')],
  ['empty', () => Buffer.alloc(0)],
  ['cut after a first byte', () => Buffer.of(0x1f)],
  ['cut in a second member', (packed: Buffer) => Buffer.concat([packed, packed.subarray(0, 1000)])],
] as const) {
  test(`an input that is ${what} leaves nothing behind and is kept`, () => {
    const folder = temporaryFolder();
    const path = join(folder, 'a.gz');
    const bad = damage(gzipSync(sampleText(3_000_000)));
    writeFileSync(path, bad);
    for (const flags of [[], ['-t']]) {
      const { code, stderr } = warpdrive(['decompress', ...flags, path]);
      assert.equal(code, 1, what);
      assertOneLine(stderr);
      assert.ok(stderr.includes(path));
      assert.deepEqual(listing(folder), ['a.gz']);
      assert.ok(readFileSync(path).equals(bad));
    }
  });
}

function flip(packed: Buffer, at: number): Buffer {
  const bad = Buffer.from(packed);
  bad[at]! ^= 0x55;
  return bad;
}

function damageMiddle(packed: Buffer): Buffer {
  const bad = Buffer.from(packed);
  const middle = bad.length >> 1;
  for (let at = 0; at < 64; at++) bad[middle + at]! ^= 0xa5;
  return bad;
}

test('garbage behind the stream: output, warning, exit code 2, and the input is kept', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'a.gz');
  const text = sampleText(3_000_000);
  for (const garbage of [Buffer.from('garbage'), Buffer.of(0x1f), Buffer.from('\0\0x')]) {
    writeFileSync(path, Buffer.concat([gzipSync(text), garbage]));
    const { code, stderr } = warpdrive(['decompress', '-f', path]);
    assert.equal(code, 2);
    assert.match(stderr, /trailing garbage ignored/);
    assertOneLine(stderr);
    assert.ok(readFileSync(join(folder, 'a')).equals(text));
    assert.deepEqual(listing(folder), ['a', 'a.gz']);
  }
  const quiet = warpdrive(['decompress', '-q'], { input: Buffer.concat([gzipSync(text), Buffer.from('x')]) });
  assert.equal(quiet.stderr, '');
  assert.equal(quiet.code, 2);
  assert.ok(quiet.stdout.equals(text));
});

test('zeros behind the stream are padding', () => {
  const text = sampleText(100_000);
  const input = Buffer.concat([gzipSync(text), Buffer.alloc(3_000_000)]);
  const { code, stderr, stdout } = warpdrive(['decompress'], { input });
  assert.equal(stderr, '');
  assert.equal(code, 0);
  assert.ok(stdout.equals(text));
});

test('folders, links and pipes are left alone', () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'd'));
  const text = writeSample(join(folder, 'a'), 10_000);
  symlinkSync('a', join(folder, 'l'));
  linkSync(join(folder, 'a'), join(folder, 'h'));
  const before = listing(folder);
  const expected: [string, number, RegExp][] = [
    ['d', 2, /d: is a directory/],
    ['l', 1, /l: is a symbolic link/],
    ['h', 2, /h: has 1 other link/],
  ];
  if (hasCommand('mkfifo')) {
    run('mkfifo', [join(folder, 'p')]);
    before.push('p');
    expected.push(['p', 2, /p: is not a regular file/]);
  }
  for (const [name, exitCode, message] of expected) {
    const { code, stderr } = warpdrive(['compress', name], { cwd: folder });
    assert.equal(code, exitCode, name);
    assert.match(stderr, message);
    assertOneLine(stderr);
    assert.deepEqual(listing(folder), before);
  }
  const followed = warpdrive(['compress', '-c', 'l'], { cwd: folder });
  assert.equal(followed.code, 0);
  assert.ok(gunzipSync(followed.stdout).equals(text));
});

test('one bad file does not keep the others from being done, and an error outweighs a warning', () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'bad.gz'), 'no gzip');
  writeFileSync(join(folder, 'plain'), 'plain');
  const text = sampleText(400_000);
  writeFileSync(join(folder, 'good.gz'), gzipSync(text));
  const names = ['missing.gz', 'bad.gz', 'plain', 'good.gz'];
  const { code, stderr } = warpdrive(['decompress', ...names], { cwd: folder });
  assert.equal(code, 1);
  assert.match(stderr, /^warpdrive: missing\.gz: no such file or directory\n/);
  assert.match(stderr, /\nwarpdrive: bad\.gz: not in gzip format\n/);
  assert.match(stderr, /\nwarpdrive: plain: unknown suffix -- ignored[^\n]*\n$/);
  assert.deepEqual(listing(folder), ['bad.gz', 'good', 'plain']);
  assert.ok(readFileSync(join(folder, 'good')).equals(text));
});

test('suffixes: one that is there already, one that is unknown, others of gzip, a name without one', () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'a.gz'), gzipSync('a'));
  const again = warpdrive(['compress', 'a.gz'], { cwd: folder });
  assert.equal(again.code, 2);
  assert.match(again.stderr, /a\.gz: already has the suffix \.gz -- unchanged/);
  writeFileSync(join(folder, 'b.tgz'), gzipSync('b'));
  writeFileSync(join(folder, 'c.Z-GZ'), gzipSync('c'));
  writeFileSync(join(folder, 'd.suf'), gzipSync('d'));
  writeFileSync(join(folder, '.gz'), gzipSync('e'));
  assert.equal(warpdrive(['decompress', 'a', 'b.tgz', 'c.Z-GZ'], { cwd: folder }).code, 0);
  assert.equal(warpdrive(['decompress', 'd.suf'], { cwd: folder }).code, 2);
  assert.equal(warpdrive(['decompress', '.gz'], { cwd: folder }).code, 2);
  assert.equal(warpdrive(['decompress', '-S', '.suf', 'd.suf'], { cwd: folder }).code, 0);
  assert.deepEqual(listing(folder), ['.gz', 'a', 'b.tar', 'c.Z', 'd']);
  assert.equal(warpdrive(['compress', '-S', 'a/b', 'a'], { cwd: folder }).code, 1);
});

test('-t says nothing, writes nothing, removes nothing', () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'a.gz'), gzipSync(sampleText(2_000_000)));
  for (const command of ['compress', 'decompress']) {
    const { code, stdout, stderr } = warpdrive([command, '-t', 'a.gz'], { cwd: folder });
    assert.equal(code, 0);
    assert.equal(stdout.length, 0);
    assert.equal(stderr, '');
  }
  assert.match(warpdrive(['decompress', '-tv', 'a.gz'], { cwd: folder }).stderr, /a\.gz:\t OK\n/);
  assert.deepEqual(listing(folder), ['a.gz']);
});

test('-c -f copies what is not gzip; a decompression without -f does not', () => {
  const text = sampleText(3_000_000);
  const copied = warpdrive(['decompress', '-cf'], { input: text });
  assert.equal(copied.code, 0);
  assert.ok(copied.stdout.equals(text));
  assert.equal(warpdrive(['decompress', '-c'], { input: text }).code, 1);
});

test('the input is not taken for the output', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'a');
  const text = writeSample(path, 10_000);
  const { code, stderr } = warpdrive(['compress', '-f', '-o', path, path]);
  assert.equal(code, 1);
  assertOneLine(stderr);
  assert.ok(readFileSync(path).equals(text));
});

test('a device named as output is written to, not replaced, and the source stays', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'a');
  writeSample(path, 10_000);
  assert.equal(warpdrive(['compress', '-f', '-o', '/dev/null', path]).code, 0);
  closeSync(openSync('/dev/null', 'r+'));
  assert.deepEqual(listing(folder), ['a']);
});
