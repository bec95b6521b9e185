import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { Edu } from '../../src/driver/edu/edu.js';
import { DmaBuffer } from '../../src/transport/dma-buffer.js';
import { openVfio } from '../../src/transport/vfio/open.js';
import { GUEST_DEVICE } from './harness/devices.js';
import { bind } from './support-devices.js';

describe('edu', () => {
  before(() => bind(GUEST_DEVICE.edu, 'vfio-pci'));

  test('says what it is, and that it is alive', async () => {
    const edu = await Edu.open(await openVfio(GUEST_DEVICE.edu));
    assert.deepEqual(edu.revision, [1, 0]);
    for (const value of [0, 1, 0x12345678, 0xffffffff]) assert.ok(edu.isAlive(value));
    await edu.close();
  });

  test('computes factorials, and interrupts when it has', async () => {
    const edu = await Edu.open(await openVfio(`vfio:${GUEST_DEVICE.edu}`));
    let expected = 1;
    for (let n = 1; n <= 12; n++) {
      expected *= n;
      assert.equal(await edu.factorial(n), expected);
      assert.equal(edu.interrupts, n);
    }
    await edu.close();
  });

  test('copies memory in and out by DMA', async () => {
    const transport = await openVfio('00:10.0');
    const edu = await Edu.open(transport);
    const from = await DmaBuffer.allocate(transport, 4096, { writable: false });
    const to = await DmaBuffer.allocate(transport, 4096);
    for (let i = 0; i < 4096; i++) from.mapping.bytes[i] = (i * 7) ^ (i >> 8);
    await edu.dma('read', from.iova, 4095);
    await edu.dma('write', to.iova, 4095);
    assert.deepEqual(to.mapping.bytes.subarray(0, 4095), from.mapping.bytes.subarray(0, 4095));
    assert.equal(to.mapping.bytes[4095], 0);
    for (const [length, offset] of [
      [4096, 0],
      [1, 4095],
      [0, 0],
      [1, -1],
    ] as const) {
      await assert.rejects(edu.dma('write', to.iova, length, offset), { code: 'ERR_WARPDRIVE_ARGUMENT' });
    }
    to.mapping.bytes.fill(0);
    await edu.dma('write', to.iova + 100, 50, 1000);
    assert.deepEqual(to.mapping.bytes.subarray(100, 150), from.mapping.bytes.subarray(1000, 1050));
    assert.ok(to.mapping.bytes.every((byte, i) => byte === 0 || (i >= 100 && i < 150)));
    await from.free();
    await to.free();
    await edu.close();
  });
});
