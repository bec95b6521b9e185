import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { deflateRawSync, deflateSync, gunzipSync, gzipSync, inflateRawSync, inflateSync } from 'node:zlib';
import { requirement } from '../support/requirement.js';
import {
  hasCommand,
  listing,
  noise,
  run,
  sampleText,
  temporaryFolder,
  warpdrive,
  writeSample,
} from './support-cli.js';

const hasGzip = hasCommand('gzip');
const PIECE = 512 * 1024;

const SIZES: [string, Buffer][] = [
  ['empty', Buffer.alloc(0)],
  ['one-byte', Buffer.from('x')],
  ['piece-less-one', sampleText(PIECE - 1)],
  ['piece', sampleText(PIECE)],
  ['piece-and-one', sampleText(PIECE + 1)],
  ['two-pieces', sampleText(2 * PIECE)],
  ['many', sampleText(5 * PIECE + 12345)],
  ['noise', noise(3 * PIECE + 17)],
  ['zeros', Buffer.alloc(9 * PIECE)],
];

for (const level of ['-1', '-6', '--level=12']) {
  test(`several files at ${level}: system gzip reads what compress writes`, (t) => {
    if (!requirement(t, hasGzip, 'gzip')) return;
    const folder = temporaryFolder();
    for (const [name, content] of SIZES) writeFileSync(join(folder, name), content);
    const names = SIZES.map(([name]) => name);
    const { code, stderr } = warpdrive(['compress', level, ...names], { cwd: folder });
    assert.equal(stderr, '');
    assert.equal(code, 0);
    assert.deepEqual(listing(folder), names.map((name) => `${name}.gz`).sort());
    for (const [name, content] of SIZES) {
      assert.equal(run('gzip', ['-t', `${name}.gz`], { cwd: folder }).code, 0);
      assert.ok(run('gzip', ['-dc', `${name}.gz`], { cwd: folder }).stdout.equals(content), name);
    }
  });
}

test('several files: decompress reads what system gzip writes', (t) => {
  if (!requirement(t, hasGzip, 'gzip')) return;
  const folder = temporaryFolder();
  for (const [name, content] of SIZES) writeFileSync(join(folder, name), content);
  const names = SIZES.map(([name]) => name);
  assert.equal(run('gzip', names, { cwd: folder }).code, 0);
  const { code, stderr } = warpdrive(['decompress', ...names.map((name) => `${name}.gz`)], { cwd: folder });
  assert.equal(stderr, '');
  assert.equal(code, 0);
  assert.deepEqual(listing(folder), [...names].sort());
  for (const [name, content] of SIZES) assert.ok(readFileSync(join(folder, name)).equals(content), name);
});

test('pipes, both ways', (t) => {
  if (!requirement(t, hasGzip, 'gzip')) return;
  for (const [name, content] of SIZES) {
    const packed = warpdrive(['compress'], { input: content });
    assert.equal(packed.code, 0);
    assert.ok(run('gzip', ['-dc'], { input: packed.stdout }).stdout.equals(content), name);
    const back = warpdrive(['decompress', '-'], { input: gzipSync(content) });
    assert.equal(back.code, 0);
    assert.ok(back.stdout.equals(content), name);
  }
});

test('mode and time are kept, and stored in the header with the name', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'naïve.txt');
  const text = writeSample(path, 100_000);
  chmodSync(path, 0o640);
  utimesSync(path, 1_500_000_000, 1_500_000_123);
  assert.equal(warpdrive(['compress', path]).code, 0);
  const packed = statSync(`${path}.gz`);
  assert.equal(packed.mode & 0o7777, 0o640);
  assert.equal(packed.mtimeMs, 1_500_000_123_000);
  const bytes = readFileSync(`${path}.gz`);
  assert.equal(bytes.readUInt32LE(4), 1_500_000_123);
  assert.equal(bytes[3], 8);
  const name = Buffer.from(`${basename(path)}\0`);
  assert.ok(bytes.subarray(10, 10 + name.length).equals(name));
  assert.equal(warpdrive(['decompress', `${path}.gz`]).code, 0);
  const back = statSync(path);
  assert.equal(back.mode & 0o7777, 0o640);
  assert.equal(back.mtimeMs, 1_500_000_123_000);
  assert.ok(readFileSync(path).equals(text));
});

test('-n stores neither name nor time', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'a');
  writeSample(path, 1000);
  const { stdout } = warpdrive(['compress', '-nc', path]);
  assert.equal(stdout[3], 0);
  assert.equal(stdout.readUInt32LE(4), 0);
});

