import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { CQE, DOORBELL, LIMITS, OPCODE, STATUS, STATUS_PAGE } from '../../src/abi/queue.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { execute, fill, next, put, type TestDevice, until, withDevice } from './support-device.js';

/** The token, as the owner knows it: before anything was published the doorbell holds the start index plus it. */
function tokenOf(device: TestDevice, queue: WvaQueue, startIndex = 0): number {
  return (device.page(queue.id)[DOORBELL.tailWord]! - startIndex) | 0;
}

async function wrongRingsAre(device: TestDevice, queue: WvaQueue, count: number): Promise<void> {
  let seen = 0;
  await until(async () => {
    seen = (await device.driver.counters(queue.id)).wrongRings;
    return seen >= count;
  }, `${count} wrong rings`);
  assert.equal(seen, count);
}

/** Resolves when every engine thread is asleep and stays so: many looks in a row find none awake. */
function sleeps(device: TestDevice): Promise<void> {
  let looks = 0;
  return until(
    () => {
      looks = Atomics.load(device.status.words, STATUS_PAGE.awakeWord) === 0 ? looks + 1 : 0;
      return looks >= 100;
    },
    'all engine threads asleep',
    6_000,
  );
}

describe('doorbells', () => {
  test('a wrong ring executes nothing, is counted, and does not harm the queue', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(8);
      const token = tokenOf(device, queue);
      const memory = await device.memory(65536);
      memory.mapping.bytes.fill(0xa5);
      // A whole request, right in all respects, waits in the next slot. Only its owner's ring may set it going.
      put(queue.pair, {
        opcode: OPCODE.compress,
        algorithm: ALGORITHM['deflate-raw'],
        level: 1,
        source: memory.iova,
        sourceLength: 100,
        destination: memory.iova + 32768,
        capacity: 4096,
        requestId: 5,
      });
      const wrong = [
        1,
        token + 1 + 1000,
        token + queue.depth + 1,
        token - 1,
        token - queue.depth,
        token + 0x7fffffff,
        token + 0x80000000,
        ~token,
        (token ^ 0x80000000) + 1,
      ];
      let count = 0;
      for (const word of wrong) {
        device.ring(queue.id, word);
        await wrongRingsAre(device, queue, ++count);
        assert.equal(queue.ready, false);
      }
      assert.ok(count < LIMITS.wrongRings);
      const counters = await device.driver.counters(queue.id);
      assert.deepEqual(
        { completed: counters.completed, refused: counters.refused, isolated: counters.isolated },
        { completed: 0, refused: 0, isolated: false },
      );
      assert.ok(memory.mapping.bytes.every((byte) => byte === 0xa5));
      queue.publish();
      const done = await next(queue);
      assert.equal(done.requestId, 5);
      assert.equal(done.status, STATUS.ok);
    }));

  test("another queue's token does not open this one", () =>
    withDevice({}, async (device) => {
      const mine = await device.queue(8);
      const other = await device.queue(8);
      const otherToken = tokenOf(device, other);
      assert.notEqual(tokenOf(device, mine), otherToken);
      put(mine.pair, { opcode: OPCODE.noop, requestId: 1 });
      device.ring(mine.id, otherToken + 1);
      await wrongRingsAre(device, mine, 1);
      assert.equal(mine.ready, false);
      assert.equal((await device.driver.counters(other.id)).wrongRings, 0);
      assert.equal((await execute(other, { requestId: 2 })).requestId, 2);
      mine.publish();
      assert.equal((await next(mine)).requestId, 1);
    }));

  test('a token is new each time the queue is set up, and the old one is worth nothing', () =>
    withDevice({}, async (device) => {
      const tokens = new Set<number>();
      let old = 0;
      for (let i = 0; i < 20; i++) {
        const queue = await device.queue(8);
        const token = tokenOf(device, queue);
        tokens.add(token);
        if (i > 0) {
          put(queue.pair, { requestId: 1 });
          device.ring(queue.id, old + 1);
          await wrongRingsAre(device, queue, 1);
          assert.equal(queue.ready, false);
        }
        old = token;
        await queue.release();
      }
      assert.equal(tokens.size, 20);
    }));

  test('wrong rings in a row isolate the queue until it is set up again; others go on', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(8);
      const other = await device.queue(8);
      const token = tokenOf(device, queue);
      put(queue.pair, { requestId: 1 });
      for (let i = 1; i <= LIMITS.wrongRings; i++) {
        assert.equal((await device.driver.counters(queue.id)).isolated, false);
        device.ring(queue.id, token - i);
        await wrongRingsAre(device, queue, i);
      }
      assert.equal((await device.driver.counters(queue.id)).isolated, true);
      queue.publish();
      for (let i = 0; i < 100; i++) assert.equal((await execute(other, { requestId: i })).requestId, i);
      assert.equal(queue.ready, false, 'even the right ring is ignored');
      assert.equal((await device.driver.counters(queue.id)).completed, 0);
      const id = queue.id;
      await queue.release();
      const again = await device.queue(8);
      assert.equal(again.id, id);
      assert.equal((await device.driver.counters(id)).isolated, false);
      assert.equal((await device.driver.counters(id)).wrongRings, 0);
      assert.equal((await execute(again, { requestId: 77 })).requestId, 77);
    }));

  test('a right ring ends a row of wrong ones', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(8);
      const token = tokenOf(device, queue);
      let wrong = 0;
      for (let round = 0; round < 3; round++) {
        for (let i = 1; i < LIMITS.wrongRings; i++) {
          device.ring(queue.id, token + 1000 + i);
          await wrongRingsAre(device, queue, ++wrong);
        }
        assert.equal((await execute(queue, { requestId: round })).requestId, round);
      }
      assert.equal((await device.driver.counters(queue.id)).isolated, false);
    }));

  test('slots that were not published are never executed, whatever else is rung', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(16);
      const other = await device.queue(16);
      const memory = await device.memory(65536);
      memory.mapping.bytes.fill(0xa5);
      for (let i = 0; i < 16; i++) {
        put(queue.pair, {
          opcode: OPCODE.compress,
          algorithm: 1,
          level: 1,
          source: memory.iova,
          sourceLength: 1000,
          destination: memory.iova + 32768 + i * 1024,
          capacity: 1024,
          requestId: i,
        });
      }
      for (let i = 0; i < 200; i++) assert.equal((await execute(other, { requestId: i })).requestId, i);
      for (let i = 0; i < 20; i++) device.wake();
      const counters = await device.driver.counters(queue.id);
      assert.equal(counters.completed, 0);
      assert.ok(memory.mapping.bytes.every((byte) => byte === 0xa5));
      // Now three of them are published, and three are executed.
      const token = tokenOf(device, queue);
      device.ring(queue.id, token + 3);
      for (let i = 0; i < 3; i++) assert.equal((await next(queue)).requestId, i);
      for (let i = 0; i < 50; i++) await execute(other, {});
      assert.equal(queue.ready, false);
      assert.equal((await device.driver.counters(queue.id)).completed, 3);
      assert.ok(memory.mapping.bytes.subarray(32768 + 3 * 1024).every((byte) => byte === 0xa5));
    }));

  test('a CQ head that lies harms nobody else, and nothing is written outside the rings', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(8);
      const other = await device.queue(8);
      const memory = new Uint8Array(queue.pair.cq.buffer);
      const ringBytes = queue.depth * 96;
      memory.fill(0x5a, ringBytes);
      const token = tokenOf(device, queue);
      const page = device.page(queue.id);
      for (let slot = 0; slot < queue.depth; slot++) fill(queue.pair.sq, slot * 16, { requestId: slot });
      let tail = 0;
      const lies = [1, -1, 7, 8, 9, -8, 1000, 0x7fffffff, -0x80000000, 0x12345678];
      for (const lie of lies) {
        for (let i = 0; i < 3; i++) {
          queue.pair.sq[(tail & 7) * 16] = tail + 1;
          tail++;
          Atomics.store(page, DOORBELL.cqHeadWord, (tail + lie) | 0);
          device.ring(queue.id, token + tail);
          assert.equal((await execute(other, { requestId: tail })).requestId, tail);
        }
        // The truth again, as far as there are completions: all that was published is answered.
        await until(async () => {
          const { completed } = await device.driver.counters(queue.id);
          Atomics.store(page, DOORBELL.cqHeadWord, completed);
          device.wake();
          return completed === tail;
        }, `completions after the lie ${lie}`);
        const counters = await device.driver.counters(queue.id);
        assert.deepEqual([counters.refused, counters.wrongRings, counters.isolated], [0, 0, false]);
      }
      assert.ok(memory.subarray(ringBytes).every((byte) => byte === 0x5a));
    }));

  test('completions that were not taken are never overwritten, whatever is published', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(4);
      const other = await device.queue(4);
      const token = tokenOf(device, queue);
      for (let slot = 0; slot < 4; slot++) {
        fill(queue.pair.sq, slot * 16, { requestId: 100 + slot, sequence: slot + 1 });
      }
      device.ring(queue.id, token + 4);
      await until(async () => (await device.driver.counters(queue.id)).completed === 4, 'four completions');
      const before = Int32Array.from(queue.pair.cq);
      for (let slot = 0; slot < 4; slot++) {
        fill(queue.pair.sq, slot * 16, { requestId: 200 + slot, sequence: slot + 5 });
      }
      device.ring(queue.id, token + 8);
      for (let i = 0; i < 50; i++) await execute(other, {});
      assert.deepEqual(Int32Array.from(queue.pair.cq), before);
      assert.equal((await device.driver.counters(queue.id)).completed, 4);
      // The owner takes two: two more are executed.
      Atomics.store(device.page(queue.id), DOORBELL.cqHeadWord, 2);
      device.wake();
      await until(async () => (await device.driver.counters(queue.id)).completed === 6, 'two more');
      for (let i = 0; i < 50; i++) await execute(other, {});
      assert.equal((await device.driver.counters(queue.id)).completed, 6);
    }));

  test('an unread completion keeps every word, also sqHead of the oldest in a full ring', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(4);
      for (let i = 0; i < 4; i++) put(queue.pair, { requestId: i });
      queue.publish();
      await until(async () => (await device.driver.counters(queue.id)).completed === 4, 'four completions');
      for (let i = 0; i < 4; i++) {
        assert.equal(queue.pair.cq[i * 8 + (CQE.offset.sqHead >> 2)], i + 1, `sqHead of completion ${i}`);
      }
    }));

  test('an idle device sleeps', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(8);
      await execute(queue, {});
      await sleeps(device);
    }));

  test('a device sleeps beside an isolated queue, whatever its doorbell says', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(8);
      const token = tokenOf(device, queue);
      for (let i = 1; i <= LIMITS.wrongRings; i++) {
        device.ring(queue.id, token - i);
        await wrongRingsAre(device, queue, i);
      }
      device.ring(queue.id, token + 1);
      await sleeps(device);
    }));

  test('a device sleeps beside a queue whose owner takes no completions', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(2);
      const token = tokenOf(device, queue);
      for (let slot = 0; slot < 2; slot++) fill(queue.pair.sq, slot * 16, { sequence: slot + 1 });
      device.ring(queue.id, token + 2);
      await until(async () => (await device.driver.counters(queue.id)).completed === 2, 'two completions');
      for (let slot = 0; slot < 2; slot++) fill(queue.pair.sq, slot * 16, { sequence: slot + 3 });
      device.ring(queue.id, token + 4);
      await sleeps(device);
      // Once the owner has taken them, and says so as any owner does, the rest is executed.
      Atomics.store(device.page(queue.id), DOORBELL.cqHeadWord, 2);
      device.ring(queue.id, token + 4);
      await until(async () => (await device.driver.counters(queue.id)).completed === 4, 'all four');
    }));
});
