import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { chunkNonce, parseHeader } from '../../src/cli/sealed-format.js';
import { listing, noise, temporaryFolder, warpdrive } from './support-cli.js';
import { CHUNK, chunksOf, HEADER, type SealOptions, sealReference, TAG } from './support-sealed.js';

const KEY = noise(32, 3);
const PASSPHRASE = 'correct horse';
const ENV = { WARPDRIVE_PASSPHRASE: PASSPHRASE };
const REFUSAL = 'cannot be decrypted: another key or passphrase, or not as "warpdrive encrypt" wrote it';
const BATCH = 16 * CHUNK;

/**
 * Every file is refused with the same words, nothing is written, and what was there stays. All of them are tried by one
 * process: a refusal must not spoil what follows, either, so the last file is a good one.
 */
function assertRefused(
  files: Record<string, Buffer>,
  good: Buffer,
  secret: string[] = ['--key-file', '../key'],
) {
  const folder = temporaryFolder();
  const cwd = join(folder, 'files');
  mkdirSync(cwd);
  writeFileSync(join(folder, 'key'), KEY);
  const names = Object.keys(files).map((name) => `${name}.wdx`);
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(cwd, `${name}.wdx`), bytes);
  writeFileSync(join(cwd, 'zz-good.wdx'), good);
  const all = [...names, 'zz-good.wdx'];
  const { code, stdout, stderr } = warpdrive(['decrypt', ...secret, ...all], { cwd, env: ENV });
  assert.equal(stderr, names.map((name) => `warpdrive: ${name}: ${REFUSAL}\n`).join(''));
  assert.equal(code, 1);
  assert.equal(stdout.length, 0);
  assert.deepEqual(listing(cwd), [...names, 'zz-good'].sort());
  // A regular file is verified as a whole before any of it goes to the standard output.
  const toStdout = warpdrive(['decrypt', '-c', ...secret, ...names], { cwd, env: ENV });
  assert.equal(toStdout.code, 1);
  assert.equal(toStdout.stdout.length, 0);
}

const GOOD = sealReference(Buffer.from('good'), { key: KEY });

function flips(file: Buffer, mask: number): Record<string, Buffer> {
  return Object.fromEntries(
    Array.from(file, (_, at) => {
      const changed = Buffer.from(file);
      changed[at]! ^= mask;
      return [`flip-${mask}-${at}`, changed];
    }),
  );
}

test('any byte of a file altered', () => {
  const small = sealReference(Buffer.from('a few bytes'), { key: KEY });
  assertRefused({ ...flips(small, 0x01), ...flips(small, 0x80), ...flips(small, 0xff) }, GOOD);
});

test('any byte altered of a file with a passphrase', () => {
  const small = sealReference(Buffer.from('a few bytes'), { passphrase: PASSPHRASE });
  assertRefused({ ...flips(small, 0x01), ...flips(small, 0x80) }, small, []);
});

test('a file of any other length', () => {
  const small = sealReference(Buffer.from('a few bytes'), { key: KEY });
  const cut = Array.from(small, (_, length) => [`cut-${length}`, small.subarray(0, length)]);
  const longer = [1, TAG, TAG + 1, 1000].map((more) => [
    `longer-${more}`,
    Buffer.concat([small, Buffer.alloc(more)]),
  ]);
  assertRefused(Object.fromEntries([...cut, ...longer]), GOOD);
});

