import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { LIMITS, SQE } from '../../src/abi/queue.js';
import { DEVICE_REGISTERS, REGION } from '../../src/abi/registers.js';
import { type EmbeddedOptions, startEmbedded } from '../../src/device/embedded.js';
import { Completion, type DeviceMemory, type DriverDevice } from '../../src/driver/driver.js';
import { wva } from '../../src/driver/wva/wva.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import type { QueuePair } from '../../src/queue/queue-pair.js';
import { closeFds, signalEventfd } from '../../src/sys/fd.js';
import type { Mapping } from '../../src/sys/memory.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';

/** How long anything awaited may take before the test gives up: a bound against hanging, not a claim about speed. */
export const PATIENCE_MS = 20_000;

/** Waits, polling, until `condition` holds. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const end = Date.now() + patienceMs;
  while (!(await condition())) {
    if (Date.now() > end) assert.fail(`gave up waiting: ${what}`);
    await sleep(1);
  }
}

/** Descriptors that this process has open. */
export function openFds(): number {
  return readdirSync('/proc/self/fd').length;
}

/** The fields of a submission as raw values; what is left out is zero. */
export interface RawSqe {
  opcode?: number;
  algorithm?: number;
  level?: number;
  flags?: number;
  requestId?: number;
  session?: number;
  source?: number | bigint;
  sourceLength?: number;
  destination?: number | bigint;
  capacity?: number;
  /** Words from `auxLow` on. */
  reserved?: number[];
  /** Instead of the right sequence. */
  sequence?: number;
}

/** Writes a submission's words at `at`, all but the sequence. */
export function fill(sq: Int32Array, at: number, sqe: RawSqe): void {
  const put = (offset: number, value: number): void => {
    sq[at + (offset >> 2)] = value | 0;
  };
  const wide = (offset: number, value: number | bigint): void => {
    const big = BigInt.asUintN(64, BigInt(value));
    put(offset, Number(big & 0xffffffffn));
    put(offset + 4, Number(big >> 32n));
  };
  put(
    SQE.offset.opcode,
    (sqe.opcode ?? 0) | ((sqe.algorithm ?? 0) << 8) | ((sqe.level ?? 0) << 16) | ((sqe.flags ?? 0) << 24),
  );
  put(SQE.offset.requestId, sqe.requestId ?? 0);
  put(SQE.offset.session, sqe.session ?? 0);
  wide(SQE.offset.sourceLow, sqe.source ?? 0);
  put(SQE.offset.sourceLength, sqe.sourceLength ?? 0);
  put(SQE.offset.destinationCapacity, sqe.capacity ?? 0);
  wide(SQE.offset.destinationLow, sqe.destination ?? 0);
  for (let i = 0; i < 6; i++) put(SQE.offset.auxLow + i * 4, sqe.reserved?.[i] ?? 0);
  if (sqe.sequence !== undefined) put(SQE.offset.sequence, sqe.sequence);
}

/** Reserves a slot and writes raw words into it; not yet published. */
export function put(pair: QueuePair, sqe: RawSqe): void {
  const at = pair.reserve();
  assert.ok(at >= 0, 'the queue has room');
  fill(pair.sq, at, sqe);
}

/** The next completion of a queue, awaited. */
export async function next(queue: WvaQueue): Promise<Completion> {
  const completion = new Completion();
  const end = Date.now() + PATIENCE_MS;
  while (!queue.poll(completion)) {
    if (queue.failed) assert.fail('the device failed');
    if (Date.now() > end) assert.fail('no completion came');
    await new Promise((resolve) => setImmediate(resolve));
  }
  return completion;
}

/** Publishes one raw submission and waits for its completion; nothing else may be in flight. */
export async function execute(queue: WvaQueue, sqe: RawSqe): Promise<Completion> {
  put(queue.pair, sqe);
  queue.publish();
  return next(queue);
}

/** An embedded device with its driver, and what a hostile owner of its queues needs beside it. */
export class TestDevice {
  readonly transport: VfioUserTransport;
  readonly driver: DriverDevice;
  /** The doorbell pages, mapped a second time. */
  readonly doorbells: Mapping;
  readonly status: Mapping;
  readonly #wake: number[];
  readonly #memories: DeviceMemory[] = [];
  readonly #end: () => Promise<void>;

