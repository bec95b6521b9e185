import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DOORBELL, LIMITS } from '../../src/abi/queue.js';
import { REGION } from '../../src/abi/registers.js';
import { QUEUE } from '../../src/device/state.js';
import { wva } from '../../src/driver/wva/wva.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { QueuePair } from '../../src/queue/queue-pair.js';
import { closeFds, signalEventfd } from '../../src/sys/fd.js';
import { next, put, randomNumbers, TestDevice, until, withDevice } from '../device/support-device.js';
import { LocalDevice } from '../device/support-local-device.js';

describe('queue pairs', () => {
  const starts = [0, 1, 0x7ffffffd, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffffc, 0xfffffffe, 0xffffffff];
  let shared: TestDevice;
  before(async () => {
    shared = await TestDevice.open();
  });
  after(() => shared.close());

  for (const depth of [2, 8, 64]) {
    for (const startIndex of starts) {
      test(`depth ${depth}, from index ${startIndex.toString(16)} on: every request comes back once, in order`, async () => {
        const queue = await shared.queue(depth, startIndex);
        try {
          assert.equal(queue.ready, false, 'a new queue has no completions');
          const random = randomNumbers(depth + startIndex);
          let sent = 0;
          let received = 0;
          const total = Math.max(300, depth * 4);
          while (received < total) {
            const batch = Math.min(1 + (random() % depth), depth - queue.inFlight, total - sent);
            for (let i = 0; i < batch; i++) put(queue.pair, { requestId: sent++ });
            queue.publish();
            const take = 1 + (random() % Math.max(1, queue.inFlight));
            for (let i = 0; i < take && received < sent; i++) {
              const done = await next(queue);
              assert.equal(done.status, 0);
              assert.equal(done.requestId, received++);
            }
          }
          assert.equal(queue.inFlight, 0);
          assert.equal(queue.ready, false, 'nothing is left over');
          const counters = await shared.driver.counters(queue.id);
          assert.deepEqual([counters.completed, counters.staleSlots, counters.wrongRings], [total, 0, 0]);
        } finally {
          await queue.release();
        }
      });
    }
  }

  test('a full queue is back-pressure: no slot, and room again after a completion', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(4);
      for (let i = 0; i < 4; i++) put(queue.pair, { requestId: i });
      assert.equal(queue.pair.reserve(), -1);
      assert.equal(queue.inFlight, 4);
      queue.publish();
      await until(async () => (await device.driver.counters(queue.id)).completed === 4, 'four completions');
      assert.equal(queue.pair.reserve(), -1, 'a completion that was not taken holds its slot');
      await next(queue);
      assert.ok(queue.pair.reserve() >= 0);
      assert.equal(queue.pair.reserve(), -1);
    }));

  test('many queues at once each get their own completions', () =>
    withDevice({ maxThreads: 2 }, async (device) => {
      const queues: WvaQueue[] = [];
      for (let i = 0; i < LIMITS.maxQueues; i++) queues.push(await device.queue(8));
      await assert.rejects(device.queue(8), { code: 'ERR_WARPDRIVE_ARGUMENT' });
      for (let round = 0; round < 20; round++) {
        for (const queue of queues) {
          for (let i = 0; i < 8; i++) put(queue.pair, { requestId: queue.id * 100 + i });
          queue.publish();
        }
        for (const queue of queues) {
          for (let i = 0; i < 8; i++) assert.equal((await next(queue)).requestId, queue.id * 100 + i);
        }
      }
      await Promise.all(queues.map((queue) => queue.release()));
      assert.equal(await device.register('openQueues'), 0);
      const again = await device.queue(8);
      assert.equal(again.id, 0);
    }));

  test('the ring that brings the index back to where it began is heard, 2^32 requests later', async (t) => {
    const local = await LocalDevice.start(t);
    const transport = await local.connect();
    const driver = await wva.open(transport);
    const queue = (await driver.createQueue({ depth: 8 })) as WvaQueue;
    const doorbells = await transport.mapRegion(REGION.doorbells, 0, DOORBELL.pageBytes);
    const status = await transport.mapRegion(REGION.status, 0, 4096);
    const wake = (await transport.wakeFds(REGION.doorbells)).map(({ fd }) => fd);
    try {
      const page = doorbells.words;
      const token = page[DOORBELL.tailWord]!;
      // Nobody waits for 2^32 requests: under the queue's lock both ends are put to where they would be then, less one.
      const { state } = local.device;
      const base = state.queue(0);
      assert.equal(state.words[base + QUEUE.token], token);
      await until(() => Atomics.compareExchange(state.words, base + QUEUE.lock, 0, -1) === 0, 'the lock');
      for (const word of [QUEUE.head, QUEUE.cqTail, QUEUE.cqHead]) state.words[base + word] = -1;
      Atomics.store(page, DOORBELL.cqHeadWord, -1);
      Atomics.store(page, DOORBELL.tailWord, (token - 1) | 0);
      queue.pair.cq.fill(0x55555555);
      Atomics.store(state.words, base + QUEUE.lock, 0);
      const pair = new QueuePair({
        depth: 8,
        startIndex: -1,
        token,
        sq: queue.pair.sq,
        cq: queue.pair.cq,
        doorbell: page,
        status: status.words,
        wakeFd: wake[0]!,
      });
      put(pair, { requestId: 123 });
      pair.publish();
      signalEventfd(wake[0]!);
      await until(() => pair.peek() >= 0, 'the completion of the request at index 2^32 - 1', 5_000);
      assert.equal(pair.cq[pair.peek()], 123);
    } finally {
      closeFds(wake);
      doorbells.unmap();
      status.unmap();
      await driver.close();
    }
  });
});
