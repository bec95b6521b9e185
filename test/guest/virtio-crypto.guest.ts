import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { before, describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ALGORITHM, type CipherAlgorithm, factsOf } from '../../src/abi/algorithms.js';
import { OPCODE, SQE_FLAG, STATUS } from '../../src/abi/queue.js';
import { REGION } from '../../src/abi/registers.js';
import { Completion, type DeviceMemory, type DeviceQueue, Submission } from '../../src/driver/driver.js';
import { findStructures } from '../../src/driver/virtio/pci-structures.js';
import { type VirtioCryptoDevice, virtioCrypto } from '../../src/driver/virtio-crypto/virtio-crypto.js';
import { type Accelerator, open } from '../../src/index.js';
import { openVfio } from '../../src/transport/vfio/open.js';
import { GUEST_DEVICE, HOTPLUG_ID } from './harness/devices.js';
import { bind } from './support-devices.js';
import { loadModule } from './support-kernel.js';
import { unplug } from './support-monitor.js';

const CHILD = fileURLToPath(new URL('support-crypto-child.js', import.meta.url));
const nameOf = (address: string): string => `vfio:${address}`;
const EACH: CipherAlgorithm[] = [
  ...(['ecb', 'cbc', 'ctr'] as const).flatMap((mode) =>
    ([128, 192, 256] as const).map((bits) => `aes-${bits}-${mode}` as const),
  ),
  'aes-128-xts',
  'aes-256-xts',
];

/** A device through its driver alone, closed when the test is over. */
async function openDevice(t: TestContext, address: string): Promise<VirtioCryptoDevice> {
  const device = (await virtioCrypto.open(await openVfio(nameOf(address)))) as VirtioCryptoDevice;
  t.after(() => device.close());
  return device;
}

/** An accelerator that sends everything to the device, closed when the test is over. */
async function openAccelerator(t: TestContext, address: string): Promise<Accelerator> {
  const acc = await open(nameOf(address), { inlineBytes: 0 });
  t.after(() => acc.close());
  return acc;
}

/** What node:crypto makes of it. */
function expected(
  algorithm: CipherAlgorithm,
  key: Buffer,
  iv: Buffer | null,
  data: Buffer,
  padding = true,
): Buffer {
  const cipher = createCipheriv(algorithm, key, iv).setAutoPadding(padding);
  return Buffer.concat([cipher.update(data), cipher.final()]);
}

/** A queue with a session, and requests of one block that go through it. */
class BlockRequests {
  readonly queue: DeviceQueue;
  readonly key = randomBytes(16);
  readonly #memory: DeviceMemory;
  readonly #submission = new Submission();
  readonly completion = new Completion();

  constructor(queue: DeviceQueue, memory: DeviceMemory) {
    this.queue = queue;
    this.#memory = memory;
    const { mapping, iova } = memory;
    mapping.bytes.set(this.key);
    const submission = this.#submission;
    submission.operation = OPCODE.sessionOpen;
    submission.algorithm = ALGORITHM['aes-128-ecb'];
    submission.level = OPCODE.encrypt;
    submission.source = iova;
    submission.sourceLength = 16;
    assert.ok(queue.submit(submission));
    assert.ok(queue.poll(this.completion));
    assert.equal(this.completion.status, STATUS.ok);
    submission.session = this.completion.result;
    submission.operation = OPCODE.encrypt;
    submission.level = 0;
    submission.flags = SQE_FLAG.unpadded;
    submission.capacity = 16;
  }

  /** Sends a request whose block is its id; its output goes to a place of its own. */
  submit(id: number): boolean {
    const { mapping, iova } = this.#memory;
    const at = 4096 + (id % 1024) * 32;
    if (this.queue.inFlight === this.queue.depth) return false;
    mapping.words[at >> 2] = id;
    const submission = this.#submission;
    submission.requestId = id;
    submission.source = iova + at;
    submission.destination = iova + at + 16;
    return this.queue.submit(submission);
  }