test('deflate and deflate-raw have their suffixes and formats', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'a');
  const text = writeSample(path, 3 * PIECE + 5);
  assert.equal(warpdrive(['compress', '-k', '-a', 'deflate', path]).code, 0);
  assert.equal(warpdrive(['compress', '-k', '--algorithm=deflate-raw', path]).code, 0);
  assert.ok(inflateSync(readFileSync(`${path}.zz`)).equals(text));
  assert.ok(inflateRawSync(readFileSync(`${path}.deflate`)).equals(text));
  for (const [algorithm, packed] of [
    ['deflate', deflateSync(text)],
    ['deflate-raw', deflateRawSync(text)],
  ] as const) {
    const back = warpdrive(['decompress', '-a', algorithm], { input: packed });
    assert.equal(back.code, 0);
    assert.ok(back.stdout.equals(text));
  }
});

test('members one after the other are one output, wherever reads cut them', () => {
  const parts = Array.from({ length: 300 }, (_, index) => sampleText((index * 7919) % 60_000, index + 1));
  const members = Buffer.concat(parts.map((part) => gzipSync(part)));
  const { code, stdout, stderr } = warpdrive(['decompress'], { input: members });
  assert.equal(stderr, '');
  assert.equal(code, 0);
  assert.ok(stdout.equals(Buffer.concat(parts)));
});

test('a member that begins with the last byte of one read is found', () => {
  const folder = temporaryFolder();
  // The reads are 512 KiB: the first member, with an extra name, ends one byte before that.
  const first = gzipSync(noise(500_000), { level: 0 });
  const room = PIECE - 1 - first.length;
  const named = Buffer.concat([
    first.subarray(0, 10),
    Buffer.alloc(room - 1, 'n'),
    Buffer.of(0),
    first.subarray(10),
  ]);
  named[3] = 8;
  assert.equal(named.length, PIECE - 1);
  const path = join(folder, 'a.gz');
  writeFileSync(path, Buffer.concat([named, gzipSync('second')]));
  const { code, stdout } = warpdrive(['decompress', '-c', path]);
  assert.equal(code, 0);
  assert.ok(stdout.equals(Buffer.concat([noise(500_000), Buffer.from('second')])));
});

test('levels: a higher one makes less, and both are right', () => {
  const text = sampleText(2_000_000);
  const [fast, best] = ['-1', '-9'].map((level) => warpdrive(['compress', level], { input: text }).stdout);
  assert.ok(best!.length < fast!.length);
  assert.ok(gunzipSync(fast!).equals(text));
  assert.ok(gunzipSync(best!).equals(text));
  assert.ok(warpdrive(['compress', '--fast'], { input: text }).stdout.equals(fast!));
  assert.ok(
    warpdrive(['compress', '-19'], { input: text }).stdout.equals(best!),
    'the last of several levels wins',
  );
});

test('-o names the output, and - is the standard output', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'a');
  const text = writeSample(path, 70_000);
  const other = join(folder, 'other');
  assert.equal(warpdrive(['compress', '-k', '-o', other, path]).code, 0);
  assert.ok(gunzipSync(readFileSync(other)).equals(text));
  assert.ok(existsSync(path));
  assert.ok(gunzipSync(warpdrive(['compress', '-o', '-', path]).stdout).equals(text));
  const fromPipe = warpdrive(['decompress', '-f', '--output', other], { input: gzipSync(text) });
  assert.equal(fromPipe.code, 0);
  assert.ok(readFileSync(other).equals(text));
});

test('-c writes several files one after the other and keeps them', () => {
  const folder = temporaryFolder();
  const texts = ['a', 'b'].map((name, index) => writeSample(join(folder, name), 600_000, index + 1));
  const { code, stdout } = warpdrive(['compress', '-c', 'a', 'b'], { cwd: folder });
  assert.equal(code, 0);
  assert.ok(gunzipSync(stdout).equals(Buffer.concat(texts)));
  assert.deepEqual(listing(folder), ['a', 'b']);
});

test('short options combine', () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'x'));
  const path = join(folder, 'x', 'a');
  const text = writeSample(path, 50_000);
  const { code, stdout } = warpdrive(['compress', '-kc9', path]);
  assert.equal(code, 0);
  assert.ok(gunzipSync(stdout).equals(text));
  assert.equal(warpdrive(['compress', '-kS.suf', path]).code, 0);
  assert.ok(existsSync(`${path}.suf`));
});
