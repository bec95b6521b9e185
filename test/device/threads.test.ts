import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inflateRawSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, statusName } from '../../src/abi/queue.js';
import { QUEUE } from '../../src/device/state.js';
import type { DeviceMemory } from '../../src/driver/driver.js';
import { wva } from '../../src/driver/wva/wva.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { execute, next, put, sampleText, type TestDevice, until, withDevice } from './support-device.js';
import { LocalDevice } from './support-local-device.js';

const MEGABYTE = 1 << 20;
const TEXT = sampleText(MEGABYTE);

function long(memory: DeviceMemory, at: number, requestId = 0): Parameters<typeof put>[1] {
  return {
    opcode: OPCODE.compress,
    algorithm: ALGORITHM['deflate-raw'],
    level: 12,
    source: memory.iova,
    sourceLength: MEGABYTE,
    destination: memory.iova + at,
    capacity: MEGABYTE,
    requestId,
  };
}

/** Publishes more long work than one thread should do, and waits until there are two. */
async function scaleUp(device: TestDevice, queue: WvaQueue, memory: DeviceMemory): Promise<void> {
  for (let i = 0; i < 3; i++) put(queue.pair, long(memory, MEGABYTE * (i + 1), i));
  queue.publish();
  await until(async () => (await device.register('threads')) === 2, 'a second thread');
  const threads = new Set<number>();
  for (let i = 0; i < 3; i++) {
    const done = await next(queue);
    assert.equal(statusName(done.status), 'ok');
    threads.add(done.thread);
    const at = MEGABYTE * (done.requestId + 1);
    assert.ok(inflateRawSync(memory.mapping.bytes.subarray(at, at + done.produced)).equals(TEXT));
  }
}

describe('engine threads', () => {
  test('long waiting work brings a second thread, and idleness takes it away again', () =>
    withDevice({ maxThreads: 2 }, async (device) => {
      const queue = await device.queue(8);
      const memory = await device.memory(8 * MEGABYTE);
      memory.mapping.bytes.set(TEXT);
      assert.equal(await device.register('threads'), 1);
      await scaleUp(device, queue, memory);
      await until(async () => (await device.register('threads')) === 1, 'one thread again');
      assert.equal((await execute(queue, { requestId: 9 })).requestId, 9);
      await scaleUp(device, queue, memory);
    }));

  test('short work brings no second thread', () =>
    withDevice({ maxThreads: 2 }, async (device) => {
      const queue = await device.queue(64);
      for (let round = 0; round < 200; round++) {
        for (let i = 0; i < 64; i++) put(queue.pair, { requestId: i });
        queue.publish();
        for (let i = 0; i < 64; i++) assert.equal((await next(queue)).requestId, i);
      }
      assert.equal(await device.register('threads'), 1);
    }));

  test('a long request on one queue lets short ones on another complete first', () =>
    withDevice({ maxThreads: 2 }, async (device) => {
      const slow = await device.queue(8);
      const fast = await device.queue(8);
      const memory = await device.memory(8 * MEGABYTE);
      memory.mapping.bytes.set(TEXT);
      await scaleUp(device, slow, memory);
      put(slow.pair, long(memory, MEGABYTE, 1));
      slow.publish();
      for (let i = 0; i < 10; i++) {
        put(fast.pair, { requestId: 100 + i });
        fast.publish();
        assert.equal((await next(fast)).requestId, 100 + i);
        assert.equal(slow.ready, false, 'the long one is still running');
      }
      assert.equal((await next(slow)).requestId, 1);
    }));

  test('so it is when there is only one thread yet, and the short ones come later', async (t) => {
    const local = await LocalDevice.start(t, 1, { maxThreads: 2, faults: ['delay=3000:compress:1'] });
    const driver = await wva.open(await local.connect());
    const slow = (await driver.createQueue({ depth: 8 })) as WvaQueue;
    const fast = (await driver.createQueue({ depth: 8 })) as WvaQueue;
    const memory = await driver.allocate(8 * MEGABYTE);
    memory.mapping.bytes.set(TEXT);
    put(slow.pair, long(memory, MEGABYTE, 1));
    slow.publish();
    const { state } = local.device;
    const taken = state.queue(0) + QUEUE.inFlight;
    await until(() => Atomics.load(state.words, taken) === 1, 'the only thread is busy');
    await sleep(20);
    put(fast.pair, { requestId: 100 });
    fast.publish();
    assert.equal((await next(fast)).requestId, 100);
    const stillRunning = !slow.ready;
    await next(slow);
    await driver.close();
    await memory.free();
    assert.ok(stillRunning, 'the short one came first');
  });

  test('a long request does not hold up later ones of its own queue', () =>
    withDevice({ maxThreads: 2 }, async (device) => {
      const queue = await device.queue(8);
      const memory = await device.memory(8 * MEGABYTE);
      memory.mapping.bytes.set(TEXT);
      await scaleUp(device, queue, memory);
      put(queue.pair, long(memory, MEGABYTE, 1));
      queue.publish();
      for (let i = 0; i < 4; i++) put(queue.pair, { requestId: 100 + i });
      queue.publish();
      const order: number[] = [];
      for (let i = 0; i < 5; i++) order.push((await next(queue)).requestId);
      assert.deepEqual(order, [100, 101, 102, 103, 1]);
    }));

  test('requests that take very long never have all threads', () =>
    withDevice({ maxThreads: 1 }, async (device) => {
      const slow = await device.queue(8);
      const quick = await device.queue(8);
      const memory = await device.memory(MEGABYTE);
      const derive = (requestId: number) => ({
        opcode: OPCODE.derive,
        algorithm: ALGORITHM.scrypt,
        source: memory.iova,
        sourceLength: 8,
        destination: memory.iova + 4096 * (requestId + 1),
        capacity: 32,
        // N, r, p: a second each or so, longer than a thread takes to start on a busy machine.
        reserved: [0, 0, 0, 65_536, 8, 5],
        requestId,
      });
      for (let i = 0; i < 3; i++) put(slow.pair, derive(i));
      slow.publish();
      await until(async () => (await device.register('threads')) === 2, 'a thread for what takes very long');
      // While the first of them runs, and the others wait, short requests are answered.
      const digest = {
        opcode: OPCODE.digest,
        algorithm: ALGORITHM.sha256,
        source: memory.iova,
        sourceLength: 64,
        destination: memory.iova + 65_536,
        capacity: 32,
      };
      assert.equal(statusName((await execute(quick, digest)).status), 'ok');
      assert.equal(slow.ready, false);
      for (let i = 0; i < 3; i++) assert.equal(statusName((await next(slow)).status), 'ok');
      await until(async () => (await device.register('threads')) === 1, 'one thread again');
    }));
});
