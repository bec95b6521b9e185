import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, STATUS } from '../../src/abi/queue.js';
import { REGION } from '../../src/abi/registers.js';
import { randomNumbers, recordedSeed } from '../device/support-device.js';
import { Attack } from './support-attack.js';
import { HostileDevice, type HostileQueue } from './support-hostile-queue.js';

const BYTES = 1 << 17;
const HALF = BYTES / 2;
const FILL = 0xa5;
const ROUNDS = 6;
/** No fewer bytes in a row are taken for the pattern. */
const TRACE_BYTES = 8;

/**
 * A raw deflate stream whose first symbol copies three bytes from before its start, or a whole stream's length before:
 * one final block of fixed codes (RFC 1951, 3.2.6), length code 257, distance code 0 or 29.
 */
const BACK_REFERENCES = [[0, 0, 0] as const, [29, 0x1fff, 13] as const].map(([code, extra, extraBits]) => {
  const bits = [1, 1, 0];
  const msbFirst = (value: number, length: number): void => {
    for (let bit = length - 1; bit >= 0; bit--) bits.push((value >> bit) & 1);
  };
  msbFirst(1, 7);
  msbFirst(code, 5);
  for (let bit = 0; bit < extraBits; bit++) bits.push((extra >> bit) & 1);
  msbFirst(0, 7);
  const bytes = Buffer.alloc(Math.ceil(bits.length / 8));
  bits.forEach((bit, index) => {
    bytes[index >> 3]! |= bit << (index & 7);
  });
  return bytes;
});

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Fills all that it can reach with a pattern, lets the device work on it in every way, and dies. */
async function plant(socket: string, pattern: Buffer, compressed: Buffer): Promise<void> {
  const device = await HostileDevice.connect(socket);
  const memory = await device.memory(BYTES);
  const queue = await device.queue(3, 64);
  bufferOf(memory.mapping.bytes).fill(pattern);
  bufferOf(device.doorbells.bytes.subarray(0, 3 * 4096)).fill(pattern);
  const { iova } = memory;
  const request = { source: iova, sourceLength: 4096, destination: iova + HALF, capacity: HALF };
  for (let level = 0; level <= 12; level++) {
    for (const algorithm of Object.values(ALGORITHM)) {
      await queue.execute({ ...request, opcode: OPCODE.compress, algorithm, level });
    }
  }
  // A session with the pattern in its window, in the middle of a stream.
  const opened = await queue.execute({ opcode: OPCODE.sessionOpen, algorithm: ALGORITHM['deflate-raw'] });
  assert.equal(opened.status, STATUS.ok);
  memory.mapping.bytes.set(compressed);
  const fed = await queue.execute({
    ...request,
    opcode: OPCODE.decompress,
    algorithm: ALGORITHM['deflate-raw'],
    session: opened.result,
    sourceLength: compressed.length,
  });
  assert.equal(fed.status, STATUS.ok);
  assert.ok(fed.produced > 0);
  // The pattern stands in slots that are published and never completed, too.
  for (let slot = 0; slot < 32; slot++) queue.put({ sequence: 0 }).fill(pattern.readInt32LE(0), 1);
  await device.close();
}

function looksClean(where: string, bytes: Uint8Array, pattern: Buffer): void {
  const view = bufferOf(bytes);
  for (let shift = 0; shift + TRACE_BYTES <= pattern.length; shift++) {
    assert.equal(
      view.indexOf(pattern.subarray(shift, shift + TRACE_BYTES)),
      -1,
      `the pattern is in ${where}`,
    );
  }
}

/** Makes the device fail, and looks at what it left in the destination. */
async function provoke(queue: HostileQueue, bytes: Uint8Array, iova: number, pattern: Buffer): Promise<void> {
  const request = { source: iova, sourceLength: 4096, destination: iova + HALF, capacity: HALF };
  for (const input of [...BACK_REFERENCES, Buffer.alloc(300, 0xff), Buffer.from([0x1f, 0x8b, 8])]) {
    const opened = await queue.execute({ opcode: OPCODE.sessionOpen, algorithm: ALGORITHM['deflate-raw'] });
    for (const session of [0, opened.result]) {
      for (const algorithm of session === 0 ? Object.values(ALGORITHM) : [ALGORITHM['deflate-raw']]) {
        bytes.fill(FILL);
        bytes.set(input);
        const done = await queue.execute({
          ...request,
          opcode: OPCODE.decompress,
          algorithm,
          session,
          sourceLength: input.length,
        });
        assert.notEqual(done.status, STATUS.ok, `what was never sent is not there: ${input.toString('hex')}`);
        assert.equal(done.produced, 0);
        looksClean('the output of a failed request', bytes.subarray(HALF), pattern);
      }
    }
    await queue.execute({ opcode: OPCODE.sessionClose, session: opened.result });
  }
  for (let level = 0; level <= 12; level++) {
    for (const capacity of [1, 7, 100, 1000]) {
      bytes.fill(FILL);
      bytes.set(Buffer.from(Array.from({ length: 4096 }, (_, at) => Math.imul(at, at) >>> 3)));
      await queue.execute({
        ...request,
        opcode: OPCODE.compress,
        algorithm: ALGORITHM.gzip,
        level,
        capacity,
      });
      looksClean('an output without room', bytes.subarray(HALF), pattern);
      assert.ok(bytes.subarray(HALF + capacity).every((byte) => byte === FILL));
    }
  }
}

describe('memory that a client leaves behind', () => {
  test('nothing of it is found by the next one: rings, doorbells, registers, sessions, failed requests', async (t) => {
    const seed = recordedSeed();
    const random = randomNumbers(seed);
    const attack = await Attack.start(t);
    const { socket } = attack.broker;
    for (let round = 0; round < ROUNDS; round++) {
      const pattern = Buffer.from(Array.from({ length: 32 }, () => 1 + (random() % 254)));
      // One stored block that is not the last, so that the stream waits for more.
      const body = Buffer.alloc(32_000).fill(pattern);
      const header = Buffer.from([0, 0, 0, 0, 0]);
      header.writeUInt16LE(body.length, 1);
      header.writeUInt16LE(~body.length & 0xffff, 3);
      await plant(socket, pattern, Buffer.concat([header, body]));

      const device = await HostileDevice.connect(socket);
      looksClean('the doorbell pages', device.doorbells.bytes, pattern);
      const memory = await device.memory(BYTES);
      const queue = await device.queue(round % 4, 64);
      looksClean('the rings', new Uint8Array(queue.sq.buffer), pattern);
      looksClean('the doorbell pages', device.doorbells.bytes, pattern);
      looksClean('fresh memory', memory.mapping.bytes, pattern);
      for (const region of [REGION.registers, REGION.status, REGION.config]) {
        const { length } = await device.transport.regionInfo(region);
        looksClean(`region ${region}`, await device.transport.readRegion(region, 0, length), pattern);
      }
      await provoke(queue, memory.mapping.bytes, memory.iova, pattern);
      looksClean('the completions', new Uint8Array(queue.cq.buffer), pattern);
      await device.close();
    }
    await attack.survived();
  });
});
