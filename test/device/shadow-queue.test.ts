import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deflateRawSync, gunzipSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { DEVICE_STATE, OPCODE, SQE, STATUS } from '../../src/abi/queue.js';
import {
  IRQ,
  QUEUE_COMMAND,
  QUEUE_COUNTERS,
  QUEUE_COUNTERS_OFFSET,
  QUEUE_STATE,
  REGION,
} from '../../src/abi/registers.js';
import { COMMAND } from '../../src/abi/vfio-user.js';
import { Account, UNLIMITED } from '../../src/device/account.js';
import { SCRATCH_BYTES } from '../../src/device/scratch.js';
import { closeFd, createEventfd, drainEventfd } from '../../src/sys/fd.js';
import { ERRNO } from '../../src/sys/libc.js';
import { createMemfd } from '../../src/sys/memfd.js';
import { Mapping } from '../../src/sys/memory.js';
import { words } from '../support/hostile-client.js';
import { data, RemoteClient, RemoteQueue } from '../support/remote-client.js';
import { sampleText } from './support-device.js';
import { LocalDevice } from './support-local-device.js';

const MIB = 1 << 20;
const RINGS = 64 * 1024;
const GZIP = { opcode: OPCODE.compress, algorithm: ALGORITHM.gzip, level: 1 };

/** A client with all its memory mapped by message. */
async function connect(
  local: LocalDevice,
  bytes = 4 * MIB,
  options: { twin?: boolean; maxTransferBytes?: number } = {},
): Promise<RemoteClient> {
  const client = local.remote(bytes);
  await client.negotiate(options);
  assert.equal(await client.map(), 0);
  return client;
}

async function counters(
  client: RemoteClient,
): Promise<(field: keyof typeof QUEUE_COUNTERS.offset) => number> {
  const read = await client.readRegion(REGION.registers, QUEUE_COUNTERS_OFFSET, QUEUE_COUNTERS.bytes);
  return (field) => read.readUInt32LE(QUEUE_COUNTERS.offset[field]);
}

