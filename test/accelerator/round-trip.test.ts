import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { type Accelerator, open } from '../../src/index.js';
import {
  EDGE_SIZES,
  ENGINE_ALONE,
  type EngineAlone,
  FORMATS,
  MIB,
  reference,
  sample,
  samples,
} from '../support/corpus.js';

/** Levels beyond 9 are slow: their inputs are kept short. */
const HIGH_LEVEL_BYTES = 128 * 1024;

const MODES = {
  'every engine': {},
  'mapped memory': { sva: false },
  'one engine thread, little memory': { engines: 1, queueDepth: 2, memoryBytes: 4 * MIB },
  ...Object.fromEntries(
    (Object.keys(ENGINE_ALONE) as EngineAlone[]).map((name) => [
      `${name} alone`,
      { disableEngines: [...ENGINE_ALONE[name]] },
    ]),
  ),
};

for (const [mode, options] of Object.entries(MODES)) {
  describe(`round trips with ${mode}`, () => {
    let acc: Accelerator;
    let maxLevel: number;
    const numRuns = mode === 'every engine' ? 100 : 30;

    before(async () => {
      acc = await open(options);
      maxLevel = acc.devices()[0]!.levels.max;
    });
    after(() => acc.close());

    const cases = (maxBytes: number) =>
      fc.record({
        data: samples(maxBytes),
        level: fc.integer({ min: 0, max: 12 }),
        algorithm: fc.constantFrom(...FORMATS),
        sync: fc.boolean(),
      });

    it('node:zlib reads what we write, and so do we', async () => {
      await fc.assert(
        fc.asyncProperty(cases(3 * MIB), fc.boolean(), async (given, unpackSync) => {
          const level = Math.min(given.level, maxLevel);
          const { algorithm } = given;
          const data = level > 9 ? given.data.subarray(0, HIGH_LEVEL_BYTES) : given.data;
          const packed = given.sync
            ? acc.compressSync(data, { algorithm, level })
            : await acc.compress(data, { algorithm, level });
          assert.ok(reference[algorithm].unpack(packed).equals(data));
          const back = unpackSync
            ? acc.decompressSync(packed, { algorithm })
            : await acc.decompress(packed, { algorithm });
          assert.ok(back.equals(data));
        }),
        { numRuns },
      );
    });

    it('reads what node:zlib writes', async () => {
      await fc.assert(
        fc.asyncProperty(cases(3 * MIB), async ({ data, level, algorithm, sync }) => {
          const packed = reference[algorithm].pack(data, { level: level % 10 });
          const back = sync
            ? acc.decompressSync(packed, { algorithm })
            : await acc.decompress(packed, { algorithm });
          assert.ok(back.equals(data));
        }),
        { numRuns },
      );
    });

    it('is right at every edge', async () => {
      const levels = [0, 1, 3, 6, 9].concat(maxLevel > 9 ? [maxLevel] : []);
      for (const [index, size] of EDGE_SIZES.entries()) {
        const level = levels[index % levels.length]!;
        if (size > MIB + 1 || (size > HIGH_LEVEL_BYTES && level > 9)) continue;
        for (const algorithm of FORMATS) {
          const data = sample('text', size, index);
          const packed = await acc.compress(data, { algorithm, level });
          assert.ok(reference[algorithm].unpack(packed).equals(data), `${algorithm} ${size} ${level}`);
          assert.ok((await acc.decompress(packed, { algorithm })).equals(data));
        }
      }
    });
  });
}

describe('round trips with the gzip program', () => {
  let acc: Accelerator;
  before(async () => {
    acc = await open();
  });
  after(() => acc.close());

  const gzip = (flag: string, input: Buffer): Buffer => {
    const run = spawnSync('gzip', [flag], { input, maxBuffer: 16 * MIB });
    assert.equal(run.status, 0, run.stderr?.toString());
    return run.stdout;
  };

  it('gzip reads what we write', async () => {
    await fc.assert(
      fc.asyncProperty(samples(3 * MIB), fc.integer({ min: 0, max: 9 }), async (data, level) => {
        assert.ok(gzip('-dc', await acc.compress(data, { level })).equals(data));
      }),
      { numRuns: 20 },
    );
  });

  it('reads what gzip writes', async () => {
    await fc.assert(
      fc.asyncProperty(samples(3 * MIB), fc.integer({ min: 1, max: 9 }), async (data, level) => {
        assert.ok((await acc.decompress(gzip(`-${level}c`, data))).equals(data));
      }),
      { numRuns: 20 },
    );
  });
});
