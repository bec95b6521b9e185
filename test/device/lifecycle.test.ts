import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { DEVICE_STATE, OPCODE, STATUS_PAGE, statusName } from '../../src/abi/queue.js';
import { QUEUE, THREAD } from '../../src/device/state.js';
import type { DeviceMemory, DriverDevice } from '../../src/driver/driver.js';
import { wva } from '../../src/driver/wva/wva.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { ERRNO } from '../../src/sys/libc.js';
import { mappingCount } from '../../src/sys/memory.js';
import type { VfioUserTransport } from '../../src/transport/vfio-user/client.js';
import {
  execute,
  next,
  openFds,
  put,
  type RawSqe,
  sampleText,
  TestDevice,
  until,
  withDevice,
} from './support-device.js';
import { LocalDevice } from './support-local-device.js';

const MEGABYTE = 1 << 20;
const TEXT = sampleText(MEGABYTE);

interface Client {
  transport: VfioUserTransport;
  driver: DriverDevice;
  queue: WvaQueue;
}

async function connect(local: LocalDevice, depth = 8): Promise<Client> {
  const transport = await local.connect();
  const driver = await wva.open(transport);
  return { transport, driver, queue: (await driver.createQueue({ depth })) as WvaQueue };
}

/** Requests of a queue that a thread has taken and not completed. */
function taken(local: LocalDevice, block = 0): number {
  const { state } = local.device;
  return Atomics.load(state.words, state.queue(block) + QUEUE.inFlight);
}

/** Whether engine thread 0 is using a client's memory. */
function usesMemory(local: LocalDevice): boolean {
  const { state } = local.device;
  return (Atomics.load(state.words, state.thread(0) + THREAD.epoch) & 1) === 1;
}

function compressTo(memory: DeviceMemory, at: number, more: Partial<RawSqe> = {}): RawSqe {
  return {
    opcode: OPCODE.compress,
    algorithm: ALGORITHM['deflate-raw'],
    level: 1,
    source: memory.iova,
    sourceLength: 4096,
    destination: memory.iova + at,
    capacity: 8192,
    ...more,
  };
}

/** A request that takes a while: a megabyte at the highest level. */
function longRequest(memory: DeviceMemory): RawSqe {
  return compressTo(memory, 2 * MEGABYTE, { level: 12, sourceLength: MEGABYTE, capacity: MEGABYTE });
}

