import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { gunzipSync, inflateRawSync, inflateSync } from 'node:zlib';
import { ALGORITHM, DEFLATE_ALGORITHMS } from '../../src/abi/algorithms.js';
import { LIMITS, OPCODE, SQE_FLAG, STATUS, statusName } from '../../src/abi/queue.js';
import { RULES } from '../../src/device/rules.js';
import type { DeviceMemory } from '../../src/driver/driver.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { closeFd } from '../../src/sys/fd.js';
import { createMemfd } from '../../src/sys/memfd.js';
import { Mapping } from '../../src/sys/memory.js';
import { execute, next, put, type RawSqe, sampleText, TestDevice } from './support-device.js';

const PATTERN = 0xa5;
const TEXT = sampleText(4096);

/** Each hostile submission of the table is refused as the specification says, and leaves no other trace. */
describe('malformed submissions, with addresses checked', () => {
  let device: TestDevice;
  let queue: WvaQueue;
  let memory: DeviceMemory;
  let readOnly: Mapping;
  let readOnlyIova: number;
  const MEMORY_BYTES = 1 << 20;
  const DESTINATION = 512 * 1024;

  before(async () => {
    device = await TestDevice.open();
    queue = await device.queue(8);
    memory = await device.memory(MEMORY_BYTES);
    const fd = createMemfd('read-only', 65536);
    readOnly = Mapping.shared(fd, 0, 65536, 'read-write');
    readOnlyIova = 0x10_0000_0000;
    await device.transport.dmaMap({ fd, offset: 0, iova: readOnlyIova, length: 65536, writable: false });
    closeFd(fd);
  });
  after(async () => {
    await device.close();
    readOnly.unmap();
  });

  const good = (): RawSqe => ({
    opcode: OPCODE.compress,
    algorithm: ALGORITHM['deflate-raw'],
    level: 1,
    requestId: 7,
    source: memory.iova,
    sourceLength: TEXT.length,
    destination: memory.iova + DESTINATION,
    capacity: 8192,
  });

  async function theNextGoodRequestWorks(): Promise<void> {
    const done = await execute(queue, good());
    assert.equal(done.status, STATUS.ok);
    const out = memory.mapping.bytes.subarray(DESTINATION, DESTINATION + done.produced);
    assert.deepEqual(inflateRawSync(out), TEXT);
  }

  async function refused(sqe: RawSqe, status: number): Promise<void> {
    memory.mapping.bytes.fill(PATTERN);
    memory.mapping.bytes.set(TEXT);
    readOnly.bytes.fill(PATTERN);
    const before = await device.driver.counters(queue.id);
    const done = await execute(queue, { requestId: 4242, ...sqe });
    assert.equal(statusName(done.status), statusName(status));
    assert.equal(done.requestId, 4242);
    assert.equal(done.produced, 0);
    assert.equal(done.consumed, 0);
    const counted = await device.driver.counters(queue.id);
    assert.equal(counted.completed, before.completed + 1);
    assert.equal(counted.refused, before.refused + (status < STATUS.noSpace ? 1 : 0), 'counted as refused');
    assert.equal(counted.staleSlots, before.staleSlots);
    const bytes = Buffer.from(memory.mapping.bytes);
    assert.ok(bytes.subarray(0, TEXT.length).equals(TEXT), 'the source is as it was');
    assert.ok(
      bytes.subarray(TEXT.length).every((byte) => byte === PATTERN),
      'no byte was written',
    );
    assert.ok(
      readOnly.bytes.every((byte) => byte === PATTERN),
      'no byte of read-only memory was written',
    );
    await theNextGoodRequestWorks();
  }

  const table: [string, (sqe: RawSqe) => RawSqe, number][] = [];
  const field = (name: string, change: (sqe: RawSqe) => Partial<RawSqe>, status: number): void => {
    table.push([name, (sqe) => ({ ...sqe, ...change(sqe), requestId: 4242 }), status]);
  };
  for (const opcode of [19, 20, 127, 128, 255])
    field(`opcode ${opcode}`, () => ({ opcode }), STATUS.badOpcode);
  for (const opcode of [OPCODE.compress, OPCODE.decompress]) {
    for (const algorithm of [0, 8, 127, 128, 255]) {
      field(`opcode ${opcode}, algorithm ${algorithm}`, () => ({ opcode, algorithm }), STATUS.unsupported);
    }
    for (const level of [13, 14, 127, 128, 255]) {
      field(`opcode ${opcode}, level ${level}`, () => ({ opcode, level }), STATUS.unsupported);
    }
    for (const capacity of [0, LIMITS.maxTransfer + 1, 0x80000000, 0xffffffff]) {
      field(`opcode ${opcode}, capacity ${capacity}`, () => ({ opcode, capacity }), STATUS.badLength);
    }
    for (const sourceLength of [LIMITS.maxTransfer + 1, 0x80000000, 0xffffffff]) {
      field(`opcode ${opcode}, length ${sourceLength}`, () => ({ opcode, sourceLength }), STATUS.badLength);
    }
    field(
      `opcode ${opcode}, the largest length, beyond the region`,
      () => ({ opcode, sourceLength: LIMITS.maxTransfer }),
      STATUS.badAddress,
    );
    field(
      `opcode ${opcode}, the largest capacity, beyond the region`,
      () => ({ opcode, capacity: LIMITS.maxTransfer }),
      STATUS.badAddress,
    );
    const addresses: [string, () => number | bigint][] = [
      ['zero', () => 0],
      ['one', () => 1],
      ['unmapped', () => 0x5000_0000_0000],
      ['just below the region', () => memory.iova - 1],
      ['one byte past the end', () => memory.iova + MEMORY_BYTES - 4096 + 1],
      ['the end of the region', () => memory.iova + MEMORY_BYTES],
      ['2^47 - 1', () => 2 ** 47 - 1],
      ['2^47', () => 2 ** 47],
      ['above 2^47', () => 2 ** 47 + memory.iova],
      ['2^48', () => 2 ** 48],
      ['2^53 - 1', () => 2 ** 53 - 1],
      ['2^53 + 1', () => 2n ** 53n + 1n],
      ['2^63', () => 2n ** 63n],
      ['the last byte of 64 bits', () => 2n ** 64n - 1n],
      ['wrapping past 2^64 into the region', () => 2n ** 64n - 2048n],
      ['the right low half, a wrong high half', () => BigInt(memory.iova) + (1n << 40n)],
      ['the sign bit of the low half', () => 0x80000000],
    ];
    for (const [what, address] of addresses) {
      field(
        `opcode ${opcode}, source ${what}`,
        () => ({ opcode, source: address(), sourceLength: 4096 }),
        STATUS.badAddress,
      );
      field(
        `opcode ${opcode}, destination ${what}`,
        () => ({ opcode, destination: address(), capacity: 4096 }),
        STATUS.badAddress,
      );
    }
    field(
      `opcode ${opcode}, destination in a read-only region`,
      () => ({ opcode, destination: readOnlyIova }),
      STATUS.badAddress,
    );
    field(`opcode ${opcode}, CRC-32 and Adler-32`, () => ({ opcode, flags: 6 }), STATUS.badField);
    for (const algorithm of [ALGORITHM.deflate, ALGORITHM.gzip]) {
      field(
        `opcode ${opcode}, a piece of format ${algorithm}`,
        () => ({ opcode, algorithm, flags: SQE_FLAG.piece }),
        STATUS.badField,
      );
    }
    for (const session of [1, 2, 0xfff, 0x1001, 0x7fffffff, 0x80000000, 0xffffffff]) {
      field(`opcode ${opcode}, session ${session}`, () => ({ opcode, session }), STATUS.badSession);
    }
  }
  field(
    'a piece to decompress',
    () => ({ opcode: OPCODE.decompress, flags: SQE_FLAG.piece }),
    STATUS.badField,
  );
  for (const opcode of Object.values(OPCODE)) {
    for (const flags of [64, 128, 192, 255]) {
      field(`opcode ${opcode}, flags ${flags}`, () => ({ opcode, flags }), STATUS.badField);
    }
    const rule = RULES[opcode]!;
    const unused = [0, 1, 2, 3, 4, 5].filter((word) =>
      word < 3 ? rule.aux === 'none' : word - 3 >= rule.params,
    );
    for (const word of unused) {
      for (const value of [1, -1, 0x80000000]) {
        const reserved = [0, 0, 0, 0, 0, 0];
        reserved[word] = value;
        field(
          `opcode ${opcode}, unused word ${word} ${value}`,
          () => ({ opcode, reserved }),
          STATUS.badField,
        );
      }
    }
  }
  for (const algorithm of [0, 6, 8, 255]) {
    field(
      `a stream of algorithm ${algorithm}`,
      () => ({ opcode: OPCODE.sessionOpen, algorithm }),
      STATUS.unsupported,
    );
  }
  for (const session of [0, 1, 1025, 0xfff, 0x7fffffff, 0xffffffff]) {
    field(`closing session ${session}`, () => ({ opcode: OPCODE.sessionClose, session }), STATUS.badSession);
  }

  for (const [name, change, status] of table) {
    test(`${name}: ${statusName(status)}`, () => refused(change(good()), status));
  }

  test('a source in read-only memory is read', async () => {
    readOnly.bytes.set(TEXT);
    const done = await execute(queue, { ...good(), source: readOnlyIova, flags: SQE_FLAG.crc32 });
    assert.equal(done.status, STATUS.ok);
    const out = memory.mapping.bytes.subarray(DESTINATION, DESTINATION + done.produced);
    assert.deepEqual(inflateRawSync(out), TEXT);
  });

  test('source and destination may end on the last byte of a region', async () => {
    const at = MEMORY_BYTES - TEXT.length;
    memory.mapping.bytes.set(TEXT, at);
    const first = await execute(queue, { ...good(), source: memory.iova + at });
    assert.equal(first.status, STATUS.ok);
    const room = first.produced + 16;
    memory.mapping.bytes.set(TEXT);
    const second = await execute(queue, {
      ...good(),
      destination: memory.iova + MEMORY_BYTES - room,
      capacity: room,
    });
    assert.equal(second.status, STATUS.ok);
    const out = memory.mapping.bytes.subarray(MEMORY_BYTES - room, MEMORY_BYTES - room + second.produced);
    assert.deepEqual(inflateRawSync(out), TEXT);
  });

  test('two regions side by side are not one', async () => {
    const fd = createMemfd('pair', 8192);
    const iova = 0x20_0000_0000;
    for (const offset of [0, 4096]) {
      await device.transport.dmaMap({ fd, offset, iova: iova + offset, length: 4096, writable: true });
    }
    closeFd(fd);
    const across = await execute(queue, { ...good(), destination: iova + 2048, capacity: 4096 });
    assert.equal(across.status, STATUS.badAddress);
    const within = await execute(queue, {
      ...good(),
      sourceLength: 100,
      destination: iova + 4096,
      capacity: 4096,
    });
    assert.equal(within.status, STATUS.ok);
    for (const offset of [0, 4096]) await device.transport.dmaUnmap(iova + offset, 4096);
    const gone = await execute(queue, {
      ...good(),
      sourceLength: 100,
      destination: iova + 4096,
      capacity: 4096,
    });
    assert.equal(gone.status, STATUS.badAddress);
  });

  test('an empty source needs no address', async () => {
    for (const [algorithm, open] of [
      [ALGORITHM['deflate-raw'], inflateRawSync],
      [ALGORITHM.deflate, inflateSync],
      [ALGORITHM.gzip, gunzipSync],
    ] as const) {
      for (let level = 0; level <= 12; level++) {
        const done = await execute(queue, { ...good(), algorithm, level, source: 0, sourceLength: 0 });
        assert.equal(done.status, STATUS.ok, `algorithm ${algorithm}, level ${level}`);
        const out = memory.mapping.bytes.subarray(DESTINATION, DESTINATION + done.produced);
        assert.equal(open(out).length, 0);
      }
      const empty = await execute(queue, {
        ...good(),
        opcode: OPCODE.decompress,
        algorithm,
        source: 0,
        sourceLength: 0,
      });
      assert.equal(statusName(empty.status), 'truncated');
    }
  });

  test('a destination too small is noSpace, and nothing lies beyond its end', async () => {
    memory.mapping.bytes.set(TEXT);
    for (let level = 0; level <= 12; level++) {
      for (const flags of [0, SQE_FLAG.piece]) {
        const whole = await execute(queue, { ...good(), level, flags });
        assert.equal(whole.status, STATUS.ok);
        for (const capacity of [1, 2, 5, 8, 17, whole.produced >> 1, whole.produced - 6]) {
          memory.mapping.bytes.fill(PATTERN, DESTINATION, DESTINATION + 16384);
          const done = await execute(queue, { ...good(), level, flags, capacity });
          assert.equal(statusName(done.status), 'noSpace', `level ${level}, ${capacity} bytes`);
          assert.ok(
            memory.mapping.bytes
              .subarray(DESTINATION + capacity, DESTINATION + 16384)
              .every((byte) => byte === PATTERN),
            `level ${level}, flags ${flags}: nothing beyond ${capacity} bytes`,
          );
        }
      }
    }
  });

  test('garbage to decompress is corrupt or truncated, and stays within its destination', async () => {
    for (let byte = 0; byte < 256; byte++) {
      memory.mapping.bytes.fill(PATTERN, DESTINATION, DESTINATION + 16384);
      memory.mapping.bytes.fill(byte, 0, 300);
      for (const name of DEFLATE_ALGORITHMS) {
        const algorithm = ALGORITHM[name];
        const done = await execute(queue, {
          ...good(),
          opcode: OPCODE.decompress,
          algorithm,
          sourceLength: 300,
          capacity: 1000,
        });
        assert.ok(
          ['corrupt', 'truncated', 'noSpace', 'ok'].includes(statusName(done.status)),
          statusName(done.status),
        );
        assert.ok(
          memory.mapping.bytes
            .subarray(DESTINATION + 1000, DESTINATION + 16384)
            .every((value) => value === PATTERN),
        );
      }
    }
    memory.mapping.bytes.set(TEXT);
    await theNextGoodRequestWorks();
  });

  test('a slot with a stale sequence is answered, counted and not executed', async () => {
    memory.mapping.bytes.set(TEXT);
    const wrong = await device.driver.counters(queue.id);
    for (const sequence of [0, 1, -1, 0x7fffffff]) {
      memory.mapping.bytes.fill(PATTERN, DESTINATION);
      const done = await execute(queue, { ...good(), requestId: 99, sequence });
      assert.equal(statusName(done.status), 'staleSlot');
      assert.equal(done.requestId, 99);
      assert.equal(done.produced, 0);
      assert.ok(memory.mapping.bytes.subarray(DESTINATION).every((byte) => byte === PATTERN));
    }
    const counted = await device.driver.counters(queue.id);
    assert.equal(counted.staleSlots, wrong.staleSlots + 4);
    assert.equal(counted.refused, wrong.refused);
    await theNextGoodRequestWorks();
  });

  test('good and bad submissions in one batch each get their own answer', async () => {
    const other = await device.queue(64);
    const expected = new Map<number, number>();
    for (let i = 0; i < 64; i++) {
      const bad = i % 3;
      expected.set(i, [STATUS.ok, STATUS.badOpcode, STATUS.badField][bad]!);
      put(other.pair, {
        opcode: [OPCODE.noop, 200, OPCODE.noop][bad]!,
        flags: bad === 2 ? 64 : 0,
        requestId: i,
      });
    }
    other.publish();
    for (let i = 0; i < 64; i++) {
      const done = await next(other);
      assert.equal(done.status, expected.get(done.requestId));
      expected.delete(done.requestId);
    }
    assert.equal(expected.size, 0);
    await other.release();
  });
});
