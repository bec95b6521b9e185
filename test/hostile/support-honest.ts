import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateRawSync, deflateSync, gunzipSync, gzipSync, inflateRawSync, inflateSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, STATUS } from '../../src/abi/queue.js';
import {
  Completion,
  type DeviceMemory,
  type DeviceQueue,
  type DriverDevice,
  Submission,
} from '../../src/driver/driver.js';
import { sampleText } from '../device/support-device.js';

const AREA = 1 << 17;
const DEPTH = 16;
const PATIENCE_MS = 30_000;
/** Looks without waiting, before others get the processor. */
const QUICK_LOOKS = 20;

const FORMATS = [
  { algorithm: ALGORITHM['deflate-raw'], pack: deflateRawSync, unpack: inflateRawSync },
  { algorithm: ALGORITHM.deflate, pack: deflateSync, unpack: inflateSync },
  { algorithm: ALGORITHM.gzip, pack: gzipSync, unpack: gunzipSync },
];

const TEXT = sampleText(AREA / 2);

/** A client that keeps to the protocol, and compares all that comes back with zlib. */
export class HonestClient {
  rounds = 0;
  readonly #device: DriverDevice;
  readonly #queue: DeviceQueue;
  readonly #memory: DeviceMemory;
  readonly #request = new Submission();
  #running: Promise<void> | undefined;
  #stopped = false;
  #ended = false;
  #error: unknown;

  private constructor(device: DriverDevice, queue: DeviceQueue, memory: DeviceMemory) {
    this.#device = device;
    this.#queue = queue;
    this.#memory = memory;
  }

  static async open(device: DriverDevice): Promise<HonestClient> {
    return new HonestClient(
      device,
      await device.createQueue({ depth: DEPTH }),
      await device.allocate(3 * AREA),
    );
  }

  async #take(): Promise<Completion> {
    const done = new Completion();
    const end = Date.now() + PATIENCE_MS;
    for (let looks = 0; !this.#queue.poll(done); looks++) {
      assert.ok(!this.#queue.failed && !this.#ended, 'the device is there');
      assert.ok(Date.now() < end, 'an honest request is answered');
      await (looks < QUICK_LOOKS ? new Promise((resolve) => setImmediate(resolve)) : sleep(1));
    }
    return done;
  }

  #put(operation: number, algorithm: number, from: number, length: number, to: number, id: number): void {
    const request = this.#request;
    request.operation = operation;
    request.algorithm = algorithm;
    request.level = 1 + (this.rounds % 6);
    request.requestId = id;
    request.source = this.#memory.iova + from;
    request.sourceLength = length;
    request.destination = this.#memory.iova + to;
    request.capacity = AREA;
    assert.ok(this.#queue.submit(request));
  }

  async #execute(operation: number, algorithm: number, input: Uint8Array): Promise<Buffer> {
    const { bytes } = this.#memory.mapping;
    bytes.set(input);
    this.#put(operation, algorithm, 0, input.byteLength, AREA, this.rounds);
    this.#queue.publish();
    const done = await this.#take();
    assert.equal(done.requestId, this.rounds);
    assert.equal(done.status, STATUS.ok);
    assert.equal(done.consumed, input.byteLength);
    return Buffer.from(bytes.subarray(AREA, AREA + done.produced));
  }

  /** Compresses and decompresses something, and compares. */
  async round(): Promise<void> {
    const { algorithm, pack, unpack } = FORMATS[this.rounds % FORMATS.length]!;
    const from = (this.rounds * 1031) % (TEXT.length / 2);
    const input = TEXT.subarray(from, from + 1 + ((this.rounds * 7919) % 16_000));
    const packed = await this.#execute(OPCODE.compress, algorithm, input);
    assert.ok(unpack(packed).equals(input), 'what was compressed is what was given');
    const unpacked = await this.#execute(OPCODE.decompress, algorithm, pack(input));
    assert.ok(unpacked.equals(input), 'what was decompressed is what was given');
    this.rounds++;
  }

  /** So much at once that one engine thread has more than enough to do. */
  async burst(): Promise<void> {
    this.#memory.mapping.bytes.set(TEXT);
    for (let id = 0; id < DEPTH; id++) this.#put(OPCODE.compress, ALGORITHM.gzip, 0, TEXT.length, AREA, id);
    this.#queue.publish();
    for (let id = 0; id < DEPTH; id++) await this.#take();
  }

  /** Goes on by itself until `stop`. */
  start(): void {
    this.#running = (async () => {
      while (!this.#stopped) {
        await this.round();
        await sleep(1);
      }
    })().catch((error: unknown) => {
      this.#error = error;
    });
  }

  /** @throws what went wrong, if anything did */
  check(): void {
    if (this.#error) throw this.#error;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    this.check();
  }

  async end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#stopped = true;
    await this.#running;
    await this.#device.close();
    this.#memory.mapping.unmap();
  }
}