test('chunks that are swapped, repeated, dropped, cut, moved from another file, or altered', () => {
  for (const size of [3 * CHUNK + 100, 4 * CHUNK, 2 * BATCH, 2 * BATCH + 100]) {
    const file = sealReference(noise(size), { key: KEY });
    const other = sealReference(noise(size), { key: KEY });
    const header = file.subarray(0, HEADER);
    const chunks = chunksOf(file);
    const count = chunks.length;
    const of = (...parts: Buffer[]): Buffer => Buffer.concat([header, ...parts]);
    const swapped = [chunks[1]!, chunks[0]!, ...chunks.slice(2)];
    const files: Record<string, Buffer> = {
      swapped: of(...swapped),
      'last-first': of(chunks[count - 1]!, ...chunks.slice(0, -1)),
      'repeated-first': of(chunks[0]!, ...chunks),
      'repeated-last': of(...chunks, chunks[count - 1]!),
      'dropped-first': of(...chunks.slice(1)),
      'dropped-middle': of(chunks[0]!, ...chunks.slice(2)),
      'dropped-last': of(...chunks.slice(0, -1)),
      'only-last': of(chunks[count - 1]!),
      'no-chunks': of(),
      'half-a-chunk': of(...chunks.slice(0, -1), chunks[count - 1]!.subarray(0, 50)),
      'a-tag-alone': of(...chunks.slice(0, -1), Buffer.alloc(TAG)),
      'less-than-a-tag': of(...chunks.slice(0, -1), Buffer.alloc(TAG - 1)),
      'of-another': of(...chunks.slice(0, -1), chunksOf(other)[count - 1]!),
      'header-of-another': Buffer.concat([other.subarray(0, HEADER), ...chunks]),
      'two-files': Buffer.concat([file, file]),
      'altered-last-byte': of(...chunks.slice(0, -1), altered(chunks[count - 1]!)),
      'altered-first-chunk': of(altered(chunks[0]!), ...chunks.slice(1)),
    };
    assertRefused(files, GOOD);
  }
});

function altered(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  changed[changed.length - 1]! ^= 1;
  return changed;
}

test('games with the last flag, by whoever has the key', () => {
  const full = noise(CHUNK);
  const sealed = (chunks: SealOptions['chunks']): Buffer =>
    sealReference(Buffer.alloc(0), { key: KEY }, { chunks: chunks! });
  const part = (plain: Buffer, last: boolean) => ({ plain, last });
  assertRefused(
    {
      'no last': sealed([part(full, false), part(full, false)]),
      'no last of one': sealed([part(Buffer.from('x'), false)]),
      'empty and not last': sealed([part(Buffer.alloc(0), false)]),
      'last before the end': sealed([part(full, true), part(full, true)]),
      'last is not the last': sealed([part(full, true), part(full, false)]),
      'an empty chunk at the end': sealed([part(full, false), part(Buffer.alloc(0), true)]),
      'an empty chunk after sixteen': sealed([
        ...Array.from({ length: 16 }, () => part(full, false)),
        part(Buffer.alloc(0), true),
      ]),
      'a short chunk in the middle': sealed([part(full.subarray(1), false), part(full, true)]),
      'a long chunk': sealed([part(Buffer.concat([full, full]), true)]),
    },
    GOOD,
  );
});

test('another key, another passphrase, and one for the other', () => {
  const file = sealReference(noise(3 * CHUNK), { key: noise(32, 99) });
  const withPassphrase = sealReference(noise(100), { passphrase: PASSPHRASE });
  assertRefused({ key: file, passphrase: withPassphrase, empty: Buffer.alloc(0) }, GOOD);
  const other = sealReference(noise(100), { passphrase: `${PASSPHRASE} ` });
  assertRefused({ key: GOOD, passphrase: other }, withPassphrase, []);
});

