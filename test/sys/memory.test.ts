import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { closeFd } from '../../src/sys/fd.js';
import { viewMemory } from '../../src/sys/libc.js';
import { createMemfd } from '../../src/sys/memfd.js';
import {
  addressOf,
  allocateState,
  freeState,
  Mapping,
  mappingCount,
  PAGE_BYTES,
} from '../../src/sys/memory.js';

describe('mappings', () => {
  test('anonymous memory is zeroed, writable, and at its address', () => {
    const mapping = Mapping.anonymous(2 * PAGE_BYTES);
    assert.equal(mapping.length, 2 * PAGE_BYTES);
    assert.equal(mapping.bytes.length, 2 * PAGE_BYTES);
    assert.equal(mapping.words.length, (2 * PAGE_BYTES) / 4);
    assert.equal(mapping.address % PAGE_BYTES, 0);
    assert.ok(mapping.bytes.every((byte) => byte === 0));
    mapping.words[1] = 0x04030201;
    assert.deepEqual([...mapping.bytes.subarray(4, 8)], [1, 2, 3, 4]);
    assert.equal(Atomics.add(mapping.words, 0, 5), 0);
    assert.equal(addressOf(mapping.bytes), mapping.address);
    assert.equal(addressOf(mapping.words.subarray(3)), mapping.address + 12);
    mapping.unmap();
  });

  test('unmap empties the views, works twice, and late use touches nothing', () => {
    const mapping = Mapping.anonymous(PAGE_BYTES);
    assert.equal(mapping.mapped, true);
    mapping.unmap();
    assert.equal(mapping.mapped, false);
    assert.equal(mapping.address, 0);
    assert.equal(mapping.bytes.length, 0);
    assert.equal(mapping.words.length, 0);
    assert.equal(mapping.words[0], undefined);
    mapping.words[0] = 1;
    mapping.unmap();
    mapping.unmap();
  });

  test('mappings are counted, whatever order they go in', () => {
    const before = mappingCount();
    const many = Array.from({ length: 20 }, (_, index) => Mapping.anonymous((index + 1) * PAGE_BYTES));
    assert.deepEqual(mappingCount(), {
      mappings: before.mappings + 20,
      bytes: before.bytes + 210 * PAGE_BYTES,
    });
    for (const mapping of many.filter((_, index) => index % 2 === 0)) mapping.unmap();
    for (const mapping of many) mapping.unmap();
    assert.deepEqual(mappingCount(), before);
  });

  test('shared memory is one memory, from an offset on', () => {
    const fd = createMemfd('test', 3 * PAGE_BYTES);
    const whole = Mapping.shared(fd, 0, 3 * PAGE_BYTES, 'read-write');
    const last = Mapping.shared(fd, 2 * PAGE_BYTES, PAGE_BYTES, 'read');
    closeFd(fd);
    whole.bytes[2 * PAGE_BYTES + 7] = 42;
    assert.equal(last.bytes[7], 42);
    whole.unmap();
    assert.equal(last.bytes[7], 42);
    last.unmap();
  });

  test('what cannot be mapped is an error with a reason, and is not counted', () => {
    const before = mappingCount();
    assert.throws(() => Mapping.shared(-1, 0, PAGE_BYTES, 'read'), {
      code: 'ERR_WARPDRIVE_SYSTEM',
      syscall: 'mmap',
    });
    assert.throws(() => Mapping.anonymous(0), { code: 'ERR_WARPDRIVE_SYSTEM' });
    assert.throws(() => Mapping.anonymous(2 ** 50), { code: 'ERR_WARPDRIVE_MEMORY' });
    const fd = createMemfd('test', PAGE_BYTES);
    assert.throws(() => Mapping.shared(fd, 1, PAGE_BYTES, 'read'), { code: 'ERR_WARPDRIVE_SYSTEM' });
    closeFd(fd);
    assert.deepEqual(mappingCount(), before);
  });

  test('state is memory by address', () => {
    const address = allocateState(PAGE_BYTES);
    const bytes = new Uint8Array(viewMemory(address, PAGE_BYTES));
    assert.ok(bytes.every((byte) => byte === 0));
    bytes.fill(9);
    assert.ok(new Uint8Array(viewMemory(address, PAGE_BYTES)).every((byte) => byte === 9));
    freeState(address, PAGE_BYTES);
  });
});

describe('addressOf', () => {
  const buffer = new ArrayBuffer(256);
  const base = addressOf(new Uint8Array(buffer));
  const views: [string, (offset: number) => ArrayBufferView][] = [
    ['Uint8Array', (offset) => new Uint8Array(buffer, offset)],
    ['Uint8ClampedArray', (offset) => new Uint8ClampedArray(buffer, offset)],
    ['Int8Array', (offset) => new Int8Array(buffer, offset)],
    ['Uint16Array', (offset) => new Uint16Array(buffer, offset)],
    ['Int16Array', (offset) => new Int16Array(buffer, offset)],
    ['Uint32Array', (offset) => new Uint32Array(buffer, offset)],
    ['Int32Array', (offset) => new Int32Array(buffer, offset)],
    ['Float32Array', (offset) => new Float32Array(buffer, offset)],
    ['Float64Array', (offset) => new Float64Array(buffer, offset)],
    ['BigInt64Array', (offset) => new BigInt64Array(buffer, offset)],
    ['BigUint64Array', (offset) => new BigUint64Array(buffer, offset)],
    ['DataView', (offset) => new DataView(buffer, offset)],
    ['Buffer', (offset) => Buffer.from(buffer, offset)],
  ];
  for (const [name, make] of views) {
    test(`of a ${name}, with its offset`, () => {
      for (const offset of [0, 8, 64, 248]) assert.equal(addressOf(make(offset)), base + offset);
    });
  }

  test('of views over shared memory, and of pooled Buffers', () => {
    const shared = new SharedArrayBuffer(64);
    const start = addressOf(new Uint8Array(shared));
    assert.ok(start > 0 && start < 2 ** 47);
    assert.equal(addressOf(new Int32Array(shared, 32)), start + 32);
    const pooled = Buffer.from('pooled');
    assert.equal(addressOf(pooled), addressOf(new Uint8Array(pooled.buffer)) + pooled.byteOffset);
  });

  test('is stable across collections while the view is held', () => {
    const view = new Uint8Array(100_000);
    const before = addressOf(view);
    let garbage: unknown[] = [];
    for (let i = 0; i < 50; i++) garbage = [new Uint8Array(200_000), garbage.length];
    assert.equal(addressOf(view), before);
  });
});