  /** The output of a request. */
  output(id: number): Buffer {
    const at = 4096 + (id % 1024) * 32 + 16;
    return Buffer.from(this.#memory.mapping.bytes.subarray(at, at + 16));
  }

  expected(id: number): Buffer {
    const block = Buffer.alloc(16);
    block.writeInt32LE(id);
    return expected('aes-128-ecb', this.key, null, block, false);
  }
}

const REQUESTS_BYTES = 4096 + 1024 * 32;

describe('driver/virtio-crypto', () => {
  before(() => {
    loadModule('vfio-pci');
    for (const name of ['crypto', 'secondCrypto', 'hotplugCrypto'] as const) {
      bind(GUEST_DEVICE[name], 'vfio-pci');
    }
  });

  test('a program that ran on the embedded accelerator runs on it unchanged', async (t) => {
    const acc = await openAccelerator(t, GUEST_DEVICE.crypto);
    const [listing] = acc.devices();
    assert.deepEqual(listing!.algorithms['encrypt'], EACH);
    const key = randomBytes(32);
    const iv = randomBytes(16);
    const data = randomBytes(5000);
    const { result, info } = await acc.encrypt(data, { algorithm: 'aes-256-cbc', key, iv, info: true });
    assert.deepEqual(result, expected('aes-256-cbc', key, iv, data));
    assert.deepEqual(
      { ran: info.ran, engine: info.engine, device: info.device },
      { ran: 'queue', engine: 'hardware', device: nameOf(GUEST_DEVICE.crypto) },
    );
    // What the device does not have runs in the calling thread; what nothing here has is refused.
    const digest = await acc.digest(data, { algorithm: 'sha256', info: true });
    assert.equal(digest.info.why, 'not on the device');
    await assert.rejects(acc.compress(data), { code: 'ERR_WARPDRIVE_UNSUPPORTED' });
    const partial = await acc.encrypt(data, { algorithm: 'aes-128-xts', key, iv, info: true });
    assert.equal(partial.info.ran, 'caller');
    assert.deepEqual(partial.result, expected('aes-128-xts', key, iv, data));
  });

  test("every cipher's results are node:crypto's, at lengths around the block", async (t) => {
    const acc = await openAccelerator(t, GUEST_DEVICE.crypto);
    for (const algorithm of EACH) {
      const { keyBytes, ivBytes, pads } = factsOf(algorithm);
      const key = randomBytes(keyBytes!);
      const iv = ivBytes === 0 ? undefined : randomBytes(ivBytes!);
      const session = acc.cipherSession({ algorithm, key });
      for (const length of [0, 1, 15, 16, 17, 31, 32, 33, 4096, 65_537]) {
        if (algorithm.endsWith('xts') && length < 16) continue;
        const data = randomBytes(length);
        const sealed = await session.encrypt(data, iv ? { iv } : {});
        assert.deepEqual(sealed, expected(algorithm, key, iv ?? null, data), `${algorithm}, ${length}`);
        assert.deepEqual(await session.decrypt(sealed, iv ? { iv } : {}), data, `${algorithm}, ${length}`);
      }
      session.close();
      if (!pads) continue;
      const options = { algorithm, key, ...(iv ? { iv } : {}) };
      const bare = randomBytes(64);
      const sealed = await acc.encrypt(bare, { ...options, padding: false });
      assert.deepEqual(sealed, expected(algorithm, key, iv ?? null, bare, false));
      assert.deepEqual(await acc.decrypt(sealed, { ...options, padding: false }), bare);
      await assert.rejects(acc.encrypt(randomBytes(63), { ...options, padding: false }), {
        code: 'ERR_WARPDRIVE_ARGUMENT',
      });
      // What was not padded, or is no whole number of blocks, is not what was encrypted.
      const unpadded = expected(algorithm, key, iv ?? null, Buffer.alloc(32), false);
      for (const wrong of [unpadded, sealed.subarray(0, 40)]) {
        await assert.rejects(acc.decrypt(wrong, options), { code: 'ERR_WARPDRIVE_AUTHENTICATION' });
      }
    }
    const key = randomBytes(16);
    const twice = Buffer.concat([key, key]);
    await assert.rejects(
      acc.encrypt(randomBytes(32), { algorithm: 'aes-128-xts', key: twice, iv: randomBytes(16) }),
      { code: 'ERR_WARPDRIVE_ARGUMENT' },
    );
  });

  test('buffers of alloc are read where they lie, synchronous calls wait, and many go at once', async (t) => {
    const acc = await openAccelerator(t, GUEST_DEVICE.crypto);
    const key = randomBytes(16);
    const iv = randomBytes(16);
    const options = { algorithm: 'aes-128-ctr', key, iv } as const;
    const buffer = await acc.alloc(10_000);
    randomBytes(10_000).copy(buffer);
    const part = buffer.subarray(100, 9000);
    assert.deepEqual(await acc.encrypt(part, options), expected('aes-128-ctr', key, iv, part));
    assert.deepEqual(acc.encryptSync(part, options), expected('aes-128-ctr', key, iv, part));
    const session = acc.cipherSession({ algorithm: 'aes-128-ctr', key });
    const messages = Array.from({ length: 2000 }, (_, i) => ({ data: randomBytes(i % 100), iv }));
    const results = await session.encryptMany(messages);
    results.forEach((result, i) => {
      assert.deepEqual(result, expected('aes-128-ctr', key, iv, messages[i]!.data));
    });
    session.close();
  });

  test('100,000 requests over two queues, around the ends of the rings, with interrupts suppressed', async (t) => {
    const devices = await Promise.all([
      openDevice(t, GUEST_DEVICE.crypto),
      openDevice(t, GUEST_DEVICE.secondCrypto),
    ]);
    const sides: BlockRequests[] = [];
    let interrupts = 0;
    for (const device of devices) {
      const queue = await device.createQueue({ depth: 256 });
      queue.interrupt.listen(() => interrupts++);
      sides.push(new BlockRequests(queue, await device.allocate(REQUESTS_BYTES)));
    }
    let checked = 0;
    const done = [0, 0];
    const sent = [0, 0];
    while (done[0]! + done[1]! < 140_000) {
      sides.forEach((side, i) => {
        while (sent[i]! < 70_000 && side.submit(sent[i]!)) sent[i]!++;
        side.queue.publish();
        const { completion } = side;
        while (side.queue.poll(completion)) {
          assert.equal(completion.status, STATUS.ok, `request ${done[i]} of queue ${i}`);
          assert.equal(completion.requestId, done[i]!++, 'the device keeps the order');
          if (completion.requestId % 100 !== 0) continue;
          assert.deepEqual(side.output(completion.requestId), side.expected(completion.requestId));
          checked++;
        }
      });
      await new Promise(setImmediate);
    }
    assert.equal(checked, 1400);
    // Once around 65536 indexes, the index that nobody waits for comes by.
    assert.ok(interrupts <= 2, `${interrupts} interrupts came to somebody who polls`);
    const [side] = sides;
    for (let i = 0; i < 10; i++) {
      const before = interrupts;
      side!.submit(i);
      assert.ok(side!.queue.arm(1));
      side!.queue.publish();
      const until = performance.now() + 5000;
      while (interrupts === before && performance.now() < until) await new Promise(setImmediate);
      assert.equal(interrupts, before + 1, 'each request of somebody who sleeps interrupts once');
      assert.ok(side!.queue.poll(side!.completion));
    }
  });

  test('a reset in the middle fails what is in flight at once, and the next requests work', async (t) => {
    const device = await openDevice(t, GUEST_DEVICE.crypto);
    const queue = await device.createQueue({ depth: 64 });
    const side = new BlockRequests(queue, await device.allocate(REQUESTS_BYTES));
    for (let id = 0; id < 64; id++) side.submit(id);
    device.reset('a test wants it');
    for (let id = 0; id < 64; id++) {
      assert.ok(queue.poll(side.completion));
      assert.equal(side.completion.status, STATUS.engineFailed);
    }
    assert.equal(queue.inFlight, 0);
    // The session is made again on the device that has forgotten it.
    for (let id = 100; id < 110; id++) {
      side.submit(id);
      queue.publish();
      while (!queue.poll(side.completion)) assert.equal(queue.failed, false);
      assert.equal(side.completion.status, STATUS.ok);
      assert.deepEqual(side.output(id), side.expected(id));
    }
  });

  test('what was not published is dropped when its queue is released, and never reaches the device', async (t) => {
    const device = await openDevice(t, GUEST_DEVICE.crypto);
    const memory = await device.allocate(REQUESTS_BYTES);
    const dropped = new BlockRequests(await device.createQueue({ depth: 64 }), memory);
    for (let id = 0; id < 8; id++) dropped.submit(id);
    // Whoever waits for them here waits for ever: the device has none of them.
    await dropped.queue.release();
    const side = new BlockRequests(await device.createQueue({ depth: 64 }), memory);
    side.submit(8);
    side.queue.publish();
    while (!side.queue.poll(side.completion)) assert.equal(side.queue.failed, false);
    assert.equal(side.completion.requestId, 8);
    assert.deepEqual(side.output(8), side.expected(8));
    assert.deepEqual(side.output(0), Buffer.alloc(16));
  });

  test('a device that falls back to its beginning is found, and set up again', async (t) => {
    const transport = await openVfio(nameOf(GUEST_DEVICE.crypto));
    const device = (await virtioCrypto.open(transport)) as VirtioCryptoDevice;
    t.after(() => device.close());
    const queue = await device.createQueue({ depth: 64 });
    const side = new BlockRequests(queue, await device.allocate(REQUESTS_BYTES));
    const config = await transport.readRegion(REGION.config, 0, 256);
    const { common } = findStructures(config, 'the device');
    await transport.writeRegion(common.bar, common.offset + 20, Buffer.from([0]));
    const reset = t.mock.method(device, 'reset');
    side.submit(1);
    queue.publish();
    while (!queue.poll(side.completion)) assert.equal(queue.failed, false);
    assert.equal(side.completion.status, STATUS.engineFailed);
    // It was seen to have fallen back, and not to stand still, which takes 10 seconds.
    const reasons = reset.mock.calls.map((call) => call.arguments[0]);
    assert.deepEqual(reasons, ['it asked for one']);
    side.submit(2);
    queue.publish();
    while (!queue.poll(side.completion)) assert.equal(queue.failed, false);
    assert.deepEqual(side.output(2), side.expected(2));
  });

  test('no address is used that is not in memory of the device', async (t) => {
    const device = await openDevice(t, GUEST_DEVICE.crypto);
    const queue = await device.createQueue({ depth: 4 });
    const side = new BlockRequests(queue, await device.allocate(REQUESTS_BYTES));
    const submission = new Submission();
    submission.operation = OPCODE.encrypt;
    submission.algorithm = ALGORITHM['aes-128-ecb'];
    submission.flags = SQE_FLAG.unpadded;
    submission.source = 0x1000;
    submission.destination = 0x10_0000;
    submission.sourceLength = submission.capacity = 16;
    assert.ok(queue.submit(submission));
    assert.ok(queue.poll(side.completion));
    assert.equal(side.completion.status, STATUS.badAddress);
  });

  test('a second process is told that the device is busy', async () => {
    const child = await startChild(GUEST_DEVICE.crypto);
    await assert.rejects(open(nameOf(GUEST_DEVICE.crypto)), (error: Error) => {
      assert.match(error.message, /another process has a device of IOMMU group/);
      return true;
    });
    child.kill('SIGKILL');
    await once(child, 'exit');
  });

  test('a process killed with requests in flight leaves a device that can be opened again', async (t) => {
    const child = await startChild(GUEST_DEVICE.crypto);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const acc = await openAccelerator(t, GUEST_DEVICE.crypto);
    const key = randomBytes(16);
    const data = randomBytes(1000);
    const sealed = await acc.encrypt(data, { algorithm: 'aes-128-ecb', key });
    const decipher = createDecipheriv('aes-128-ecb', key, null);
    assert.deepEqual(Buffer.concat([decipher.update(sealed), decipher.final()]), data);
  });

  test('a device that is unplugged fails what is in flight, clearly, and nothing hangs', async (t) => {
    const acc = await openAccelerator(t, GUEST_DEVICE.hotplugCrypto);
    const session = acc.cipherSession({ algorithm: 'aes-128-ecb', key: randomBytes(16) });
    const data = Buffer.alloc(1024);
    await session.encrypt(data);
    const busy = async (): Promise<never> => {
      for (;;) await session.encrypt(data);
    };
    const failed = assert.rejects(busy(), { code: 'ERR_WARPDRIVE_DEVICE_LOST' });
    await unplug(HOTPLUG_ID);
    await failed;
    await assert.rejects(session.encrypt(data), { code: 'ERR_WARPDRIVE_DEVICE_LOST' });
  });
});

/** A process that has the device, and keeps it busy. */
async function startChild(address: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [CHILD, nameOf(address)], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout!, 'data');
  return child;
}
