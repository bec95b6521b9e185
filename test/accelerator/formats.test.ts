import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { LIMITS } from '../../src/abi/queue.js';
import {
  type Accelerator,
  type CompressionAlgorithm,
  CorruptDataError,
  OutputLimitError,
  open,
  TrailingDataError,
  TruncatedDataError,
  UnsupportedError,
} from '../../src/index.js';
import { EDGE_SIZES, KINDS, MIB, sample, samples } from '../support/corpus.js';
import { fails, gather } from '../support/expect.js';
import { requirement } from '../support/requirement.js';

const PROGRAMS = { zstd: 'zstd', lz4: 'lz4', br: 'brotli' } as const;
const hasZstd = 'zstdCompressSync' in zlib;

function program(name: string, args: string[], input: Uint8Array): Buffer {
  const done = spawnSync(name, args, { input, maxBuffer: 64 * MIB });
  assert.equal(done.status, 0, `${name}: ${done.stderr}`);
  return done.stdout;
}

/** A source of chunks of one size. */
function* chunks(data: Buffer, step: number): Generator<Buffer> {
  for (let at = 0; at < data.length; at += step) yield data.subarray(at, at + step);
}

/** With every engine, and with those alone that need no library. */
const MODES: [string, string[]][] = [
  ['all engines', []],
  ['the twins', ['zstd', 'lz4', 'brotli']],
];

