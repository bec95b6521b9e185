import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, SQE, SQE_FLAG, STATUS, statusName } from '../../src/abi/queue.js';
import type { DeviceMemory } from '../../src/driver/driver.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { addressOf } from '../../src/sys/memory.js';
import { execute, next, put, sampleText, withDevice } from './support-device.js';
import type { FlipperData } from './support-flipper.js';

/** A thread that writes into memory while the device reads it. */
class Flipper {
  readonly #worker: Worker;
  readonly #control = new SharedArrayBuffer(8);

  constructor(data: Omit<FlipperData, 'control'>) {
    this.#worker = new Worker(new URL('./support-flipper.js', import.meta.url), {
      workerData: { ...data, control: this.#control } satisfies FlipperData,
    });
  }

  get flips(): number {
    return Atomics.load(new Int32Array(this.#control), 1);
  }

  async started(): Promise<void> {
    while (this.flips === 0) await new Promise((resolve) => setImmediate(resolve));
  }

  async stop(): Promise<void> {
    const exit = once(this.#worker, 'exit');
    Atomics.store(new Int32Array(this.#control), 0, 1);
    await exit;
  }
}

const TEXT = sampleText(65536);
/** Rounds of eight submissions: at least so many, and no more if by then some were executed and some refused. */
const ROUNDS = 400;
const MAX_ROUNDS = 20_000;

/** Words that are wrong somewhere, and right somewhere else. */
function hostileWords(base: number): number[] {
  const high = Math.floor(base / 2 ** 32);
  return [
    ...[0, 1, -1, 2, 0x0101, 0x0102, 0x010101, 0x010201, 0x060101, 0x02060101, 0x010102],
    ...[100, 4096, 65536, 16 << 20, (16 << 20) + 1, 0x7fffffff],
    ...[base | 0, (base + 131072) | 0, (base + (1 << 18) - 100) | 0, high, high + 1, 0x7fff, 0x8000],
  ];
}

/** Submits good requests, which a thread changes meanwhile, beside an honest queue. Returns how they ended. */
async function race(
  queue: WvaQueue,
  honest: WvaQueue,
  memory: DeviceMemory,
  good: DeviceMemory,
): Promise<Map<string, number>> {
  const statuses = new Map<string, number>();
  const known = new Set<number>(Object.values(STATUS));
  const request = { opcode: OPCODE.compress, algorithm: ALGORITHM['deflate-raw'], level: 1 };
  const bothSeen = (): boolean => statuses.has('ok') && statuses.size > 1;
  for (let round = 0; round < ROUNDS || !bothSeen(); round++) {
    assert.ok(round < MAX_ROUNDS, `the changes were seen: ${[...statuses.keys()]}`);
    for (let i = 0; i < 8; i++) {
      put(queue.pair, {
        ...request,
        requestId: i,
        source: memory.iova,
        sourceLength: 512,
        destination: memory.iova + 131072,
        capacity: 4096,
      });
    }
    queue.publish();
    for (let i = 0; i < 8; i++) {
      const { status } = await next(queue);
      assert.ok(known.has(status), `status ${status}`);
      assert.notEqual(status, STATUS.engineFailed);
      statuses.set(statusName(status), (statuses.get(statusName(status)) ?? 0) + 1);
    }
    if (round % 10 !== 0) continue;
    const done = await execute(honest, {
      ...request,
      source: good.iova,
      sourceLength: 8192,
      destination: good.iova + 131072,
      capacity: 65536,
    });
    assert.equal(done.status, STATUS.ok);
    const out = good.mapping.bytes.subarray(131072, 131072 + done.produced);
    assert.ok(inflateRawSync(out).equals(TEXT.subarray(0, 8192)));
  }
  return statuses;
}

describe('memory that changes while the device reads it', () => {
  /*
   * A thread that gets the processor for a whole time slice changes every word of every slot, and a changed sequence
   * refuses a slot whatever the rest of it says: so the sequence has a round of its own.
   */
  for (const [what, offsets] of [
    ['fields', [1, 1, 3, 4, 5, 6, 7, 8, 9, 10]],
    ['sequences', [0]],
  ] as const) {
    test(`${what} of submissions: each completes or is refused, and nobody else is disturbed`, () =>
      withDevice({}, async (device) => {
        const queue = await device.queue(8);
        const honest = await device.queue(8);
        const memory = await device.memory(1 << 18);
        const good = await device.memory(1 << 18);
        good.mapping.bytes.set(TEXT);
        memory.mapping.bytes.set(TEXT);
        const flipper = new Flipper({
          address: addressOf(queue.pair.sq),
          length: queue.depth * SQE.bytes,
          recordWords: SQE.bytes / 4,
          offsets: [...offsets],
          values: hostileWords(memory.iova),
        });
        try {
          await flipper.started();
          const statuses = await race(queue, honest, memory, good);
          console.log(`${flipper.flips} changes; ${JSON.stringify(Object.fromEntries(statuses))}`);
        } finally {
          await flipper.stop();
        }
        for (let i = 0; i < 40; i++) {
          assert.equal((await execute(queue, { requestId: i })).requestId, i, 'the queue works as before');
        }
      }));
  }

  /** Offsets of the words of a record, all of them. */
  const everyWord = Array.from({ length: 16 }, (_, index) => index);
  const SOURCE_BYTES = 32768;
  const GUARD = 0xc3;

  for (const piece of [false, true]) {
    test(`a source that changes${piece ? ' under a piece' : ''}: nothing is written beyond the destination`, () =>
      withDevice({}, async (device) => {
        const queue = await device.queue(8);
        const memory = await device.memory(1 << 19);
        const destination = 1 << 18;
        memory.mapping.bytes.set(TEXT.subarray(0, SOURCE_BYTES));
        const flipper = new Flipper({
          address: memory.mapping.address,
          length: SOURCE_BYTES,
          recordWords: 16,
          offsets: everyWord,
          values: [0, -1, 0x61616161, 0x12345678, 0x00ff00ff, 0x7a797877],
        });
        try {
          await flipper.started();
          for (const level of [0, 1, 1, 1, 2, 3, 4, 5, 6, 6, 6, 7, 8, 9, 10, 11, 12]) {
            memory.mapping.bytes.set(TEXT.subarray(0, SOURCE_BYTES));
            for (const capacity of [8000, 10000, 14000, 33000]) {
              memory.mapping.bytes.fill(GUARD, destination);
              const done = await execute(queue, {
                opcode: OPCODE.compress,
                algorithm: ALGORITHM['deflate-raw'],
                level,
                flags: piece ? SQE_FLAG.piece : 0,
                source: memory.iova,
                sourceLength: SOURCE_BYTES,
                destination: memory.iova + destination,
                capacity,
              });
              assert.ok(done.produced <= capacity);
              const beyond = memory.mapping.bytes.subarray(destination + capacity);
              const first = beyond.findIndex((byte) => byte !== GUARD);
              assert.equal(first, -1, `level ${level}: written ${first} bytes beyond ${capacity}`);
            }
          }
        } finally {
          await flipper.stop();
        }
      }));
  }

  test('a compressed source and a destination that change: nothing is written beyond the destination', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(8);
      const memory = await device.memory(1 << 19);
      const destination = 1 << 18;
      const packed = deflateRawSync(TEXT.subarray(0, SOURCE_BYTES));
      const flippers = [
        [memory.mapping.address, packed.length & ~63] as const,
        [memory.mapping.address + destination, 16384] as const,
      ].map(
        ([address, length]) =>
          new Flipper({ address, length, recordWords: 16, offsets: everyWord, values: [0, -1, 0x12345678] }),
      );
      try {
        for (const flipper of flippers) await flipper.started();
        for (let round = 0; round < 25; round++) {
          memory.mapping.bytes.set(packed);
          for (const capacity of [16384, 20000, SOURCE_BYTES]) {
            memory.mapping.bytes.fill(GUARD, destination + 16384);
            const done = await execute(queue, {
              opcode: OPCODE.decompress,
              algorithm: ALGORITHM['deflate-raw'],
              flags: SQE_FLAG.crc32,
              source: memory.iova,
              sourceLength: packed.length,
              destination: memory.iova + destination,
              capacity,
            });
            assert.ok(done.produced <= capacity);
            const beyond = memory.mapping.bytes.subarray(destination + capacity);
            assert.ok(beyond.every((byte) => byte === GUARD));
          }
        }
      } finally {
        for (const flipper of flippers) await flipper.stop();
      }
    }));
});
