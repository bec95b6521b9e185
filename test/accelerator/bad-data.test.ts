import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import {
  type Accelerator,
  CorruptDataError,
  type DecompressOptions,
  OutputLimitError,
  open,
  TrailingDataError,
  TruncatedDataError,
  WarpDriveError,
} from '../../src/index.js';
import { ENGINE_ALONE, FORMATS, MIB, reference, sample } from '../support/corpus.js';
import { fails, settles } from '../support/expect.js';

const MODES = {
  'every engine': {},
  'isa-l and zlib': { disableEngines: ['libdeflate'] },
  ...Object.fromEntries(
    Object.entries(ENGINE_ALONE).map(([name, disableEngines]) => [
      `${name} alone`,
      { disableEngines: [...disableEngines] },
    ]),
  ),
};

for (const [mode, options] of Object.entries(MODES)) {
  describe(`bad data with ${mode}`, () => {
    let acc: Accelerator;
    before(async () => {
      acc = await open(options);
    });
    after(() => settles(acc.close(), 'close'));

    /** Both ways of asking must agree. */
    const attempts = (data: Uint8Array, given: DecompressOptions): (() => unknown)[] => [
      () => settles(acc.decompress(data, given), 'decompress'),
      () => acc.decompressSync(data, given),
    ];
    const stillGood = async (): Promise<void> => {
      const data = sample('text', 3000);
      assert.ok((await acc.decompress(await acc.compress(data))).equals(data));
      assert.ok(acc.decompressSync(acc.compressSync(data)).equals(data));
    };

    it('tells every early end of a stream', async () => {
      for (const algorithm of FORMATS) {
        for (const data of [Buffer.alloc(0), sample('text', 300), sample('random', 60)]) {
          const packed = reference[algorithm].pack(data);
          for (let length = 0; length < packed.length; length++) {
            for (const attempt of attempts(packed.subarray(0, length), { algorithm })) {
              await fails(attempt, TruncatedDataError, 'TRUNCATED', /too early/);
            }
          }
        }
      }
      const large = zlib.gzipSync(sample('text', 3 * MIB));
      for (const length of [large.length - 1, large.length - 9, large.length >> 1, 256 * 1024]) {
        for (const attempt of attempts(large.subarray(0, length), {})) {
          await fails(attempt, TruncatedDataError, 'TRUNCATED', /too early/);
        }
      }
      await stillGood();
    });

    it('meets any flipped bit with an error or the right data', async () => {
      const data = sample('text', 220);
      for (const algorithm of FORMATS) {
        const packed = reference[algorithm].pack(data);
        for (let bit = 0; bit < packed.length * 8; bit++) {
          const flipped = Buffer.from(packed);
          flipped[bit >> 3]! ^= 1 << (bit & 7);
          for (const attempt of attempts(flipped, { algorithm, maxOutputLength: MIB })) {
            let back: unknown;
            try {
              back = await attempt();
            } catch (error) {
              assert.ok(error instanceof WarpDriveError, String(error));
              assert.match(error.code, /^ERR_WARPDRIVE_(CORRUPT|TRUNCATED|TRAILING_DATA|OUTPUT_LIMIT)$/);
              continue;
            }
            // A raw stream carries no checksum: there it is what node:zlib reads, if that reads anything.
            const right = algorithm === 'deflate-raw' ? readRaw(flipped) : data;
            assert.ok(right === undefined || right.equals(back as Buffer), `${algorithm}, bit ${bit}`);
          }
        }
      }
      await stillGood();
    });

    it('survives bytes that never were a stream', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.uint8Array({ maxLength: 600 }),
          fc.constantFrom(...FORMATS),
          async (bytes, algorithm) => {
            for (const attempt of attempts(bytes, { algorithm, maxOutputLength: MIB })) {
              let back: unknown;
              try {
                back = await attempt();
              } catch (error) {
                assert.ok(error instanceof WarpDriveError, String(error));
                continue;
              }
              const right = algorithm === 'deflate-raw' ? readRaw(bytes) : reference[algorithm].unpack(bytes);
              assert.ok(right === undefined || right.equals(back as Buffer));
            }
          },
        ),
        { numRuns: 200 },
      );
      await stillGood();
    });

    it('survives damage in the midst of a large stream', async () => {
      for (const algorithm of ['gzip', 'deflate'] as const) {
        const packed = reference[algorithm].pack(sample('text', 2 * MIB));
        for (const at of [packed.length >> 1, packed.length - 3, 300_000]) {
          const damaged = Buffer.from(packed);
          damaged[at]! ^= 0x10;
          for (const attempt of attempts(damaged, { algorithm })) {
            await assert.rejects(
              async () => attempt(),
              (error: WarpDriveError) =>
                error instanceof CorruptDataError || error instanceof TruncatedDataError,
            );
          }
        }
      }
      await stillGood();
    });

    it('finds a wrong checksum and a wrong length', async () => {
      for (const data of [sample('text', 500), sample('text', 700_000)]) {
        const trailers = { gzip: [8, 7, 6, 5, 4, 3, 2, 1], deflate: [4, 3, 2, 1] };
        for (const [algorithm, places] of Object.entries(trailers) as ['gzip' | 'deflate', number[]][]) {
          const packed = reference[algorithm].pack(data);
          for (const fromEnd of places) {
            const wrong = Buffer.from(packed);
            wrong[wrong.length - fromEnd]! ^= 0x01;
            for (const attempt of attempts(wrong, { algorithm })) {
              await fails(attempt, CorruptDataError, 'CORRUPT', /damaged/);
            }
          }
        }
      }
      await stillGood();
    });

    it('tells what follows the end, and where that was', async () => {
      for (const algorithm of FORMATS) {
        for (const data of [Buffer.alloc(0), sample('text', 300), sample('text', 700_000)]) {
          const packed = reference[algorithm].pack(data);
          for (const tail of ['x', 'garbage that is no stream', '\0\0\0\0', '\x1f', '\x1fx']) {
            const longer = Buffer.concat([packed, Buffer.from(tail, 'latin1')]);
            for (const attempt of attempts(longer, { algorithm })) {
              const error = await fails(
                attempt,
                TrailingDataError,
                'TRAILING_DATA',
                /trailingData: 'ignore'/,
              );
              assert.equal(error.consumed, packed.length);
            }
            for (const attempt of attempts(longer, { algorithm, trailingData: 'ignore' })) {
              assert.ok(data.equals((await attempt()) as Buffer), `${algorithm} and ${tail}`);
            }
          }
        }
      }
      await stillGood();
    });

    it('reads all members, empty ones too, and tells a broken second one', async () => {
      const [a, b] = [zlib.gzipSync('one'), zlib.gzipSync(Buffer.alloc(0))];
      for (const attempt of attempts(Buffer.concat([a, b, a, b]), {})) {
        assert.equal(String(await attempt()), 'oneone');
      }
      for (const attempt of attempts(Buffer.concat([a, a.subarray(0, -1)]), {})) {
        await fails(attempt, TruncatedDataError, 'TRUNCATED', /too early/);
      }
      const damaged = Buffer.from(a);
      damaged[a.length - 5]! ^= 1;
      for (const attempt of attempts(Buffer.concat([a, damaged]), {})) {
        await fails(attempt, CorruptDataError, 'CORRUPT', /damaged/);
      }
      await stillGood();
    });

    it('refuses a preset dictionary', async () => {
      const packed = zlib.deflateSync('hello hello hello', { dictionary: Buffer.from('hello') });
      for (const attempt of attempts(packed, { algorithm: 'deflate' })) {
        await fails(attempt, CorruptDataError, 'CORRUPT', /damaged/);
      }
    });

    it('holds maxOutputLength to the byte', async () => {
      for (const length of [0, 1, 100, 5000, 65_536, MIB - 1, MIB, MIB + 1, 3 * MIB]) {
        for (const algorithm of FORMATS) {
          const packed = reference[algorithm].pack(Buffer.alloc(length));
          for (const maxOutputLength of [length, length + 1]) {
            for (const attempt of attempts(packed, { algorithm, maxOutputLength })) {
              assert.equal(((await attempt()) as Buffer).length, length);
            }
          }
          const smaller = [length - 1, 10, 0].filter((limit) => limit >= 0 && limit < length);
          for (const maxOutputLength of smaller) {
            for (const attempt of attempts(packed, { algorithm, maxOutputLength })) {
              await fails(attempt, OutputLimitError, 'OUTPUT_LIMIT', /maxOutputLength/);
            }
          }
        }
      }
      await stillGood();
    });

    it('is not taken in by a length that a stream claims', async () => {
      // ISIZE says 4 GiB, and 0: neither may be believed beyond what it costs to find out.
      for (const claim of [0xffffffff, 0, 1]) {
        const packed = zlib.gzipSync(sample('text', 5000));
        packed.writeUInt32LE(claim, packed.length - 4);
        for (const attempt of attempts(packed, {})) {
          await fails(attempt, CorruptDataError, 'CORRUPT', /damaged/);
        }
      }
      await stillGood();
    });
  });
}

/** What node:zlib reads in a raw stream; undefined where it is stricter than other engines. */
function readRaw(bytes: Uint8Array): Buffer | undefined {
  try {
    return zlib.inflateRawSync(bytes);
  } catch {
    return undefined;
  }
}