describe('a queue in memory without a descriptor', () => {
  for (const twin of [false, true]) {
    test(`works ${twin ? 'over the twin socket' : 'over the one socket'}`, async (t) => {
      const local = await LocalDevice.start(t);
      const client = await connect(local, 4 * MIB, { twin });
      const queue = await RemoteQueue.enable(client, { depth: 8, at: 0 });
      queue.put({ opcode: OPCODE.noop, requestId: 7 });
      await queue.ring();
      assert.deepEqual(await queue.next(), { requestId: 7, status: STATUS.ok, produced: 0, consumed: 0 });

      const text = sampleText(300_000);
      text.copy(client.memory, MIB);
      queue.put({ ...GZIP, requestId: 8, ...data(MIB, text.length, 2 * MIB, MIB) });
      await queue.ring();
      const packed = await queue.next();
      assert.equal(packed.status, STATUS.ok);
      assert.equal(packed.requestId, 8);
      assert.ok(gunzipSync(client.memory.subarray(2 * MIB, 2 * MIB + packed.produced)).equals(text));
      assert.ok(
        client.memory.subarray(2 * MIB + packed.produced, 3 * MIB).every((byte) => byte === 0),
        'nothing is written beyond the result',
      );

      const unpack = { opcode: OPCODE.decompress, algorithm: ALGORITHM.gzip };
      queue.put({ ...unpack, requestId: 9, ...data(2 * MIB, packed.produced, 3 * MIB, text.length) });
      queue.put({ ...unpack, requestId: 10, ...data(2 * MIB, packed.produced, MIB, 1000) });
      await queue.ring();
      const results = [await queue.next(), await queue.next()].sort((a, b) => a.requestId - b.requestId);
      assert.equal(results[0]!.status, STATUS.ok);
      assert.equal(results[0]!.produced, text.length);
      assert.ok(client.memory.subarray(3 * MIB, 3 * MIB + text.length).equals(text));
      assert.equal(results[1]!.status, STATUS.noSpace);
    });
  }

  test('transfers are cut into pieces of what the client takes', async (t) => {
    const local = await LocalDevice.start(t);
    const client = await connect(local, 4 * MIB, { maxTransferBytes: 5000 });
    const queue = await RemoteQueue.enable(client, { depth: 8, at: 0 });
    const text = sampleText(50_001);
    text.copy(client.memory, MIB);
    const stored = { opcode: OPCODE.compress, algorithm: ALGORITHM.gzip, level: 0 };
    queue.put({ ...stored, ...data(MIB, text.length, 2 * MIB, MIB) });
    await queue.ring();
    const { status, produced } = await queue.next();
    assert.equal(status, STATUS.ok);
    assert.ok(gunzipSync(client.memory.subarray(2 * MIB, 2 * MIB + produced)).equals(text));
    assert.ok(client.dma.every(({ count }) => count <= 5000));
    assert.ok(client.dma.length > 20);
    const reads = await client.ask(COMMAND.regionRead, words(0, 0, REGION.doorbells, 5001));
    assert.equal(reads!.error, ERRNO.EINVAL, 'nor is a region read in larger pieces');
  });

  test('the largest request there is, and one that is larger', async (t) => {
    const local = await LocalDevice.start(t);
    const client = await connect(local, 40 * MIB);
    const queue = await RemoteQueue.enable(client, { depth: 2, at: 0 });
    client.memory.fill('warp', MIB, 17 * MIB);
    queue.put({ ...GZIP, ...data(MIB, 16 * MIB, 20 * MIB, 16 * MIB) });
    queue.put({ ...GZIP, ...data(MIB, 16 * MIB + 1, 20 * MIB, 16 * MIB) });
    await queue.ring();
    const { status, produced } = await queue.next();
    assert.equal(status, STATUS.ok);
    const unpacked = gunzipSync(client.memory.subarray(20 * MIB, 20 * MIB + produced));
    assert.ok(unpacked.equals(client.memory.subarray(MIB, 17 * MIB)));
    assert.equal((await queue.next()).status, STATUS.badLength);
  });

  test('rings wrap, indexes too, and every slot is read once', async (t) => {
    const local = await LocalDevice.start(t);
    const client = await connect(local);
    const depth = 8;
    const queue = await RemoteQueue.enable(client, { depth, at: 0, startIndex: -3 });
    const text = sampleText(3000);
    text.copy(client.memory, MIB);
    const packed = deflateRawSync(text);
    packed.copy(client.memory, MIB + 8192);
    let sent = 0;
    let received = 0;
    const seen = new Set<number>();
    while (received < 100) {
      for (; sent - received < depth && sent < 100; sent++) {
        const inflate = { opcode: OPCODE.decompress, algorithm: ALGORITHM['deflate-raw'] };
        const moved = data(MIB + 8192, packed.length, 2 * MIB + (sent % depth) * 4096, 4096);
        queue.put(sent % 3 === 0 ? { requestId: sent } : { ...inflate, requestId: sent, ...moved });
      }
      await queue.ring();
      const { requestId, status, produced } = await queue.next();
      assert.equal(status, STATUS.ok);
      if (requestId % 3 !== 0) assert.equal(produced, text.length);
      assert.ok(!seen.has(requestId));
      seen.add(requestId);
      received++;
    }
    const slots = client.dma.filter(
      ({ command, address }) =>
        command === COMMAND.dmaRead && address < RemoteClient.iova + depth * SQE.bytes,
    );
    assert.equal(
      slots.reduce((sum, { count }) => sum + count, 0),
      100 * SQE.bytes,
    );
    assert.equal((await counters(client))('completed'), 100);
  });

  test('what is wrong with a request is told and counted as in any queue', async (t) => {
    const local = await LocalDevice.start(t);
    const client = await connect(local);
    const queue = await RemoteQueue.enable(client, { depth: 16, at: 0 });
    const beyond = client.memory.length;
    const refused: [Partial<Record<keyof typeof SQE.offset, number>>, number][] = [
      [{ sequence: 77 }, STATUS.staleSlot],
      [{ opcode: 99 }, STATUS.badOpcode],
      [{ param0: 1 }, STATUS.badField],
      [{ ...GZIP, ...data(beyond, 10, MIB, 1000) }, STATUS.badAddress],
      [{ ...GZIP, ...data(beyond - 5, 10, MIB, 1000) }, STATUS.badAddress],
      [{ ...GZIP, ...data(MIB, 10, beyond - 5, 1000) }, STATUS.badAddress],
      [{ ...GZIP, ...data(-1, 10, MIB, 1000) }, STATUS.badAddress],
      [{ ...GZIP, ...data(MIB, 10, 2 * MIB, 0) }, STATUS.badLength],
      [{ ...GZIP, algorithm: 77, ...data(MIB, 10, 2 * MIB, 100) }, STATUS.unsupported],
      [{ ...GZIP, session: 5, ...data(MIB, 10, 2 * MIB, 100) }, STATUS.badSession],
    ];
    for (const [requestId, [fields, expected]] of refused.entries()) {
      queue.put({ requestId, ...fields });
      await queue.ring();
      const completion = await queue.next();
      assert.deepEqual([completion.requestId, completion.status], [requestId, expected]);
    }
    const count = await counters(client);
    assert.equal(count('staleSlots'), 1);
    assert.equal(count('refused'), refused.length - 1);
  });

  test('wrong rings execute nothing, and in a row isolate the queue', async (t) => {
    const local = await LocalDevice.start(t);
    const client = await connect(local);
    const queue = await RemoteQueue.enable(client, { depth: 8, at: 0 });
    queue.put({ requestId: 1 });
    await queue.ring(12345);
    let wrong = 0;
    const count = async (): Promise<void> => {
      wrong = (await counters(client))('wrongRings');
    };
    while (wrong === 0) await count();
    assert.equal(client.dma.length, 0, 'nothing was read');
    await queue.ring();
    assert.equal((await queue.next()).requestId, 1);
    for (let i = 0; wrong < 17; i++) {
      const before = wrong;
      await queue.ring(99_999 + i);
      while (wrong === before) await count();
    }
    const setup = await client.readRegion(REGION.registers, 0x100 + 0x2c, 4);
    assert.equal(setup.readUInt32LE(0), QUEUE_STATE.isolated);
    assert.equal((await client.setUp({ queue: 0, command: QUEUE_COMMAND.disable }))('outcome'), 0);
  });

  test('an interrupt comes at the completion that it was asked for', async (t) => {
    const local = await LocalDevice.start(t);
    const client = await connect(local);
    const irq = createEventfd();
    assert.equal((await client.ask(COMMAND.setIrqs, words(20, 0x24, IRQ.msix, 0, 1), [irq]))!.error, 0);
    const queue = await RemoteQueue.enable(client, { depth: 8, at: 0 });
    await queue.arm(2);
    queue.put({ requestId: 1 });
    await queue.ring();
    await queue.next();
    assert.equal(drainEventfd(irq), false);
    queue.put({ requestId: 2 });
    await queue.ring();
    await client.until(() => drainEventfd(irq), 'the interrupt');
    assert.ok(queue.ready, 'the completion was there before');
    const busy = await client.ask(COMMAND.setIrqs, words(20, 0x24, IRQ.msix, 0, 1), [irq]);
    assert.equal(busy!.error, ERRNO.EBUSY);
    closeFd(irq);
  });

  test('data may lie in a region with a descriptor, and rings, too', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.remote(4 * MIB);
    await client.negotiate();
    // The second MiB is shared, the rest is not.
    const fd = createMemfd('data', MIB);
    const shared = Mapping.shared(fd, 0, MIB, 'read-write');
    assert.equal(await client.map(0, MIB), 0);
    assert.equal(await client.map(MIB, MIB, 3, [fd]), 0);
    assert.equal(await client.map(2 * MIB, 2 * MIB), 0);
    closeFd(fd);
    const queue = await RemoteQueue.enable(client, { depth: 8, at: 0 });
    const text = sampleText(10_000);
    shared.bytes.set(text);
    queue.put({ ...GZIP, ...data(MIB, text.length, 2 * MIB, 65536) });
    await queue.ring();
    const { produced } = await queue.next();
    assert.ok(gunzipSync(client.memory.subarray(2 * MIB, 2 * MIB + produced)).equals(text));
    queue.put({
      opcode: OPCODE.decompress,
      algorithm: ALGORITHM.gzip,
      ...data(2 * MIB, produced, MIB + 20_000, 10_000),
    });
    await queue.ring();
    assert.equal((await queue.next()).produced, text.length);
    assert.ok(Buffer.from(shared.bytes.subarray(20_000, 30_000)).equals(text));

    // The SQ shared, the CQ not: still a shadow. Both shared: none, and then data must be, too.
    for (const [cqAt, expected] of [
      [512 * 1024, STATUS.ok],
      [MIB + 768 * 1024, STATUS.badAddress],
    ] as const) {
      const sqIova = RemoteClient.iova + MIB + 512 * 1024;
      const cqIova = RemoteClient.iova + cqAt;
      const setup = await client.setUp({
        queue: 1,
        depth: 2,
        sqLow: sqIova % 2 ** 32,
        sqHigh: Math.floor(sqIova / 2 ** 32),
        cqLow: cqIova % 2 ** 32,
        cqHigh: Math.floor(cqIova / 2 ** 32),
      });
      assert.equal(setup('outcome'), 0);
      const slot = shared.words.subarray(128 * 1024, 128 * 1024 + 16);
      const fields = { ...GZIP, ...data(MIB, text.length, 2 * MIB, 65536) };
      slot[1] = fields.opcode | (fields.algorithm << 8) | (fields.level << 16);
      slot[4] = fields.sourceLow!;
      slot[5] = fields.sourceHigh!;
      slot[6] = fields.sourceLength!;
      slot[7] = fields.destinationCapacity!;
      slot[8] = fields.destinationLow!;
      slot[9] = fields.destinationHigh!;
      slot[0] = 1;
      const cqe = (): Buffer =>
        cqAt < MIB
          ? client.memory.subarray(cqAt, cqAt + 32)
          : Buffer.from(shared.bytes.slice(768 * 1024, 768 * 1024 + 32));
      await client.writeRegion(REGION.doorbells, 4096, words(1 + setup('token')));
      await client.until(() => cqe().readUInt32LE(28) === 1, 'the completion');
      assert.equal(cqe().readUInt8(4), expected);
      await client.setUp({ queue: 1, command: QUEUE_COMMAND.disable });
    }
    shared.unmap();
  });

  test('regions: rings are busy; what was unmapped is not touched any more', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.remote(4 * MIB);
    await client.negotiate();
    for (const [offset, length] of [
      [0, RINGS],
      [RINGS, RINGS],
      [MIB, MIB],
      [2 * MIB, MIB],
    ] as const) {
      assert.equal(await client.map(offset, length), 0);
    }
    assert.equal(await client.map(MIB, MIB), ERRNO.EEXIST);
    assert.equal(await client.map(3 * MIB, 100), ERRNO.EINVAL);
    assert.equal(await client.map(3 * MIB, MIB, 2), ERRNO.EINVAL);
    const queue = await RemoteQueue.enable(client, { depth: 8, at: 0 });
    assert.equal((await client.unmap(0, RINGS))!.error, ERRNO.EBUSY);
    assert.equal((await client.unmap(MIB, 4096))!.error, ERRNO.ENOENT);
    const all = (): Promise<{ error: number } | undefined> =>
      client.ask(COMMAND.dmaUnmap, words(24, 2, 0, 0, 0, 0));
    assert.equal((await all())!.error, ERRNO.EBUSY);
    const some = await client.ask(COMMAND.dmaUnmap, words(24, 2, 4096, 0, 0, 0));
    assert.equal(some!.error, ERRNO.EINVAL);
    const dirty = await client.ask(COMMAND.dmaUnmap, words(24, 1, 0, 0, 0, 0));
    assert.equal(dirty!.error, ERRNO.EOPNOTSUPP);

    // A read-only region is no destination.
    assert.equal((await client.unmap(2 * MIB, MIB))!.error, 0);
    assert.equal(await client.map(2 * MIB, MIB, 1), 0);
    queue.put({ ...GZIP, ...data(MIB, 1000, 2 * MIB, 1000) });
    queue.put({ ...GZIP, ...data(2 * MIB, 1000, MIB, 1000) });
    await queue.ring();
    const statuses = [(await queue.next()).status, (await queue.next()).status].sort((a, b) => a - b);
    assert.deepEqual(statuses, [STATUS.ok, STATUS.badAddress]);

    // Unmapped while its source is read: the answer comes when that has ended, and no result is written.
    let unmapping: Promise<number> | undefined;
    client.misbehave = (right, { command, address }) => {
      if (command === COMMAND.dmaRead && address >= RemoteClient.iova + MIB) {
        unmapping ??= client.unmap(MIB, MIB).then((reply) => reply!.error);
      }
      return right;
    };
    queue.put({ ...GZIP, ...data(MIB, 100_000, MIB + 500_000, 100_000) });
    await queue.ring();
    const { status } = await queue.next();
    assert.ok(status === STATUS.badAddress || status === STATUS.ok);
    assert.equal(await unmapping, 0);
    client.misbehave = undefined;
    client.dma.length = 0;
    queue.put({ ...GZIP, ...data(MIB, 100_000, MIB + 500_000, 100_000) });
    await queue.ring();
    assert.equal((await queue.next()).status, STATUS.badAddress);
    assert.ok(client.dma.every(({ address }) => address < RemoteClient.iova + RINGS));

    await client.setUp({ command: QUEUE_COMMAND.disable });
    assert.equal((await all())!.error, 0);
    assert.equal((await client.unmap(0, RINGS))!.error, ERRNO.ENOENT);
    assert.equal(await client.map(), 0);
  });

  test('disabled, reset and set up again; what was not taken is never executed', async (t) => {
    const local = await LocalDevice.start(t);
    const client = await connect(local);
    const text = sampleText(100_000);
    text.copy(client.memory, MIB);
    for (const end of ['disable', 'reset', 'disable'] as const) {
      const queue = await RemoteQueue.enable(client, { depth: 8, at: 0 });
      for (let i = 0; i < 8; i++)
        queue.put({ ...GZIP, requestId: i, ...data(MIB, text.length, 2 * MIB, MIB) });
      await queue.ring();
      await queue.next();
      if (end === 'reset') assert.equal((await client.ask(COMMAND.reset, Buffer.alloc(0)))!.error, 0);
      else await client.setUp({ command: QUEUE_COMMAND.disable });
      const after = client.dma.length;
      await client.readRegion(REGION.config, 0, 4);
      assert.equal(client.dma.length, after, 'nothing is moved any more');
    }
  });

  test('an engine thread that dies: the client is told, and all it had is freed', async (t) => {
    const account = new Account();
    const local = await LocalDevice.start(t, 1, { account, faults: ['kill:compress:1'] });
    const client = await connect(local);
    const irq = createEventfd();
    assert.equal((await client.ask(COMMAND.setIrqs, words(20, 0x24, IRQ.error, 0, 1), [irq]))!.error, 0);
    const queue = await RemoteQueue.enable(client, { depth: 8, at: 0 });
    queue.put({ ...GZIP, ...data(MIB, 1000, 2 * MIB, 1000) });
    await queue.ring();
    await client.until(() => drainEventfd(irq), 'the error interrupt');
    closeFd(irq);
    const status = await client.readRegion(REGION.status, 0, 4);
    assert.equal(status.readUInt32LE(0), DEVICE_STATE.failed);
    assert.equal(queue.ready, false);
    assert.equal((await client.setUp({ command: QUEUE_COMMAND.disable }))('outcome'), 0);
    assert.equal(account.held('mappedBytes'), 0);
    client.close();
  });

  test('several queues, one of them idle with a full CQ', async (t) => {
    const local = await LocalDevice.start(t);
    const client = await connect(local);
    const text = sampleText(5000);
    text.copy(client.memory, MIB);
    const idle = await RemoteQueue.enable(client, { id: 1, depth: 2, at: RINGS });
    const busy = await RemoteQueue.enable(client, { id: 2, depth: 4, at: 2 * RINGS });
    idle.put({});
    idle.put({});
    await idle.ring();
    for (let i = 0; i < 40; i++) {
      busy.put({ ...GZIP, requestId: i, ...data(MIB, text.length, 2 * MIB, 65536) });
      await busy.ring();
      assert.equal((await busy.next()).requestId, i);
    }
    // No room is left: a third is not taken until one has been consumed.
    idle.put({ requestId: 3 });
    await idle.ring();
    await idle.next();
    await idle.next();
    assert.equal(idle.ready, false);
    await idle.ring();
    assert.equal((await idle.next()).requestId, 3);
  });

  test('what it takes is counted, refused beyond the limit, and given back', async (t) => {
    const account = new Account({ ...UNLIMITED, mappedBytes: SCRATCH_BYTES + 16_384, regions: 1 });
    const local = await LocalDevice.start(t, 1, { account });
    const client = await connect(local);
    assert.equal(account.held('mappedBytes'), 0, 'what is not mapped here takes nothing');
    assert.equal(account.held('regions'), 1);
    const queue = await RemoteQueue.enable(client, { depth: 64, at: 0 });
    assert.ok(account.held('mappedBytes') > SCRATCH_BYTES);
    const iova = RemoteClient.iova + RINGS;
    const rings = { sqLow: iova % 2 ** 32, sqHigh: Math.floor(iova / 2 ** 32) };
    const second = await client.setUp({
      queue: 1,
      depth: 64,
      ...rings,
      cqLow: rings.sqLow + 8192,
      cqHigh: rings.sqHigh,
    });
    assert.equal(second('outcome'), ERRNO.EDQUOT);
    queue.put({ requestId: 5 });
    await queue.ring();
    assert.equal((await queue.next()).requestId, 5);
    await client.setUp({ queue: 0, command: QUEUE_COMMAND.disable });
    assert.equal(account.held('mappedBytes'), 0);
    assert.equal(account.held('queues'), 0);
    client.close();
    while (local.gone === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(account.held('regions'), 0);
  });

  test('a client that takes less than a page at once has no such memory', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.remote(MIB);
    await client.negotiate({ maxTransferBytes: 4095 });
    assert.equal(await client.map(), ERRNO.EINVAL);
  });
});