for (const [mode, disableEngines] of MODES) {
  describe(`formats with ${mode}`, () => {
    let acc: Accelerator;
    let formats: CompressionAlgorithm[];
    before(async () => {
      acc = await open({ disableEngines });
      formats = (acc.devices()[0]!.algorithms['compress'] as CompressionAlgorithm[]).filter(
        (name) => name === 'zstd' || name === 'lz4' || name === 'lz4-block' || name === 'br',
      );
    });
    after(() => acc.close());

    it('are all there, but for zstd where neither a library nor Node has it', () => {
      const wanted = ['lz4', 'lz4-block', 'br'].concat(hasZstd || mode === 'all engines' ? ['zstd'] : []);
      assert.deepEqual([...formats].sort(), wanted.sort());
    });

    it('come back whole, by promises, synchronously, and many at once', async () => {
      await fc.assert(
        fc.asyncProperty(samples(MIB), fc.constantFrom(...formats), async (data, algorithm) => {
          const packed = await acc.compress(data, { algorithm });
          assert.ok((await acc.decompress(packed, { algorithm })).equals(data));
          const sync = acc.compressSync(data, { algorithm });
          assert.ok(acc.decompressSync(sync, { algorithm }).equals(data));
        }),
        { numRuns: 40 },
      );
      for (const algorithm of formats) {
        const inputs = EDGE_SIZES.map((size) => sample('text', size));
        const packed = await acc.compressMany(inputs, { algorithm });
        const back = await acc.decompressMany(packed, { algorithm });
        assert.ok(back.every((data, index) => data.equals(inputs[index]!)));
        using session = acc.session({ algorithm });
        assert.ok(session.decompressSync(await session.compress(inputs[9]!)).equals(inputs[9]!));
      }
    });

    it('of several pieces are one stream, which the programs read, and we read theirs', async (t) => {
      for (const [algorithm, tool] of Object.entries(PROGRAMS) as [keyof typeof PROGRAMS, string][]) {
        if (!formats.includes(algorithm)) continue;
        if (!requirement(t, spawnSync(tool, ['--version']).status === 0, `the program ${tool}`)) continue;
        for (const kind of KINDS) {
          const data = sample(kind, 3 * MIB + 1);
          const packed = await acc.compress(data, { algorithm });
          assert.ok(program(tool, ['-dc'], packed).equals(data), `${tool} reads ours`);
          const theirs = program(tool, tool === 'brotli' ? ['-q', '5', '-c'] : ['-3', '-c'], data);
          assert.ok(
            (await acc.decompress(theirs, { algorithm })).equals(data),
            `we read what ${tool} writes`,
          );
          assert.ok(acc.decompressSync(theirs, { algorithm }).equals(data));
        }
      }
    });

    it('concatenated are one, where the format says so', async () => {
      const data = sample('text', 3000);
      for (const algorithm of formats) {
        const packed = await acc.compress(data, { algorithm });
        const twice = Buffer.concat([packed, packed]);
        if (algorithm === 'zstd' || algorithm === 'lz4') {
          const both = Buffer.concat([data, data]);
          const skipped = Buffer.from('512a4d1803000000010203', 'hex');
          assert.ok((await acc.decompress(twice, { algorithm })).equals(both));
          const between = Buffer.concat([skipped, packed, skipped, packed, skipped]);
          assert.ok(
            (await acc.decompress(between, { algorithm })).equals(both),
            `${algorithm}, with frames to skip`,
          );
        } else if (algorithm === 'br') {
          await fails(acc.decompress(twice, { algorithm }), TrailingDataError, 'TRAILING_DATA', /follow/);
        }
      }
    });

    it('with bytes behind them, damaged, or cut short, say what is wrong', async () => {
      const data = sample('text', 20_000);
      for (const algorithm of formats) {
        const packed = await acc.compress(data, { algorithm });
        if (algorithm !== 'lz4-block') {
          for (const rest of ['x', 'some more bytes', '\x28\xb5\x2f', '\x04\x22']) {
            const more = Buffer.concat([packed, Buffer.from(rest, 'latin1')]);
            await fails(acc.decompress(more, { algorithm }), TrailingDataError, 'TRAILING_DATA', /follow/);
            const ignored = await acc.decompress(more, { algorithm, trailingData: 'ignore' });
            assert.ok(ignored.equals(data));
          }
          const bad = Buffer.from(packed);
          bad.fill(0x55, 10, 40);
          await fails(acc.decompress(bad, { algorithm }), CorruptDataError, 'CORRUPT', /damaged/);
          const wrong = Buffer.from('this is no compressed data at all, is it');
          if (algorithm !== 'br')
            await fails(acc.decompress(wrong, { algorithm }), CorruptDataError, 'CORRUPT', /./);
        }
        for (const cut of [0, 1, packed.length >> 1, packed.length - 1]) {
          const work = acc.decompress(packed.subarray(0, cut), { algorithm });
          if (algorithm === 'lz4-block' && cut > 0) await assert.rejects(work);
          else await fails(work, TruncatedDataError, 'TRUNCATED', /too early/);
        }
      }
    });

    it('that expand a thousandfold stop at maxOutputLength', async () => {
      const bomb = Buffer.alloc(12 * MIB);
      for (const algorithm of formats) {
        const packed = await acc.compress(bomb, { algorithm });
        assert.ok(packed.length < bomb.length / 100);
        for (const maxOutputLength of [0, 1000, 2 * MIB, bomb.length - 1]) {
          const work = acc.decompress(packed, { algorithm, maxOutputLength });
          await fails(work, OutputLimitError, 'OUTPUT_LIMIT', /larger/);
        }
        const whole = await acc.decompress(packed, { algorithm, maxOutputLength: bomb.length });
        assert.ok(whole.equals(bomb));
      }
    });

    it('as streams, of chunks of any size', async () => {
      const data = sample('text', 2 * MIB + 77);
      const description = acc.devices()[0]!;
      for (const algorithm of formats) {
        const packed = await gather(acc.compressStream(chunks(data, 100_001), { algorithm }));
        assert.ok((await acc.decompress(packed, { algorithm })).equals(data));
        const streams = description.engines.some(
          ({ name, streams: has }) =>
            has && (name === algorithm || (name === 'brotli' && algorithm === 'br')),
        );
        for (const step of [1 + (packed.length >> 9), 65_536, packed.length]) {
          const work = gather(acc.decompressStream(chunks(packed, step), { algorithm }));
          if (streams) assert.ok((await work).equals(data), `${algorithm}, ${step}`);
          else await fails(work, UnsupportedError, 'UNSUPPORTED', /no engine/);
        }
        assert.equal((await gather(acc.compressStream([], { algorithm }))).length > 0, true);
      }
    });

    it('that cannot be cut are one request, and too much for one is refused', async () => {
      for (const algorithm of ['br', 'lz4-block'] as const) {
        const options = { algorithm, level: algorithm === 'br' ? 0 : 1 };
        const most = LIMITS.maxTransfer - LIMITS.maxTransfer / 64;
        const data = Buffer.concat([
          sample('random', 4 * MIB),
          sample('text', 4 * MIB),
          Buffer.alloc(most - 8 * MIB),
        ]);
        const packed = await acc.compress(data, options);
        assert.ok((await acc.decompress(packed, options)).equals(data));
        const more = Buffer.concat([data, Buffer.alloc(1)]);
        await fails(acc.compress(more, options), UnsupportedError, 'UNSUPPORTED', /at most 16515072 bytes/);
        await fails(() => acc.compressSync(more, options), UnsupportedError, 'UNSUPPORTED', /at most/);
        const work = gather(acc.compressStream(chunks(more, MIB), options));
        await fails(work, UnsupportedError, 'UNSUPPORTED', /at most/);
      }
    });

    it('know their levels', async () => {
      const wrong: [CompressionAlgorithm, number][] = [
        ['zstd', 0],
        ['zstd', 20],
        ['lz4', 0],
        ['lz4', 13],
        ['lz4-block', 2.5],
        ['br', 12],
        ['br', -1],
      ];
      for (const [algorithm, level] of wrong) {
        if (!formats.includes(algorithm)) continue;
        const work = acc.compress(Buffer.from('x'), { algorithm, level });
        const error = await fails(work, UnsupportedError, 'UNSUPPORTED', /level/);
        assert.match(String(error.hint), new RegExp(`there are \\d+ to \\d+ of ${algorithm} on`));
      }
      assert.equal((await acc.compress(Buffer.from('x'), { algorithm: 'br', level: 11 })).length > 0, true);
    });
  });
}

describe('a format that no engine has', () => {
  it('is refused with what there is', async () => {
    // The twin of a newer Node has zstd, too.
    await using acc = await open({ disableEngines: hasZstd ? ['zstd', 'node'] : ['zstd'] });
    const work = acc.compress(Buffer.from('x'), { algorithm: 'zstd' });
    const error = await fails(work, UnsupportedError, 'UNSUPPORTED', /no engine here compresses zstd/);
    assert.match(String(error.hint), /gzip.*lz4.*br/);
    const unpacking = acc.decompress(Buffer.from('28b52ffd', 'hex'), { algorithm: 'zstd' });
    await fails(unpacking, UnsupportedError, 'UNSUPPORTED', /no engine/);
    const other = { algorithm: 'sha256' as CompressionAlgorithm };
    await fails(() => acc.compressSync(Buffer.from('x'), other), UnsupportedError, 'UNSUPPORTED', /sha256/);
  });
});
