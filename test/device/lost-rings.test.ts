import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, type TestContext, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { DOORBELL, OPCODE } from '../../src/abi/queue.js';
import { Device } from '../../src/device/device.js';
import { EngineLoop } from '../../src/device/engine-loop.js';
import type { EngineWorkerData } from '../../src/device/engine-worker.js';
import { EngineRegistry } from '../../src/device/engines/registry.js';
import { Executor } from '../../src/device/executor.js';
import { engineThread, Lifeline } from '../../src/device/lifeline.js';
import { DeviceServer } from '../../src/device/server.js';
import { HEADER, QUEUE, THREAD } from '../../src/device/state.js';
import { Completion } from '../../src/driver/driver.js';
import { wva } from '../../src/driver/wva/wva.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { EpollEvents } from '../../src/sys/epoll.js';
import { Signaller } from '../../src/sys/signal.js';
import { createSocketPair } from '../../src/sys/socket.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';
import type { CoolerData } from './support-cooler.js';
import { next, put, until } from './support-device.js';

const THREADS = 2;
const OPTIONS = { disabledEngines: [] as string[], faults: [] as string[], coolMs: 5 };

/** A shared device without engine threads but for those that a test brings, and one queue of one client. */
interface Stage {
  device: Device;
  queue: WvaQueue;
  /** The queue's doorbell page. */
  page: Int32Array;
  lifeline: Lifeline;
}

async function stage(t: TestContext): Promise<Stage> {
  const lifeline = new Lifeline(THREADS);
  const device = new Device({
    ...OPTIONS,
    maxThreads: THREADS,
    spinMicroseconds: 50,
    lifeline: lifeline.buffer,
    shared: { maxClients: 2, maxQueues: 8, maxSessions: 8, coolMs: OPTIONS.coolMs },
  });
  const [client, end] = createSocketPair();
  let isGone = false;
  const server = new DeviceServer(device, end, { sva: false }, () => {
    isGone = true;
  });
  const transport = await VfioUserTransport.connect(client, 'local', () => server.receive());
  const driver = await wva.open(transport);
  t.after(async () => {
    await driver.close();
    server.receive();
    await until(() => isGone, 'the client is gone');
    await device.stop();
  });
  const queue = (await driver.createQueue({ depth: 8 })) as WvaQueue;
  return { device, queue, page: server.served.doorbells.words.subarray(0, 1024), lifeline };
}

function ring(queue: WvaQueue, requestId: number): void {
  put(queue.pair, { opcode: OPCODE.noop, requestId });
  queue.publish();
}

describe('a ring', () => {
  test('that comes while another thread cools its queue is served', async (t) => {
    const { device, queue, page } = await stage(t);
    const { state, status, statusFd, wakeFd, sleepSet } = device;
    const executor = new Executor(state, 0, new EngineRegistry([]), device.keysAddress, []);
    const signaller = new Signaller(statusFd);
    const loop = new EngineLoop({
      state,
      thread: 0,
      executor,
      status: status.words,
      signaller,
      wakeFd,
      sleepSet,
      spinMicroseconds: 50,
      // What is cooled here, the test cools.
      coolMs: 3_600_000,
      requestThread: () => {},
    });
    const done = new Completion();
    ring(queue, 1);
    assert.ok(loop.sleep(1000));
    loop.run();
    assert.ok(queue.poll(done));
    // The first half of cooling, by thread 1: it has said so to the owner, and looked at the doorbell once more.
    const block = 0;
    assert.ok(state.isHot(block));
    const lockAt = state.queue(block) + QUEUE.lock;
    assert.equal(Atomics.compareExchange(state.words, lockAt, 0, 2), 0);
    Atomics.store(page, DOORBELL.polledWord, 0);
    const ready = new Int32Array(new SharedArrayBuffer(4));
    const workerData: CoolerData = {
      shape: state.shape,
      state: state.buffer,
      statusAddress: status.address,
      block,
      ready: ready.buffer as SharedArrayBuffer,
    };
    const cooler = new Worker(new URL('./support-cooler.js', import.meta.url), { workerData });
    const gone = once(cooler, 'exit');
    await until(() => Atomics.load(ready, 0) === 1, 'the other thread runs');
    // The owner rings, thread 0 is told, and finds a queue that is hot still. The second half comes only now.
    ring(queue, 2);
    assert.ok(loop.sleep(1000));
    assert.ok(loop.rung);
    loop.run();
    await gone;
    assert.ok(queue.poll(done), 'the request was served');
    assert.equal(done.requestId, 2);
    executor.close();
    signaller.close();
  });

  test('that comes to a thread that is told to go is served before it goes', async (t) => {
    const { device, queue, page, lifeline } = await stage(t);
    const { state, status, statusFd, wakeFd, sleepSet } = device;
    const retireAt = state.thread(0) + THREAD.retire;
    const events = new EpollEvents(4);
    const done = new Completion();
    for (let requestId = 2; ; requestId += 2) {
      lifeline.enter(engineThread(0));
      Atomics.store(state.words, retireAt, 0);
      const workerData: EngineWorkerData = {
        ...OPTIONS,
        shape: state.shape,
        state: state.buffer,
        thread: 0,
        statusAddress: status.address,
        statusFd,
        wakeFd,
        sleepSet,
        // Longer than it takes a queue to cool.
        spinMicroseconds: 20_000,
        idleMs: 3_600_000,
        lifeline: lifeline.buffer,
        keysAddress: device.keysAddress,
        ledger: undefined,
      };
      const engine = new Worker(new URL('../../src/device/engine-worker.js', import.meta.url), {
        workerData,
      });
      const gone = once(engine, 'exit');
      ring(queue, requestId);
      assert.equal((await next(queue)).requestId, requestId);
      await until(
        () =>
          Atomics.load(page, DOORBELL.polledWord) === 0 && Atomics.load(state.words, HEADER.sleepers) === 1,
        'the queue is cold, and the thread asleep',
      );
      // Told to go, it sleeps still; the ring wakes it.
      Atomics.store(state.words, retireAt, 1);
      ring(queue, requestId + 1);
      await gone;
      if (queue.poll(done)) break;
      // Its sleep may have been over just then, and the ring waits for the next thread: tried again. One that it took
      // with it is lost.
      assert.ok(events.wait(sleepSet, 0) > 0, 'the ring was taken, and not served');
      queue.publish();
      t.diagnostic('the thread went before the ring');
    }
    assert.equal(done.requestId % 2, 1);
  });
});
