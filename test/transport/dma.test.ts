import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { MemoryError } from '../../src/errors.js';
import { mappingCount } from '../../src/sys/memory.js';
import { DmaBuffer } from '../../src/transport/dma-buffer.js';
import { DmaMappings } from '../../src/transport/dma-mappings.js';
import { IovaAllocator } from '../../src/transport/iova-allocator.js';
import { LocalDevice } from '../device/support-local-device.js';

const PAGE = 4096;

describe('IovaAllocator', () => {
  test('gives the lowest addresses that fit, each with an unused page behind it', () => {
    const iovas = new IovaAllocator([{ start: 0, last: 2 ** 20 - 1 }]);
    assert.equal(iovas.reserve(1), PAGE);
    assert.equal(iovas.reserve(2 * PAGE), 3 * PAGE);
    assert.equal(iovas.reserve(PAGE), 6 * PAGE);
    iovas.release(3 * PAGE);
    assert.equal(iovas.reserve(3 * PAGE), 8 * PAGE);
    assert.equal(iovas.reserve(PAGE), 3 * PAGE);
  });

  test('stays within what the IOMMU translates, and out of what it keeps for itself', () => {
    const iovas = new IovaAllocator([
      { start: 0xfef00000, last: 2 ** 39 - 1 },
      { start: 0, last: 0xfedfffff },
    ]);
    assert.equal(iovas.reserve(0xfe000000), PAGE);
    assert.equal(iovas.reserve(0x100_0000), 0xfef00000);
    assert.throws(() => iovas.reserve(2 ** 39), MemoryError);
  });

  test('pages that are only partly usable are not used', () => {
    const iovas = new IovaAllocator([{ start: PAGE + 1, last: 4 * PAGE - 2 }]);
    assert.throws(() => iovas.reserve(PAGE), MemoryError);
  });

  test('a whole 64-bit aperture is used as far as numbers are exact', () => {
    const iovas = new IovaAllocator([{ start: 0, last: 2 ** 64 }]);
    assert.equal(iovas.reserve(2 ** 52), PAGE);
    assert.throws(() => iovas.reserve(2 ** 52), MemoryError);
  });

  test('what is given back is joined, in whatever order', () => {
    const usable = [{ start: 0, last: 65 * PAGE - 1 }];
    const iovas = new IovaAllocator(usable);
    for (const stride of [1, 3, 5, 7, 11]) {
      const taken = Array.from({ length: 32 }, () => iovas.reserve(PAGE));
      assert.throws(() => iovas.reserve(1), MemoryError);
      for (let i = 0; i < 32; i++) iovas.release(taken[(i * stride) % 32]!);
      assert.equal(iovas.reserve(63 * PAGE), PAGE);
      iovas.release(PAGE);
    }
    assert.throws(() => iovas.release(PAGE), { code: 'ERR_WARPDRIVE_ARGUMENT' });
  });

  test('a senseless length is refused', () => {
    const iovas = new IovaAllocator([{ start: 0, last: 2 ** 20 }]);
    for (const length of [0, -1, 1.5, Number.NaN, Infinity, 2 ** 60]) {
      assert.throws(() => iovas.reserve(length), { code: 'ERR_WARPDRIVE_ARGUMENT' });
    }
  });
});

describe('DmaMappings', () => {
  const region = { fd: -1, offset: 0, length: PAGE };

  test('names the first address that the device cannot reach', () => {
    const mappings = new DmaMappings();
    mappings.add({ ...region, iova: PAGE, writable: true });
    mappings.add({ ...region, iova: 2 * PAGE, writable: false });
    assert.equal(mappings.whyUnreachable(PAGE, 2 * PAGE, 'read'), undefined);
    const wrong = (iova: number, length: number, access: 'read' | 'write'): [string, number] => {
      const error = mappings.whyUnreachable(iova, length, access)!;
      return [error.message, error.address];
    };
    const cases = [
      [0, 4, 'read', /0x0 is not mapped/, 0],
      [2 * PAGE - 4, 8, 'write', /0x2000 is mapped for reading only/, 2 * PAGE],
      [2 * PAGE, PAGE + 1, 'read', /0x3000 is not mapped/, 3 * PAGE],
      [PAGE - 1, 1, 'read', /0xfff is not mapped/, PAGE - 1],
    ] as const;
    for (const [iova, length, access, message, address] of cases) {
      const [text, at] = wrong(iova, length, access);
      assert.match(text, message);
      assert.equal(at, address);
    }
    mappings.remove(PAGE);
    assert.equal(wrong(PAGE, 4, 'read')[1], PAGE);
  });
});

describe('DmaBuffer', () => {
  test('is memory of this process and of the device, until it is freed', async (t) => {
    const local = await LocalDevice.start(t);
    const transport = await local.connect();
    const before = { ...mappingCount(), fds: readdirSync('/proc/self/fd').length };
    const buffer = await DmaBuffer.allocate(transport, 5000);
    const readOnly = await DmaBuffer.allocate(transport, 1, { writable: false });
    assert.equal(buffer.mapping.length, 2 * PAGE);
    assert.ok(buffer.mapping.bytes.every((byte) => byte === 0));
    assert.equal(transport.whyUnreachable(buffer.iova, 2 * PAGE, 'write'), undefined);
    assert.match(transport.whyUnreachable(readOnly.iova, 1, 'write')!.message, /reading only/);
    const kept = readOnly.surrender();
    await buffer.free();
    await kept.free();
    assert.match(transport.whyUnreachable(buffer.iova, 1, 'read')!.message, /not mapped/);
    assert.deepEqual({ ...mappingCount(), fds: readdirSync('/proc/self/fd').length }, before);
    assert.equal((await DmaBuffer.allocate(transport, 1)).iova, buffer.iova);
    await transport.close();
  });

  test('one that cannot be mapped leaves nothing behind', async (t) => {
    const local = await LocalDevice.start(t);
    const transport = await local.connect();
    await transport.close();
    const before = { ...mappingCount(), fds: readdirSync('/proc/self/fd').length };
    await assert.rejects(DmaBuffer.allocate(transport, 4096), { code: 'ERR_WARPDRIVE_CLOSED' });
    assert.deepEqual({ ...mappingCount(), fds: readdirSync('/proc/self/fd').length }, before);
  });
});
