import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { brotliCompressSync, brotliDecompressSync } from 'node:zlib';
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

const MIB = 1 << 20;
const PROGRAMS = { zstd: ['zstd', '.zst'], lz4: ['lz4', '.lz4'], br: ['brotli', '.br'] } as const;

describe('compress and decompress by format', () => {
  for (const [algorithm, [tool, suffix]] of Object.entries(PROGRAMS)) {
    test(`${algorithm}: what ${tool} reads, and what it writes`, (t) => {
      if (!requirement(t, hasCommand(tool), `the program ${tool}`)) return;
      const folder = temporaryFolder();
      const path = join(folder, 'text');
      for (const bytes of [0, 1, 512 * 1024, 3 * MIB + 5]) {
        const text = writeSample(path, bytes);
        assert.equal(warpdrive(['compress', '-a', algorithm, path]).stderr, '');
        assert.deepEqual(listing(folder), [`text${suffix}`]);
        const theirs = run(tool, ['-dc', path + suffix]);
        assert.equal(theirs.code, 0, theirs.stderr);
        assert.ok(theirs.stdout.equals(text), `${tool} reads ${bytes} bytes`);
        // Found by its name alone, as `decompress text`.
        assert.equal(warpdrive(['decompress', path]).stderr, '');
        assert.deepEqual(listing(folder), ['text']);
        assert.ok(readFileSync(path).equals(text));
        const packed = run(tool, ['-c', path]).stdout;
        const back = warpdrive(['decompress', ...(algorithm === 'br' ? ['-a', 'br'] : [])], {
          input: packed,
        });
        assert.ok(back.stdout.equals(text), `ours reads ${bytes} bytes of ${tool}`);
        assert.equal(back.code, 0);
      }
    });
  }

  test('levels are those of the format', () => {
    const input = sampleText(200_000);
    const size = (args: string[]): number => {
      const done = warpdrive(['compress', ...args], { input });
      assert.equal(done.code, 0, done.stderr);
      return done.stdout.length;
    };
    assert.ok(size(['-a', 'zstd', '--level', '19']) < size(['-a', 'zstd', '-1']));
    assert.equal(size(['-a', 'zstd', '--best']), size(['-a', 'zstd', '--level', '19']));
    assert.ok(size(['-a', 'br', '--best']) < size(['-a', 'br', '-1']));
    assert.equal(size(['-a', 'br']), size(['-a', 'brotli', '-6']));
    for (const [algorithm, level] of [
      ['zstd', '20'],
      ['zstd', '0'],
      ['lz4', '13'],
      ['br', '12'],
    ] as const) {
      const done = warpdrive(['compress', '-a', algorithm, '--level', level], { input });
      assert.equal(done.code, 1);
      assert.match(done.stderr, /there is no level .*; there are \d+ to \d+/);
    }
  });

  test('a file is what its first bytes say, whatever its name; brotli what its name says', () => {
    const folder = temporaryFolder();
    const text = sampleText(5000);
    const zst = warpdrive(['compress', '-a', 'zstd'], { input: text }).stdout;
    const lz4 = warpdrive(['compress', '-a', 'lz4'], { input: text }).stdout;
    for (const [name, bytes] of [
      ['a.gz', zst],
      ['b.zst', lz4],
      ['c.br', brotliCompressSync(text)],
    ] as const) {
      writeFileSync(join(folder, name), bytes);
      const done = warpdrive(['decompress', '-c', join(folder, name)]);
      assert.equal(done.stderr, '', name);
      assert.ok(done.stdout.equals(text), name);
    }
    const piped = warpdrive(['decompress'], { input: brotliCompressSync(text) });
    assert.equal(piped.code, 1);
    assert.match(piped.stderr, /not in gzip format, nor in another/);
    const copied = warpdrive(['decompress', '-cf'], { input: Buffer.from('P') });
    assert.equal(copied.stdout.toString(), 'P', 'too short for a magic number');
  });

  test('frames that follow each other, frames to skip, and what follows the last', () => {
    const text = sampleText(700_000);
    for (const algorithm of ['zstd', 'lz4']) {
      const packed = warpdrive(['compress', '-a', algorithm], { input: text }).stdout;
      const skipped = Buffer.from('532a4d1802000000aabb', 'hex');
      const input = Buffer.concat([packed, skipped, packed]);
      const back = warpdrive(['decompress'], { input });
      assert.equal(back.stderr, '');
      assert.ok(back.stdout.equals(Buffer.concat([text, text])));
      const trailing = warpdrive(['decompress'], { input: Buffer.concat([packed, Buffer.from('garbage')]) });
      assert.equal(trailing.code, 2);
      assert.match(trailing.stderr, /trailing garbage ignored/);
      assert.ok(trailing.stdout.equals(text));
      for (const cut of [3, packed.length >> 1, packed.length - 1]) {
        const short = warpdrive(['decompress', '-t'], { input: packed.subarray(0, cut) });
        assert.equal(short.code, 1);
        assert.match(short.stderr, /unexpected end of file/);
      }
      const bad = Buffer.from(packed);
      bad.fill(0x55, 2000, 2100);
      const damaged = warpdrive(['decompress', '-t'], { input: bad });
      assert.equal(damaged.code, 1);
      assert.match(damaged.stderr, /damaged|unexpected end/);
    }
  });

  test('a file too large for brotli is refused, and nothing of it is left', () => {
    const folder = temporaryFolder();
    const path = join(folder, 'large');
    const most = 16 * MIB - MIB / 4;
    const text = Buffer.concat([noise(MIB), Buffer.alloc(most - MIB, 'abc')]);
    writeFileSync(path, text);
    assert.equal(warpdrive(['compress', '-k', '-a', 'br', '-1', path]).stderr, '');
    assert.ok(brotliDecompressSync(readFileSync(`${path}.br`)).equals(text));
    writeFileSync(path, Buffer.concat([text, Buffer.alloc(1)]));
    const done = warpdrive(['compress', '-f', '-a', 'br', '-1', path]);
    assert.equal(done.code, 1);
    assert.match(done.stderr, /too large for br: at most 16515072 bytes/);
    assert.ok(existsSync(path));
  });
});
