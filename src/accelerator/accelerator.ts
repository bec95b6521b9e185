import { compressChunks } from '../algorithms/compression.js';
import { decompressChunks } from '../algorithms/decompression.js';
import type { GzipHeader } from '../algorithms/framing.js';
import { Operation } from '../algorithms/operation.js';
import {
  type Bytes,
  type CompressOptions,
  type DecompressOptions,
  decompressParameters,
  eachBytes,
  type RequestOptions,
} from '../algorithms/options.js';
import type { Runner } from '../algorithms/runner.js';
import type { DeviceQueue, DriverDevice } from '../driver/driver.js';
import { ArgumentError, ClosedError } from '../errors.js';
import { keepFreedMemory } from '../sys/allocator.js';
import type { Attachment } from './attach.js';
import { CallerEngines } from './caller-engines.js';
import { ClassCalls } from './class-calls.js';
import { Classes } from './classes.js';
import { CompressionCalls, type InfoOption, type WithInfo } from './compression-calls.js';
import { type DeviceListing, listDevice } from './device-listing.js';
import { Dispatcher } from './dispatcher.js';
import { DmaMemory } from './dma-memory.js';
import { LongQueue } from './long-queue.js';
import type { Placement } from './placement.js';
import { AcceleratorQueue } from './raw-queue.js';
import type { Retry } from './reconnect.js';
import { CompressSession, type CompressSessionOptions } from './session.js';
import { Staging } from './staging.js';

/** How an accelerator uses its device. */
export interface AcceleratorSettings {
  /** Of the accelerator's own queue; undefined for DEFAULT_DEPTH, or less where the device has less. */
  depth: number | undefined;
  memoryBytes: number;
  /** How many pieces of one large input are in flight at once. */
  window: number;
  /** Finds another device for one that has gone; where there is none to find, what is in flight fails. */
  reattach: ((retry: Retry<void>) => Promise<void>) | undefined;
  /** Decides which requests run in the calling thread. */
  placement: Placement;
  /** Engines that the calling thread does not use. */
  disabledEngines: readonly string[];
  /** Whether the calling thread takes over what a device that has gone cannot do any more. */
  fallback: boolean;
  /** The device that was asked for, where this one is in its place. */
  insteadOf?: string;
}

/** What an accelerator has of its device. */
interface Parts extends Attachment {
  queue: DeviceQueue;
  staging: Staging;
}

const EMPTY = new Uint8Array(0);
const DEFAULT_DEPTH = 256;
const DEFAULT_QUEUE_DEPTH = 128;

/**
 * An open accelerator. Operations are promises; each `...Sync` twin spins on the queue instead, and the event loop
 * stands still meanwhile. Inputs are copied when they are sent, so a buffer may be changed or transferred once its
 * promise is settled, and harms nothing if it is before. Errors are WarpDriveErrors with a stable `code`.
 */