  private constructor(
    transport: VfioUserTransport,
    driver: DriverDevice,
    doorbells: Mapping,
    status: Mapping,
    wake: number[],
    end: () => Promise<void>,
  ) {
    this.transport = transport;
    this.driver = driver;
    this.doorbells = doorbells;
    this.status = status;
    this.#wake = wake;
    this.#end = end;
  }

  static async open(options: Partial<EmbeddedOptions> = {}): Promise<TestDevice> {
    const embedded = await startEmbedded({
      sva: false,
      maxThreads: 1,
      spinMicroseconds: 100,
      disabledEngines: [],
      faults: [],
      ...options,
    });
    const transport = await VfioUserTransport.connect(embedded.socket, 'embedded', embedded.nudge);
    void embedded.ended.then(() => transport.abandon(new Error('the device thread has ended')));
    const driver = await wva.open(transport);
    const doorbells = await transport.mapRegion(REGION.doorbells, 0, LIMITS.maxQueues * 4096);
    const status = await transport.mapRegion(REGION.status, 0, 4096);
    const wake = (await transport.wakeFds(REGION.doorbells)).map(({ fd }) => fd);
    return new TestDevice(transport, driver, doorbells, status, wake, embedded.end);
  }

  async queue(depth: number, startIndex = 0): Promise<WvaQueue> {
    return (await this.driver.createQueue({ depth, startIndex })) as WvaQueue;
  }

  /** Memory that the device reaches, freed on close. */
  async memory(length: number): Promise<DeviceMemory> {
    const memory = await this.driver.allocate(length);
    this.#memories.push(memory);
    return memory;
  }

  /** The words of a queue's doorbell page. */
  page(queue: number): Int32Array {
    return this.doorbells.words.subarray(queue * 1024, (queue + 1) * 1024);
  }

  /** Stores any word as a queue's doorbell, and wakes the device. */
  ring(queue: number, word: number): void {
    Atomics.store(this.page(queue), 0, word | 0);
    this.wake();
  }

  wake(): void {
    signalEventfd(this.#wake[0]!);
  }

  /** A register of region 0, read over the socket. */
  async register(field: keyof typeof DEVICE_REGISTERS.offset): Promise<number> {
    const bytes = await this.transport.readRegion(REGION.registers, 0, DEVICE_REGISTERS.bytes);
    return bytes.readUInt32LE(DEVICE_REGISTERS.offset[field]);
  }

  async close(): Promise<void> {
    this.doorbells.unmap();
    this.status.unmap();
    closeFds(this.#wake);
    await this.driver.close();
    await this.#end();
    for (const memory of this.#memories) await memory.free();
  }
}

/** Runs a test with a device of its own, closed at its end. */
export async function withDevice(
  options: Partial<EmbeddedOptions>,
  body: (device: TestDevice) => Promise<void>,
): Promise<void> {
  const device = await TestDevice.open(options);
  try {
    await body(device);
  } finally {
    await device.close();
  }
}

/** Text that compresses, but not to nothing. */
export function sampleText(length: number, seed = 1): Buffer {
  const random = randomNumbers(seed);
  const words = Array.from({ length: 400 }, () =>
    Buffer.from(Array.from({ length: 2 + (random() % 9) }, () => 97 + (random() % 26))).toString(),
  );
  const parts: string[] = [];
  for (let size = 0; size < length; ) {
    const word = words[random() % (1 + (random() % words.length))]!;
    parts.push(word);
    size += word.length + 1;
  }
  return Buffer.from(parts.join(' ')).subarray(0, length);
}

/** A repeatable source of unsigned 32-bit numbers (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}

/** The seed of a random test: WARPDRIVE_TEST_SEED, or a fixed one. Printed, so that a failure can be repeated. */
export function recordedSeed(): number {
  const seed = Number(process.env['WARPDRIVE_TEST_SEED'] ?? 20250131);
  console.log(`seed ${seed} (set WARPDRIVE_TEST_SEED to repeat another run)`);
  return seed;
}
