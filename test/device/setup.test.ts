import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { CQE, LIMITS, SQE } from '../../src/abi/queue.js';
import {
  DEVICE_MAGIC,
  DEVICE_REGISTERS,
  DEVICE_VERSION,
  QUEUE_COMMAND,
  QUEUE_SETUP_OFFSET,
  QUEUE_STATE,
  REGION,
} from '../../src/abi/registers.js';
import { closeFd } from '../../src/sys/fd.js';
import { ERRNO } from '../../src/sys/libc.js';
import { createMemfd } from '../../src/sys/memfd.js';
import { execute, TestDevice } from './support-device.js';
import { rings, type SetupField, setUp } from './support-setup.js';

/** Setting up a queue by hand, through the registers, with everything that can be wrong. */
describe('queue set-up', () => {
  const IOVA = 0x30_0000_0000;
  const READ_ONLY = 0x31_0000_0000;
  const BYTES = 4 << 20;
  let device: TestDevice;
  const right = (): Partial<Record<SetupField, number>> => ({
    queue: 9,
    depth: 64,
    ...rings(IOVA, IOVA + 65536),
  });

  before(async () => {
    device = await TestDevice.open();
    const fd = createMemfd('rings', BYTES);
    await device.transport.dmaMap({ fd, offset: 0, iova: IOVA, length: BYTES, writable: true });
    await device.transport.dmaMap({ fd, offset: 0, iova: READ_ONLY, length: BYTES, writable: false });
    closeFd(fd);
  });
  after(() => device.close());

  test('the identity registers say what the device is', async () => {
    assert.equal(await device.register('magic'), DEVICE_MAGIC);
    assert.equal(await device.register('version'), DEVICE_VERSION);
    assert.equal(await device.register('features'), 0);
    assert.equal(await device.register('state'), 1);
    assert.equal(await device.register('maxQueues'), LIMITS.maxQueues);
    assert.equal(await device.register('maxDepth'), LIMITS.maxDepth);
    assert.equal(await device.register('maxTransfer'), LIMITS.maxTransfer);
    assert.equal(await device.register('maxSessions'), LIMITS.maxSessions);
    assert.equal(await device.register('maxThreads'), 1);
    assert.equal(await device.register('threads'), 1);
    assert.equal(await device.register('openQueues'), 0);
  });

  const wrong: [string, Partial<Record<SetupField, number>>, number][] = [
    ['queue 64', { queue: 64 }, ERRNO.EINVAL],
    ['queue 2^32 - 1', { queue: 0xffffffff }, ERRNO.EINVAL],
    ['depth 0', { depth: 0 }, ERRNO.EINVAL],
    ['depth 1', { depth: 1 }, ERRNO.EINVAL],
    ['depth 3', { depth: 3 }, ERRNO.EINVAL],
    ['depth 65536', { depth: 65536 }, ERRNO.EINVAL],
    ['depth 2^31', { depth: 0x80000000 }, ERRNO.EINVAL],
    ['depth 2^32 - 1', { depth: 0xffffffff }, ERRNO.EINVAL],
    ['vector 64', { vector: 64 }, ERRNO.EINVAL],
    ['vector 2^32 - 1', { vector: 0xffffffff }, ERRNO.EINVAL],
    ['command 3', { command: 3 }, ERRNO.EINVAL],
    ['command 2^32 - 1', { command: 0xffffffff }, ERRNO.EINVAL],
    ['SQ at 0', rings(0, IOVA), ERRNO.EFAULT],
    ['CQ at 0', rings(IOVA, 0), ERRNO.EFAULT],
    ['SQ unmapped', rings(0x40_0000_0000, IOVA), ERRNO.EFAULT],
    ['CQ unmapped', rings(IOVA, 0x40_0000_0000), ERRNO.EFAULT],
    ['SQ misaligned', rings(IOVA + 32, IOVA + 65536), ERRNO.EFAULT],
    ['CQ misaligned', rings(IOVA, IOVA + 65536 + 4), ERRNO.EFAULT],
    ['SQ beyond the end', rings(IOVA + BYTES - 64 * SQE.bytes + 64, IOVA), ERRNO.EFAULT],
    ['CQ beyond the end', rings(IOVA, IOVA + BYTES - 64 * CQE.bytes + 64), ERRNO.EFAULT],
    ['SQ before the start', rings(IOVA - 64, IOVA), ERRNO.EFAULT],
    ['SQ in read-only memory', rings(READ_ONLY, IOVA), ERRNO.EFAULT],
    ['CQ in read-only memory', rings(IOVA, READ_ONLY), ERRNO.EFAULT],
    ['SQ above 2^47', rings(2 ** 47, IOVA), ERRNO.EFAULT],
    ['SQ at the end of 64 bits', { sqLow: 0xffffffc0, sqHigh: 0xffffffff }, ERRNO.EFAULT],
  ];
  for (const [name, fields, errno] of wrong) {
    test(`${name} is refused`, async () => {
      const read = await setUp(device.transport, { ...right(), ...fields });
      assert.equal(read.outcome, errno);
      assert.equal(read.command, QUEUE_COMMAND.none);
      assert.equal(await device.register('openQueues'), 0);
    });
  }

  test('a queue is enabled once, and disabled as often as one likes', async () => {
    const enabled = await setUp(device.transport, right());
    assert.equal(enabled.outcome, 0);
    assert.equal(enabled.state, QUEUE_STATE.enabled);
    assert.equal(await device.register('openQueues'), 1);
    assert.equal((await setUp(device.transport, right())).outcome, ERRNO.EBUSY);
    assert.equal(await device.register('openQueues'), 1);
    for (let i = 0; i < 3; i++) {
      const disabled = await setUp(device.transport, { queue: 9, command: QUEUE_COMMAND.disable });
      assert.equal(disabled.outcome, 0);
      assert.equal(disabled.state, QUEUE_STATE.disabled);
    }
    assert.equal(await device.register('openQueues'), 0);
  });

  test('every queue can be enabled at once, and no more; rings may be the largest', async () => {
    for (let queue = 0; queue < LIMITS.maxQueues; queue++) {
      const at = IOVA + queue * 192;
      const read = await setUp(device.transport, { queue, depth: 2, ...rings(at, at + 128) });
      assert.equal(read.outcome, 0, `queue ${queue}`);
    }
    assert.equal(await device.register('openQueues'), LIMITS.maxQueues);
    await device.transport.reset();
    assert.equal(await device.register('openQueues'), 0);
    const depth = LIMITS.maxDepth;
    const largest = await setUp(device.transport, { depth, ...rings(IOVA, IOVA + depth * SQE.bytes) });
    assert.equal(largest.outcome, 0);
    await device.transport.reset();
  });

  test('only the set-up registers can be written, and reads stay within regions', async () => {
    const { transport } = device;
    const four = Buffer.alloc(4, 0xff);
    const outside = [
      0,
      DEVICE_REGISTERS.offset.maxQueues,
      DEVICE_REGISTERS.offset.threads,
      QUEUE_SETUP_OFFSET - 4,
      QUEUE_SETUP_OFFSET - 2,
      QUEUE_SETUP_OFFSET + 46,
      QUEUE_SETUP_OFFSET + 48,
      4092,
      4096,
      2 ** 40,
      2 ** 53 - 8,
    ];
    for (const offset of outside) {
      await assert.rejects(transport.writeRegion(REGION.registers, offset, four), { errno: ERRNO.EINVAL });
    }
    for (const region of [REGION.status, REGION.description, 1, 3, 6, 8, 9, 1000, 0xffffffff]) {
      await assert.rejects(transport.writeRegion(region, 0, four), { errno: ERRNO.EINVAL });
    }
    for (const region of [1, 3, 6, 8, 9, 0xffffffff]) {
      await assert.rejects(transport.readRegion(region, 0, 4), { errno: ERRNO.EINVAL });
    }
    for (const [region, offset, length] of [
      [REGION.registers, 4093, 4],
      [REGION.registers, 4096, 1],
      [REGION.registers, 2 ** 53 - 8, 4],
      [REGION.config, 253, 4],
      [REGION.status, 4095, 2],
      [REGION.registers, 0, 1 << 20],
      [REGION.registers, 0, 0xffffffff],
    ] as const) {
      await assert.rejects(transport.readRegion(region, offset, length), { errno: ERRNO.EINVAL });
    }
    assert.equal(await device.register('magic'), DEVICE_MAGIC);
    assert.equal((await transport.readRegion(REGION.registers, 4096, 0)).length, 0);
  });

  test('the largest region can be read in one piece', async () => {
    const whole = await device.transport.readRegion(REGION.doorbells, 0, LIMITS.maxQueues * 4096);
    assert.equal(whole.length, LIMITS.maxQueues * 4096);
  });

  test('nothing of this disturbed an honest queue', async () => {
    const queue = await device.queue(8);
    assert.equal((await execute(queue, { requestId: 3 })).requestId, 3);
  });
});
