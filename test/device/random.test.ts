import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { LIMITS, OPCODE, SQE_FLAG, STATUS, statusName } from '../../src/abi/queue.js';
import { execute, next, put, type RawSqe, recordedSeed, sampleText, withDevice } from './support-device.js';

const REQUESTS = 20_000;
const BATCH = 40;
const REGION_BYTES = 1 << 18;

/** What a hostile client may write; addresses are relative to the hostile region where they say so. */
interface Drawn {
  sqe: Omit<RawSqe, 'source' | 'destination'>;
  source: [boolean, number];
  destination: [boolean, number];
}

const u8 = fc.integer({ min: 0, max: 255 });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const rarely = <T>(usual: fc.Arbitrary<T>, odd: fc.Arbitrary<T>, weight = 9): fc.Arbitrary<T> =>
  fc.oneof({ weight, arbitrary: usual }, { weight: 1, arbitrary: odd });
const length = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 0, max: 6000 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      0,
      1,
      REGION_BYTES,
      REGION_BYTES + 1,
      LIMITS.maxTransfer,
      LIMITS.maxTransfer + 1,
      0x7fffffff,
      0x80000000,
      0xffffffff,
    ),
  },
  { weight: 1, arbitrary: u32 },
);
const address: fc.Arbitrary<[boolean, number]> = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(fc.constant(true), fc.integer({ min: 0, max: REGION_BYTES - 6000 })) },
  { weight: 1, arbitrary: fc.tuple(fc.constant(true), fc.integer({ min: -9000, max: REGION_BYTES + 9000 })) },
  {
    weight: 1,
    arbitrary: fc.tuple(
      fc.constant(false),
      fc.constantFrom(0, 1, 4096, 2 ** 32, 2 ** 47 - 1, 2 ** 47, 2 ** 52),
    ),
  },
);
const drawn: fc.Arbitrary<Drawn> = fc.record({
  sqe: fc.record({
    opcode: rarely(fc.integer({ min: 0, max: 5 }), u8),
    algorithm: rarely(fc.integer({ min: 1, max: 3 }), u8),
    level: rarely(fc.integer({ min: 0, max: 12 }), u8),
    flags: rarely(fc.constantFrom(0, 0, 1, 2, 4, 8, 10), u8),
    session: rarely(fc.constant(0), fc.oneof(fc.integer({ min: 0, max: 5000 }), u32), 5),
    sourceLength: length,
    capacity: length,
    reserved: rarely(fc.constant([0, 0, 0, 0, 0, 0]), fc.array(u32, { minLength: 6, maxLength: 6 }), 30),
  }),
  source: address,
  destination: address,
});

describe('random submissions', () => {
  test(`${REQUESTS} of them, beside an honest queue whose every result is right`, () =>
    withDevice({ maxThreads: 2 }, async (device) => {
      const seed = recordedSeed();
      const hostile = await device.queue(64);
      const honest = await device.queue(8);
      const region = await device.memory(REGION_BYTES);
      const own = await device.memory(1 << 19);
      const text = sampleText(1 << 16, seed);
      // Something to decompress, something to compress, and noise between.
      region.mapping.bytes.set(text);
      const known = new Set<number>(Object.values(STATUS));
      const statuses = new Map<string, number>();
      const requests = fc.sample(drawn, { seed, numRuns: REQUESTS });
      const resolve = ([relative, value]: [boolean, number]): number =>
        relative ? region.iova + value : value;
      for (let at = 0; at < REQUESTS; at += BATCH) {
        const batch = requests.slice(at, at + BATCH);
        batch.forEach((request, index) => {
          put(hostile.pair, {
            ...request.sqe,
            source: resolve(request.source),
            destination: resolve(request.destination),
            requestId: at + index,
          });
        });
        hostile.publish();

        const sourceLength = 1 + ((Math.imul(at, 7919) % 20000) & 0x3fff);
        const from = (at * 13) & 0x3fff;
        const algorithm = Object.values(ALGORITHM)[at % 3]!;
        own.mapping.bytes.set(text);
        const packed = await execute(honest, {
          opcode: OPCODE.compress,
          algorithm,
          level: (at / BATCH) % 10,
          source: own.iova + from,
          sourceLength,
          destination: own.iova + 131072,
          capacity: 65536,
        });
        assert.equal(statusName(packed.status), 'ok');
        const back = await execute(honest, {
          opcode: OPCODE.decompress,
          algorithm,
          source: own.iova + 131072,
          sourceLength: packed.produced,
          destination: own.iova + 262144,
          capacity: 65536,
        });
        assert.equal(statusName(back.status), 'ok');
        const bytes = Buffer.from(own.mapping.bytes.subarray(262144, 262144 + back.produced));
        assert.ok(bytes.equals(text.subarray(from, from + sourceLength)), 'the honest round trip is exact');

        const waiting = new Set(batch.map((_, index) => at + index));
        for (let i = 0; i < BATCH; i++) {
          const done = await next(hostile);
          assert.ok(waiting.delete(done.requestId), `request ${done.requestId} completes once`);
          assert.ok(known.has(done.status), `status ${done.status}`);
          assert.notEqual(done.status, STATUS.staleSlot);
          const request = requests[done.requestId]!;
          // A piece is verified when it is done; another request in work may have written to the same memory by then.
          const isPiece = ((request.sqe.flags ?? 0) & SQE_FLAG.piece) !== 0;
          assert.ok(
            isPiece || done.status !== STATUS.engineFailed,
            `an engine failed on ${JSON.stringify(request)}, seed ${seed}`,
          );
          assert.ok(done.produced <= Math.max(0, request.sqe.capacity ?? 0));
          if (done.status < STATUS.noSpace && done.status !== STATUS.ok) assert.equal(done.produced, 0);
          statuses.set(statusName(done.status), (statuses.get(statusName(done.status)) ?? 0) + 1);
        }
      }
      console.log(JSON.stringify(Object.fromEntries(statuses)));
      const counters = await device.driver.counters(hostile.id);
      assert.equal(counters.completed, REQUESTS);
      assert.equal(counters.isolated, false);
      assert.equal(counters.wrongRings, 0);
      const refused = ['badOpcode', 'badField', 'badAddress', 'badLength', 'unsupported', 'badSession'];
      assert.equal(
        counters.refused,
        refused.reduce((sum, name) => sum + (statuses.get(name) ?? 0), 0),
      );
      assert.deepEqual(
        refused.filter((name) => !statuses.has(name)),
        [],
        'every kind of refusal was met',
      );
    }));
});
