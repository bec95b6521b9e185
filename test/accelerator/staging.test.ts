import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Staging } from '../../src/accelerator/staging.js';
import { Mapping } from '../../src/sys/memory.js';

const CAPACITY = 64 * 1024;
const UNIT = 1024;
const IOVA = 0x10000;

function makeStaging(): Staging {
  const mapping = Mapping.anonymous(CAPACITY);
  return new Staging({
    mapping,
    iova: IOVA,
    free: async () => {
      mapping.unmap();
    },
  });
}

/** The block that a length is given: a power of two of at least one unit. */
function blockBytes(length: number): number {
  let bytes = UNIT;
  while (bytes < length) bytes *= 2;
  return bytes;
}

/** Whether an aligned block of this many bytes is free: what a buddy allocator must be able to give. */
function fits(taken: Map<number, number>, bytes: number): boolean {
  if (bytes > CAPACITY) return false;
  for (let at = 0; at < CAPACITY; at += bytes) {
    if ([...taken].every(([offset, length]) => offset + length <= at || at + bytes <= offset)) return true;
  }
  return false;
}

const lengths = fc.oneof(
  fc.integer({ min: 1, max: 5000 }),
  fc.constantFrom(0, 1, 1023, 1024, 1025, 2048, 2049, CAPACITY / 2, CAPACITY / 2 + 1, CAPACITY, CAPACITY + 1),
);
const steps = fc.array(
  fc.oneof(
    fc.record({ take: lengths, give: fc.constant(-1) }),
    fc.record({ take: fc.constant(-1), give: fc.nat(1000) }),
  ),
  { maxLength: 200 },
);

describe('staging memory', () => {
  it('overlaps no two blocks, refuses only what does not fit, and joins what comes back', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const staging = makeStaging();
        const taken = new Map<number, number>();
        for (const { take, give } of sequence) {
          if (take >= 0) {
            const bytes = blockBytes(take);
            const possible = fits(taken, bytes);
            const offset = staging.take(take);
            assert.equal(offset >= 0, possible, `${take} bytes beside ${[...taken]}`);
            if (offset < 0) continue;
            assert.equal(offset % bytes, 0);
            assert.ok(offset + bytes <= CAPACITY);
            assert.equal(staging.address(offset), IOVA + offset);
            for (const [other, length] of taken)
              assert.ok(offset + bytes <= other || other + length <= offset);
            taken.set(offset, bytes);
          } else if (taken.size > 0) {
            const offset = [...taken.keys()][give % taken.size]!;
            staging.give(offset);
            taken.delete(offset);
          }
        }
        for (const offset of taken.keys()) staging.give(offset);
        assert.equal(staging.take(CAPACITY), 0, 'one whole block again');
        assert.equal(staging.take(1), -1);
        staging.give(0);
        await staging.free();
      }),
      { numRuns: 300 },
    );
  });

  it('can be cut into its smallest blocks, and put together in any order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray(
          Array.from({ length: CAPACITY / UNIT }, (_, index) => index * UNIT),
          { minLength: CAPACITY / UNIT },
        ),
        async (order) => {
          const staging = makeStaging();
          const offsets = new Set(order.map(() => staging.take(1)));
          assert.equal(offsets.size, CAPACITY / UNIT);
          assert.equal(staging.take(1), -1);
          for (const offset of order) staging.give(offset);
          assert.equal(staging.take(CAPACITY), 0);
          await staging.free();
        },
      ),
      { numRuns: 30 },
    );
  });

  it('may be a single block', async () => {
    const mapping = Mapping.anonymous(4096);
    const staging = new Staging({ mapping, iova: 0, free: async () => mapping.unmap() });
    assert.equal(staging.take(4096), 0);
    assert.equal(staging.take(1), -1);
    staging.give(0);
    assert.equal(staging.take(4097), -1);
    await staging.free();
    assert.equal(mapping.mapped, false);
  });
});