export class Accelerator extends Classes {
  readonly #settings: AcceleratorSettings;
  #parts: Parts;
  readonly #dispatcher: Dispatcher;
  readonly #memory: DmaMemory;
  readonly #queues = new Set<AcceleratorQueue>();
  readonly #calls: CompressionCalls;
  /** @internal */
  protected readonly classes: ClassCalls;
  readonly #engines: CallerEngines;
  /** Another number for each device. */
  #generation = 1;
  /** For requests that take long: others would wait behind them. */
  #long: Promise<LongQueue> | undefined;
  /** While another device is looked for; resolves either way. */
  #reattaching: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  private constructor(parts: Parts, settings: AcceleratorSettings) {
    super();
    this.#parts = parts;
    this.#settings = settings;
    this.#dispatcher = new Dispatcher(parts.queue, parts.staging, parts.device.name, (reason) =>
      this.#deviceLost(reason),
    );
    this.#memory = new DmaMemory(parts.device);
    this.#calls = new CompressionCalls({
      device: () => this.#device,
      dispatcher: this.#dispatcher,
      memory: this.#memory,
      window: settings.window,
      checkOpen: () => this.#checkOpen(),
      reattached: settings.reattach && (() => this.#reattaching ?? Promise.resolve()),
    });
    this.#engines = new CallerEngines(settings.disabledEngines);
    this.classes = new ClassCalls({
      device: () => this.#device,
      generation: () => this.#generation,
      dispatcher: this.#dispatcher,
      memory: this.#memory,
      placement: settings.placement,
      engines: this.#engines,
      longQueue: () => this.#longQueue(),
      fallback: settings.fallback,
      checkOpen: () => this.#checkOpen(),
      reattached: settings.reattach && (() => this.#reattaching ?? Promise.resolve()),
    });
    parts.device.onLost((reason) => this.#deviceLost(reason));
  }

  /** @internal Use `open`. */
  static async create(attachment: Attachment, settings: AcceleratorSettings): Promise<Accelerator> {
    keepFreedMemory();
    const made = new Accelerator(await furnish(attachment, settings), settings);
    await settings.placement.measure(() => made.noop());
    return made;
  }

  get #device(): DriverDevice {
    return this.#parts.device;
  }

  #deviceLost(reason: string): void {
    const { reattach } = this.#settings;
    if (this.#reattaching) return;
    void this.#long?.then((long) => long.fail(reason));
    if (!reattach || this.#closed) {
      this.#dispatcher.fail(reason);
      return;
    }
    this.#dispatcher.suspend(reason);
    const before = this.#parts;
    const retry = {
      use: (attachment: Attachment) => this.#use(attachment),
      isGivenUp: () => this.#closed !== undefined,
    };
    this.#reattaching = reattach(retry)
      .then(
        () => letGo(before),
        (error: Error) => this.#dispatcher.fail(`${reason}; ${error.message}`),
      )
      .finally(() => {
        this.#reattaching = undefined;
      });
  }

  /** Goes on with another device. */
  async #use(attachment: Attachment): Promise<void> {
    const parts = await furnish(attachment, this.#settings);
    await this.#memory.moveTo(parts.device);
    this.#parts = parts;
    this.#generation++;
    this.#dispatcher.resume(parts.queue, parts.staging);
    parts.device.onLost((reason) => this.#deviceLost(reason));
  }

  /** What there is: the device, its queues, engines, algorithms and flags. */
  devices(): DeviceListing[] {
    const { insteadOf } = this.#settings;
    return [listDevice(this.#device, 1 + this.#queues.size, this.#dispatcher.queue.depth, insteadOf)];
  }

  /** Compresses into one standard stream. Resolves with the stream, or with its origin, too, under `info: true`. */
  compress(input: Bytes, options: CompressOptions & RequestOptions & InfoOption): Promise<WithInfo>;
  compress(input: Bytes, options?: CompressOptions & RequestOptions): Promise<Buffer>;
  compress(
    input: Bytes,
    options: CompressOptions & RequestOptions & Partial<InfoOption> = {},
  ): Promise<Buffer | WithInfo> {
    try {
      return this.#calls.compress(input, this.#calls.parameters(options), options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  compressSync(input: Bytes, options: CompressOptions & InfoOption): WithInfo;
  compressSync(input: Bytes, options?: CompressOptions): Buffer;
  compressSync(input: Bytes, options: CompressOptions & Partial<InfoOption> = {}): Buffer | WithInfo {
    return this.#calls.compressSync(input, this.#calls.parameters(options), options.info === true);
  }

  /** Compresses many inputs with the same parameters, published in batches. Results come in order. */
  async compressMany(
    inputs: Iterable<Bytes>,
    options: CompressOptions & RequestOptions = {},
  ): Promise<Buffer[]> {
    const parameters = this.#calls.parameters(options);
    return this.#calls.many(inputs, options, (input) => this.#calls.compress(input, parameters, {}, true));
  }

  /** Decompresses one standard stream (for gzip, all its members). */
  decompress(input: Bytes, options: DecompressOptions & RequestOptions & InfoOption): Promise<WithInfo>;
  decompress(input: Bytes, options?: DecompressOptions & RequestOptions): Promise<Buffer>;
  async decompress(
    input: Bytes,
    options: DecompressOptions & RequestOptions & Partial<InfoOption> = {},
  ): Promise<Buffer | WithInfo> {
    return this.#calls.decompress(input, decompressParameters(options), options);
  }

  decompressSync(input: Bytes, options: DecompressOptions & InfoOption): WithInfo;
  decompressSync(input: Bytes, options?: DecompressOptions): Buffer;
  decompressSync(input: Bytes, options: DecompressOptions & Partial<InfoOption> = {}): Buffer | WithInfo {
    return this.#calls.decompressSync(input, decompressParameters(options), options.info === true);
  }

  /** Decompresses many inputs with the same parameters. Results come in order; the first failure rejects. */
  async decompressMany(
    inputs: Iterable<Bytes>,
    options: DecompressOptions & RequestOptions = {},
  ): Promise<Buffer[]> {
    const parameters = decompressParameters(options);
    return this.#calls.many(inputs, options, (input) => this.#calls.decompress(input, parameters, {}, true));
  }

  /** Compresses what a source yields, in bounded memory, into chunks of one standard stream. */
  compressStream(
    source: AsyncIterable<Bytes> | Iterable<Bytes>,
    options: CompressOptions & { header?: GzipHeader } = {},
  ): AsyncGenerator<Buffer, void, void> {
    this.#checkOpen();
    return compressChunks(
      this.#calls.job(false),
      eachBytes(source),
      this.#calls.parameters(options),
      options.header,
    );
  }

  /** Decompresses what a source yields, in bounded memory. */
  decompressStream(
    source: AsyncIterable<Bytes> | Iterable<Bytes>,
    options: DecompressOptions = {},
  ): AsyncGenerator<Buffer, void, void> {
    this.#checkOpen();
    return decompressChunks(this.#calls.job(false), eachBytes(source), decompressParameters(options));
  }

  /** @internal For streams whose state is kept above (compat). */
  runner(): Runner {
    this.#checkOpen();
    return this.#calls.job(false);
  }

  /** Parameters checked once, for many requests. */
  session(options: CompressSessionOptions = {}): CompressSession {
    this.#checkOpen();
    return new CompressSession(this.#calls, options);
  }

  /** One empty request: what a round trip through the queue takes. */
  noop(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#checkOpen();
      const operation = new Operation(EMPTY);
      operation.onDone = (done) => (done.error ? reject(done.error) : resolve());
      this.#dispatcher.submit(operation);
    });
  }

  /** Like `noop`, spinning. */
  noopSync(): void {
    this.#checkOpen();
    this.#dispatcher.noopSync();
  }

  /** A zeroed Buffer in memory that the device reaches: inputs in it are not copied. */
  async alloc(length: number): Promise<Buffer> {
    this.#checkOpen();
    return (await this.#memory.allocate(length)).buffer;
  }

  /** A queue of one's own. `depth` is a power of two, by default 128, or less where the device has less. */
  async requestQueue(options: { depth?: number; startIndex?: number } = {}): Promise<AcceleratorQueue> {
    this.#checkOpen();
    const device = this.#device;
    const { depth = Math.min(DEFAULT_QUEUE_DEPTH, device.maxDepth), startIndex = 0 } = options;
    const queue = await device.createQueue({ depth, startIndex });
    const made: AcceleratorQueue = new AcceleratorQueue({
      queue,
      memory: new DmaMemory(device),
      device: device.name,
      counters: () => device.counters(queue.id),
      onRelease: () => this.#queues.delete(made),
    });
    this.#queues.add(made);
    return made;
  }

  /** Gives a queue back. */
  async releaseQueue(queue: AcceleratorQueue): Promise<void> {
    if (!this.#queues.has(queue)) throw new ArgumentError('the queue is not one of this accelerator');
    await queue.release();
  }

  /** Settles what is in flight, then lets the device go. Calling it again waits for the same end. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#reattaching;
    await this.#calls.settled();
    await (await this.#long)?.close();
    await this.#dispatcher.close();
    await Promise.all([...this.#queues].map((queue) => queue.release()));
    const { queue, staging, device, end } = this.#parts;
    await queue.release();
    await staging.free();
    await device.close();
    await end();
    this.#engines.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The queue for requests that take long; made when the first comes, and anew on another device. */
  async #longQueue(): Promise<Dispatcher | undefined> {
    const generation = this.#generation;
    const before = await this.#long;
    if (before?.generation !== generation) {
      await before?.close();
      this.#long = LongQueue.create(this.#device, generation, () => this.#deviceLost('the device failed'));
    }
    // A device without room for another queue runs them in the one there is.
    return (await this.#long)?.dispatcher;
  }

  #checkOpen(): void {
    if (this.#closed) throw new ClosedError('the accelerator is closed', { device: this.#device.name });
  }
}

/** Takes from a device what an accelerator needs of it. */
async function furnish(attachment: Attachment, settings: AcceleratorSettings): Promise<Parts> {
  const { device } = attachment;
  const { depth = Math.min(DEFAULT_DEPTH, device.maxDepth), memoryBytes } = settings;
  const staging = new Staging(await device.allocate(memoryBytes));
  try {
    return { ...attachment, staging, queue: await device.createQueue({ depth }) };
  } catch (error) {
    await staging.free().catch(() => {});
    throw error;
  }
}

/** Frees what is left in this process of a device that is gone. */
async function letGo({ queue, staging, device }: Parts): Promise<void> {
  await device.close();
  await queue.release();
  await staging.free();
}