describe('the end of queues, memory and clients', () => {
  test('commands that a disabled queue had not fetched are never executed', async (t) => {
    const local = await LocalDevice.start(t, 1, { faults: ['delay=800:compress'] });
    const { driver, queue } = await connect(local);
    const memory = await driver.allocate(MEGABYTE);
    memory.mapping.bytes.fill(0xa5);
    memory.mapping.bytes.set(TEXT.subarray(0, 4096));
    for (let i = 0; i < 4; i++) put(queue.pair, compressTo(memory, 65536 * (i + 1), { requestId: i }));
    queue.publish();
    await until(() => taken(local) === 1, 'the first one taken');
    await queue.release();
    const first = memory.mapping.bytes.subarray(65536, 65536 + 8192);
    assert.ok(
      first.some((byte) => byte !== 0xa5),
      'what had been taken ran to its end',
    );
    assert.ok(
      memory.mapping.bytes.subarray(65536 * 2).every((byte) => byte === 0xa5),
      'nothing else did',
    );
    const after = (await driver.createQueue({ depth: 8 })) as WvaQueue;
    assert.equal((await execute(after, { requestId: 11 })).requestId, 11);
    assert.ok(memory.mapping.bytes.subarray(65536 * 2).every((byte) => byte === 0xa5));
    await driver.close();
    memory.mapping.unmap();
    await local.stop();
  });

  test('a release resolves once what was in flight has ended; nothing is written afterwards', async (t) => {
    const local = await LocalDevice.start(t);
    const { driver, queue } = await connect(local);
    const memory = await driver.allocate(4 * MEGABYTE);
    memory.mapping.bytes.set(TEXT);
    put(queue.pair, longRequest(memory));
    queue.publish();
    await until(() => usesMemory(local), 'the request runs');
    await queue.release();
    assert.equal(usesMemory(local), false);
    const out = memory.mapping.bytes.slice(2 * MEGABYTE, 3 * MEGABYTE);
    assert.ok(inflateRawSync(out).equals(TEXT), 'it was executed whole');
    memory.mapping.bytes.fill(0x11);
    const other = (await driver.createQueue({ depth: 8 })) as WvaQueue;
    for (let i = 0; i < 20; i++) await execute(other, {});
    assert.ok(memory.mapping.bytes.every((byte) => byte === 0x11));
    memory.mapping.unmap();
    await driver.close();
    await local.stop();
  });

  test('a DMA unmap resolves once no request uses the memory', async (t) => {
    const local = await LocalDevice.start(t);
    const { driver, queue, transport } = await connect(local);
    const memory = await driver.allocate(4 * MEGABYTE);
    memory.mapping.bytes.set(TEXT);
    put(queue.pair, longRequest(memory));
    queue.publish();
    await until(() => usesMemory(local), 'the request runs');
    const unmapped = transport.dmaUnmap(memory.iova, memory.mapping.length);
    await unmapped;
    // This process still has the memory mapped for itself: whatever is written to it from now on would be seen.
    const out = memory.mapping.bytes.slice(2 * MEGABYTE, 3 * MEGABYTE);
    assert.ok(inflateRawSync(out).equals(TEXT), 'the request had ended');
    memory.mapping.bytes.fill(0x11);
    const done = await next(queue);
    assert.equal(statusName(done.status), 'ok');
    const refused = await execute(queue, compressTo(memory, 65536));
    assert.equal(statusName(refused.status), 'badAddress');
    assert.ok(memory.mapping.bytes.every((byte) => byte === 0x11));
    await assert.rejects(transport.dmaUnmap(memory.iova, memory.mapping.length), { errno: ERRNO.ENOENT });
    memory.mapping.unmap();
    await driver.close();
    await local.stop();
  });

  test('DMA unmaps while many requests are in flight: each is done or refused, never half done', async (t) => {
    const local = await LocalDevice.start(t, 1, { maxThreads: 2 });
    const { driver, queue, transport } = await connect(local, 64);
    const kept = await driver.allocate(MEGABYTE);
    kept.mapping.bytes.set(TEXT.subarray(0, 65536));
    let refused = 0;
    for (let round = 0; round < 40; round++) {
      const memory = await driver.allocate(MEGABYTE);
      memory.mapping.bytes.fill(0xa5);
      for (let i = 0; i < 32; i++) {
        put(queue.pair, {
          opcode: OPCODE.compress,
          algorithm: ALGORITHM['deflate-raw'],
          level: 1 + (i % 6),
          source: kept.iova,
          sourceLength: 16384,
          destination: memory.iova + i * 32768,
          capacity: 32768,
          requestId: i,
        });
      }
      queue.publish();
      for (let turn = 0; turn < round % 8; turn++) await new Promise((resolve) => setImmediate(resolve));
      await transport.dmaUnmap(memory.iova, memory.mapping.length);
      const snapshot = Buffer.from(memory.mapping.bytes);
      for (let i = 0; i < 32; i++) {
        const done = await next(queue);
        const at = done.requestId * 32768;
        if (statusName(done.status) === 'ok') {
          const out = inflateRawSync(snapshot.subarray(at, at + done.produced));
          assert.ok(out.equals(TEXT.subarray(0, 16384)));
        } else {
          assert.equal(statusName(done.status), 'badAddress');
          assert.ok(snapshot.subarray(at, at + 32768).every((byte) => byte === 0xa5));
          refused++;
        }
      }
      assert.ok(snapshot.equals(memory.mapping.bytes), 'nothing is written after the unmap');
      memory.mapping.unmap();
    }
    assert.ok(refused > 0, 'some came too late');
    await driver.close();
    kept.mapping.unmap();
    await local.stop();
  });

  test('a reset in the middle ends every queue; nothing is written afterwards, and new ones work', async (t) => {
    const local = await LocalDevice.start(t);
    const { driver, queue, transport } = await connect(local);
    const memory = await driver.allocate(4 * MEGABYTE);
    memory.mapping.bytes.set(TEXT);
    put(queue.pair, longRequest(memory));
    for (let i = 0; i < 3; i++) put(queue.pair, compressTo(memory, 3 * MEGABYTE + i * 8192));
    queue.publish();
    await until(() => usesMemory(local), 'the request runs');
    await transport.reset();
    assert.equal(usesMemory(local), false);
    memory.mapping.bytes.fill(0x11);
    queue.publish();
    const after = (await driver.createQueue({ depth: 8 })) as WvaQueue;
    for (let i = 0; i < 20; i++) assert.equal((await execute(after, { requestId: i })).requestId, i);
    assert.ok(memory.mapping.bytes.every((byte) => byte === 0x11));
    await queue.release();
    await driver.close();
    memory.mapping.unmap();
    await local.stop();
  });

  test('resets in a row, and while other clients work, disturb nobody else', async (t) => {
    const local = await LocalDevice.start(t, 2);
    const one = await connect(local);
    const two = await connect(local);
    for (let i = 0; i < 10; i++) {
      const resets = Promise.all([one.transport.reset(), one.transport.reset()]);
      for (let j = 0; j < 20; j++) assert.equal((await execute(two.queue, { requestId: j })).requestId, j);
      await resets;
      const queue = (await one.driver.createQueue({ depth: 8 })) as WvaQueue;
      assert.equal((await execute(queue, { requestId: i })).requestId, i);
    }
    await one.driver.close();
    await two.driver.close();
    await local.stop();
  });

  test('a client that goes in the middle of a request leaves nothing behind, and others go on', async (t) => {
    const local = await LocalDevice.start(t, 2);
    const stays = await connect(local);
    const fds = openFds();
    const mappings = mappingCount().mappings;
    const goes = await connect(local);
    const memory = await goes.driver.allocate(4 * MEGABYTE);
    memory.mapping.bytes.set(TEXT);
    put(goes.queue.pair, longRequest(memory));
    goes.queue.publish();
    await until(() => usesMemory(local), 'the request runs');
    const ring = goes.queue.pair.sq.length > 0;
    assert.ok(ring);
    await goes.driver.close();
    await until(() => local.gone === 1, 'the client has gone');
    goes.queue.interrupt.close();
    assert.equal((await execute(stays.queue, { requestId: 5 })).requestId, 5);
    await memory.free();
    // What is left is the ring memory of the queue, which its owner never released.
    await until(() => openFds() === fds + 1, `descriptors: ${openFds()} are open, ${fds} were`, 5_000);
    assert.equal(mappingCount().mappings, mappings + 1);
    await stays.driver.close();
    await local.stop();
  });

  test('clients come and go, one after the other, more of them than fit at once', async (t) => {
    const local = await LocalDevice.start(t, 2);
    for (let i = 1; i <= 6; i++) {
      const { driver, queue } = await connect(local);
      assert.equal((await execute(queue, { requestId: i })).requestId, i);
      await queue.release();
      await driver.close();
      await until(() => local.gone === i, 'the client has gone');
    }
    await local.stop();
  });

  test('an engine thread that dies fails the device at once, and says so to its owner', () =>
    withDevice({ faults: ['kill:compress:2'] }, async (device) => {
      const queue = await device.queue(8);
      const memory = await device.memory(MEGABYTE);
      let lost = '';
      device.driver.onLost((reason) => {
        lost = reason;
      });
      assert.equal(statusName((await execute(queue, compressTo(memory, 65536))).status), 'ok');
      put(queue.pair, compressTo(memory, 65536));
      queue.publish();
      await until(() => queue.failed, 'the queue knows');
      await until(() => lost !== '', 'the owner was told');
      assert.match(lost, /thread/);
      assert.equal(await device.register('state'), DEVICE_STATE.failed);
      await assert.rejects(device.queue(8), { code: 'ERR_WARPDRIVE_DEVICE_LOST' });
      await queue.release();
    }));

  test('devices leave no descriptor and no mapping behind', async () => {
    const once = async (): Promise<void> => {
      const device = await TestDevice.open({ maxThreads: 2 });
      const queue = await device.queue(8);
      const memory = await device.memory(65536);
      assert.equal(statusName((await execute(queue, compressTo(memory, 16384))).status), 'ok');
      await queue.release();
      await device.close();
    };
    await once();
    const fds = openFds();
    const mappings = mappingCount();
    for (let i = 0; i < 3; i++) await once();
    await until(() => openFds() <= fds, `descriptors: ${openFds()} are open, ${fds} were`, 10_000);
    assert.deepEqual(mappingCount(), mappings);
  });

  test('the status page cannot be written by a client', () =>
    withDevice({}, async (device) => {
      assert.equal(device.status.words[STATUS_PAGE.stateWord], DEVICE_STATE.ready);
      await assert.rejects(device.transport.writeRegion(4, 0, Buffer.alloc(4)), { errno: ERRNO.EINVAL });
      const info = await device.transport.regionInfo(4);
      assert.equal(info.write, false);
    }));
});