test('headers that ask for too much of the derivation, or for nonsense', () => {
  const header = (log2Cost: number, r: number, p: number, kdf = 1): Buffer => {
    const bytes = Buffer.from(sealReference(Buffer.from('x'), { passphrase: PASSPHRASE }));
    bytes[10] = kdf;
    bytes[11] = log2Cost;
    bytes.writeUInt32BE(r, 12);
    bytes.writeUInt32BE(p, 16);
    return bytes;
  };
  const files: Record<string, Buffer> = {};
  for (const [log2Cost, r, p, kdf] of [
    [60, 8, 1],
    [255, 8, 1],
    [21, 8, 1],
    [20, 9, 1],
    [20, 8, 2],
    [17, 2 ** 31, 1],
    [17, 8, 2 ** 32 - 1],
    [1, 2 ** 31, 2 ** 31],
    [1, 2 ** 32 - 1, 2 ** 32 - 1],
    [1, 1, 2 ** 23],
    [16, 1, 1],
    [0, 8, 1],
    [10, 0, 1],
    [10, 8, 0],
    [10, 8, 1, 0],
    [0, 0, 0, 1],
    [10, 8, 1, 2],
  ]) {
    files[`n${log2Cost}-r${r}-p${p}-k${kdf ?? 1}`] = header(log2Cost!, r!, p!, kdf);
  }
  for (const [name, bytes] of Object.entries(files)) {
    assert.throws(() => parseHeader(bytes), { message: REFUSAL }, `${name}: before anything is derived`);
  }
  assertRefused(files, sealReference(Buffer.from('good'), { passphrase: PASSPHRASE }), []);
  // The most that may be asked for.
  assert.deepEqual(parseHeader(header(20, 8, 1)).scrypt, { log2Cost: 20, r: 8, p: 1 });
  assert.throws(() => parseHeader(header(20, 8, 1).subarray(0, 50)), { message: REFUSAL });
});

test('other versions and algorithms, by whoever has the key', () => {
  const spoilt = (at: number, value: number): Buffer =>
    sealReference(Buffer.from('x'), { key: KEY }, { spoil: (header) => (header[at] = value) });
  assertRefused(
    { v0: spoilt(8, 0), v2: spoilt(8, 2), a0: spoilt(9, 0), a3: spoilt(9, 3), magic: spoilt(0, 0x88) },
    GOOD,
  );
});

test('no chunk has a number that does not fit its nonce', () => {
  const prefix = Buffer.alloc(7, 0xaa);
  const last = chunkNonce(prefix, 2 ** 32 - 1, true);
  assert.equal(last.toString('hex'), 'aaaaaaaaaaaaaaffffffff01');
  assert.equal(chunkNonce(prefix, 1, false).toString('hex'), 'aaaaaaaaaaaaaa0000000100');
  assert.throws(() => chunkNonce(prefix, 2 ** 32, false), /2\^32 chunks/);
  assert.throws(() => chunkNonce(prefix, 2 ** 32, true), /256 TiB/);
});

test('from a pipe to standard output: only what is authentic, and the exit code tells', () => {
  const cwd = temporaryFolder();
  writeFileSync(join(cwd, 'key'), KEY);
  const plain = noise(4 * BATCH + 5);
  const file = sealReference(plain, { key: KEY });
  for (const damaged of [file.subarray(0, -1), altered(file), file.subarray(0, HEADER + 2 * BATCH)]) {
    const { code, stdout, stderr } = warpdrive(['decrypt', '--key-file', 'key'], { cwd, input: damaged });
    assert.equal(code, 1);
    assert.equal(stderr, `warpdrive: stdin: ${REFUSAL}\n`);
    assert.ok(stdout.length < plain.length);
    assert.ok(stdout.equals(plain.subarray(0, stdout.length)));
  }
  // To a file, nothing at all.
  const args = ['decrypt', '--key-file', 'key', '-o', 'out'];
  assert.equal(warpdrive(args, { cwd, input: file.subarray(0, -1) }).code, 1);
  assert.deepEqual(listing(cwd), ['key']);
});

test('what is refused does not replace an output that is there', () => {
  const cwd = temporaryFolder();
  writeFileSync(join(cwd, 'key'), KEY);
  writeFileSync(join(cwd, 'a.wdx'), altered(GOOD));
  writeFileSync(join(cwd, 'a'), 'precious');
  assert.equal(warpdrive(['decrypt', '-f', '--key-file', 'key', 'a.wdx'], { cwd }).code, 1);
  assert.equal(readFileSync(join(cwd, 'a'), 'utf8'), 'precious');
  assert.deepEqual(listing(cwd), ['a', 'a.wdx', 'key']);
});
