import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, SQE_FLAG, STATUS } from '../../src/abi/queue.js';
import { crc32c } from '../support/crc32c.js';
import { execute, type RawSqe, sampleText, withDevice } from './support-device.js';

/* Checksums and memory as requests, with every engine and with those alone that need no library. */

const LIBRARIES = ['isa-l', 'libdeflate', 'zlib', 'lz4', 'zstd', 'brotli', 'xxhash', 'memory'];

for (const [mode, disabledEngines] of Object.entries({ 'all engines': [], 'no library': LIBRARIES })) {
  describe(`requests with ${mode}`, () => {
    test('copies tell the CRC-32C of what they moved', () =>
      withDevice({ disabledEngines }, async (device) => {
        const queue = await device.queue(8);
        const memory = await device.memory(1 << 18);
        const { bytes } = memory.mapping;
        const text = sampleText(9001);
        bytes.set(text);
        const copy: RawSqe = {
          opcode: OPCODE.copy,
          source: memory.iova,
          sourceLength: text.length,
          destination: memory.iova + 65536,
          capacity: text.length,
        };
        const plain = await execute(queue, copy);
        assert.deepEqual([plain.status, plain.result], [STATUS.ok, 0]);
        assert.ok(text.equals(bytes.subarray(65536, 65536 + text.length)));
        const summed = await execute(queue, { ...copy, flags: SQE_FLAG.crc32c });
        assert.deepEqual([summed.status, summed.result >>> 0], [STATUS.ok, crc32c(text)]);
        // Ranges that overlap: what the source was, although it is no more.
        const overlapping = { ...copy, destination: memory.iova + 1000, flags: SQE_FLAG.crc32c };
        const moved = await execute(queue, overlapping);
        assert.deepEqual([moved.status, moved.result >>> 0], [STATUS.ok, crc32c(text)]);
        assert.ok(text.equals(bytes.subarray(1000, 1000 + text.length)));
        const second = memory.iova + 131072;
        bytes.set(text);
        const dual = {
          ...copy,
          opcode: OPCODE.dualCopy,
          flags: SQE_FLAG.crc32c,
          reserved: [second % 2 ** 32, Math.floor(second / 2 ** 32), text.length],
        };
        const both = await execute(queue, dual);
        assert.deepEqual([both.status, both.result >>> 0], [STATUS.ok, crc32c(text)]);
        assert.ok(text.equals(bytes.subarray(131072, 131072 + text.length)));
        const empty = { opcode: OPCODE.copy, flags: SQE_FLAG.crc32c };
        const nothing = await execute(queue, empty);
        assert.deepEqual([nothing.status, nothing.result, nothing.produced], [STATUS.ok, 0, 0]);
        const narrow = await execute(queue, { ...copy, capacity: text.length - 1 });
        assert.equal(narrow.status, STATUS.noSpace);
      }));

    test('checksums give both halves, and go on', () =>
      withDevice({ disabledEngines }, async (device) => {
        const queue = await device.queue(8);
        const memory = await device.memory(4096);
        memory.mapping.bytes.set(Buffer.from('123456789'));
        const ask = (algorithm: number, from: number, length: number, low = 0, high = 0) =>
          execute(queue, {
            opcode: OPCODE.checksum,
            algorithm,
            source: memory.iova + from,
            sourceLength: length,
            reserved: [0, 0, 0, low, high],
          });
        const crc64 = ALGORITHM['crc64-ecma'];
        const head = await ask(crc64, 0, 4);
        const whole = await ask(crc64, 4, 5, head.result, head.produced);
        assert.deepEqual([whole.result >>> 0, whole.produced >>> 0], [0xdf1939fa, 0x995dc9bb]);
        assert.equal((await ask(ALGORITHM.crc32c, 0, 9)).result >>> 0, 0xe3069283);
        assert.equal((await ask(ALGORITHM.crc32, 0, 9)).result >>> 0, 0xcbf43926);
        assert.equal((await ask(ALGORITHM.adler32, 0, 9)).result >>> 0, 0x091e01de);
        assert.equal((await ask(ALGORITHM.crc32, 0, 9, 0, 1)).status, STATUS.badField);
        assert.equal((await ask(ALGORITHM.sha256, 0, 9)).status, STATUS.unsupported);
        const xxh = await ask(ALGORITHM.xxh64, 0, 9);
        if (mode === 'no library') assert.equal(xxh.status, STATUS.unsupported);
        else if (xxh.status === STATUS.ok)
          assert.equal((await ask(ALGORITHM.xxh64, 0, 9, 1)).status, STATUS.badField);
      }));
  });
}
