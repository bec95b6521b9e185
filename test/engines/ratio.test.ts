import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import zlib from 'node:zlib';
import { type Accelerator, open } from '../../src/index.js';
import { ENGINE_ALONE, type EngineAlone, realText } from '../support/corpus.js';

/** How much larger than node:zlib's a result may be at the same level. */
const TOLERANCE = 1.03;
const BLOCKS = 4;

/** Blocks from all over the text. */
function cutBlocks(blockBytes: number): Buffer[] {
  const step = Math.floor((realText.length - blockBytes) / BLOCKS);
  return Array.from({ length: BLOCKS }, (_, index) =>
    realText.subarray(index * step, index * step + blockBytes),
  );
}

const sum = (parts: Buffer[]): number => parts.reduce((total, part) => total + part.length, 0);

const known = new Map<string, number>();

/** What node:zlib makes of the same blocks, computed once. */
function theirs(blockBytes: number, level: number): number {
  const key = `${blockBytes} ${level}`;
  const size = known.get(key) ?? sum(cutBlocks(blockBytes).map((block) => zlib.gzipSync(block, { level })));
  known.set(key, size);
  return size;
}

const MODES: Record<string, { disableEngines: string[] }> = {
  'every engine': { disableEngines: [] },
  ...Object.fromEntries(
    (Object.keys(ENGINE_ALONE) as EngineAlone[]).map((name) => [
      `${name} alone`,
      { disableEngines: [...ENGINE_ALONE[name]] },
    ]),
  ),
};

for (const [mode, options] of Object.entries(MODES)) {
  describe(`the ratio with ${mode}`, () => {
    let acc: Accelerator;
    before(async () => {
      acc = await open(options);
    });
    after(() => acc.close());

    for (const blockBytes of mode === 'every engine' ? [64 * 1024, 512 * 1024] : [64 * 1024]) {
      it(`is node:zlib's, at every level, in blocks of ${blockBytes} bytes`, async () => {
        const blocks = cutBlocks(blockBytes);
        for (let level = 1; level <= 9; level++) {
          const ours = sum(await acc.compressMany(blocks, { level }));
          const ratio = ours / theirs(blockBytes, level);
          assert.ok(ratio <= TOLERANCE, `level ${level}: ${ratio.toFixed(4)} of node:zlib's size`);
        }
      });
    }

    it("is node:zlib's for large inputs, cut into pieces", async () => {
      const data = realText.subarray(0, 3 * 1024 * 1024);
      for (const level of [1, 3, 6, 9]) {
        const ratio = (await acc.compress(data, { level })).length / zlib.gzipSync(data, { level }).length;
        assert.ok(ratio <= TOLERANCE, `level ${level}: ${ratio.toFixed(4)} of node:zlib's size`);
      }
    });
  });
}

describe('levels', () => {
  it('10 to 12, where there are any, are no worse than 9', async () => {
    await using acc = await open();
    const { max } = acc.devices()[0]!.levels;
    assert.ok(max === 9 || max === 12);
    const data = realText.subarray(0, 256 * 1024);
    const nine = (await acc.compress(data, { level: 9 })).length;
    for (let level = 10; level <= max; level++) {
      const { length } = await acc.compress(data, { level });
      assert.ok(length <= nine, `level ${level}: ${length} bytes, and ${nine} at level 9`);
    }
  });

  it('0 stores', async () => {
    await using acc = await open();
    const data = realText.subarray(0, 100_000);
    const packed = await acc.compress(data, { level: 0 });
    assert.ok(packed.length >= data.length && packed.includes(data.subarray(0, 1000)));
  });
});
