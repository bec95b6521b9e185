import { LIMITS, STATUS } from '../abi/queue.js';
import {
  compressChunks,
  compressLarge,
  compressOperation,
  decompressAny,
  decompressChunks,
  decompressGrowing,
  decompressOperation,
  deservesStream,
  isPlainSuccess,
  isWholeInput,
  type Steps,
} from '../algorithms/compression.js';
import type { GzipHeader } from '../algorithms/framing.js';
import { Operation } from '../algorithms/operation.js';
import {
  type Bytes,
  type CompressOptions,
  type CompressParameters,
  compressParameters,
  type DecompressOptions,
  type DecompressParameters,
  decompressParameters,
  eachBytes,
  type RequestOptions,
  toBytes,
} from '../algorithms/options.js';
import type { DriverDevice } from '../driver/driver.js';
import { ArgumentError, ClosedError } from '../errors.js';
import { addressOf } from '../sys/memory.js';
import { type DeviceListing, listDevice } from './device-listing.js';
import type { Dispatcher } from './dispatcher.js';
import { DmaMemory } from './dma-memory.js';
import { Job, type OperationInfo, operationError } from './job.js';
import { checkLimits, withLimits } from './limits.js';
import { AcceleratorQueue } from './raw-queue.js';
import { CompressSession, type CompressSessionOptions } from './session.js';
import type { Staging } from './staging.js';

/** A result together with where it came from. */
export interface WithInfo {
  data: Buffer;
  info: OperationInfo;
}

/** Asks for a result with its origin. */
export interface InfoOption {
  info: true;
}

export interface AcceleratorParts {
  device: DriverDevice;
  dispatcher: Dispatcher;
  staging: Staging;
  /** How many pieces of one large input are in flight at once. */
  window: number;
  /** Resolves when the device has ended, after its transport was closed. */
  end: () => Promise<void>;
}

const ALWAYS = (): boolean => true;
const EMPTY = new Uint8Array(0);
const DEFAULT_QUEUE_DEPTH = 128;

/**
 * An open accelerator. Operations are promises; each `...Sync` twin spins on the queue instead, and the event loop
 * stands still meanwhile. Inputs are copied when they are sent, so a buffer may be changed or transferred once its
 * promise is settled, and harms nothing if it is before. Errors are WarpDriveErrors with a stable `code`.
 */
export class Accelerator {
  readonly #device: DriverDevice;
  readonly #dispatcher: Dispatcher;
  readonly #parts: AcceleratorParts;
  readonly #memory: DmaMemory;
  readonly #queues = new Set<AcceleratorQueue>();
  /** Calls under way, each of one request or of many in turn: closing waits for them. */
  #calls = 0;
  #lastCallDone: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  /** @internal Use `open`. */
  constructor(parts: AcceleratorParts) {
    this.#parts = parts;
    this.#device = parts.device;
    this.#dispatcher = parts.dispatcher;
    this.#memory = new DmaMemory(parts.device);
    parts.device.onLost((reason) => parts.dispatcher.fail(reason));
  }

  /** What there is: the device, its queues, engines, algorithms and flags. */
  devices(): DeviceListing[] {
    return [listDevice(this.#device, 1 + this.#queues.size, this.#dispatcher.queue.depth)];
  }

  /** Compresses into one standard stream. Resolves with the stream, or with its origin, too, under `info: true`. */
  compress(input: Bytes, options: CompressOptions & RequestOptions & InfoOption): Promise<WithInfo>;
  compress(input: Bytes, options?: CompressOptions & RequestOptions): Promise<Buffer>;
  compress(
    input: Bytes,
    options: CompressOptions & RequestOptions & Partial<InfoOption> = {},
  ): Promise<Buffer | WithInfo> {
    try {
      return this.compressWith(input, this.compressParameters(options), options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  compressSync(input: Bytes, options: CompressOptions & InfoOption): WithInfo;
  compressSync(input: Bytes, options?: CompressOptions): Buffer;
  compressSync(input: Bytes, options: CompressOptions & Partial<InfoOption> = {}): Buffer | WithInfo {
    return this.compressWithSync(input, this.compressParameters(options), options.info === true);
  }

  /** Compresses many inputs with the same parameters, published in batches. Results come in order. */
  async compressMany(
    inputs: Iterable<Bytes>,
    options: CompressOptions & RequestOptions = {},
  ): Promise<Buffer[]> {
    const parameters = this.compressParameters(options);
    return this.#many(inputs, options, (input) => this.compressWith(input, parameters, {}, true));
  }

  /** Decompresses one standard stream (for gzip, all its members). */
  decompress(input: Bytes, options: DecompressOptions & RequestOptions & InfoOption): Promise<WithInfo>;
  decompress(input: Bytes, options?: DecompressOptions & RequestOptions): Promise<Buffer>;
  async decompress(
    input: Bytes,
    options: DecompressOptions & RequestOptions & Partial<InfoOption> = {},
  ): Promise<Buffer | WithInfo> {
    return this.decompressWith(input, decompressParameters(options), options);
  }

  decompressSync(input: Bytes, options: DecompressOptions & InfoOption): WithInfo;
  decompressSync(input: Bytes, options?: DecompressOptions): Buffer;
  decompressSync(input: Bytes, options: DecompressOptions & Partial<InfoOption> = {}): Buffer | WithInfo {
    return this.decompressWithSync(input, decompressParameters(options), options.info === true);
  }

  /** Decompresses many inputs with the same parameters. Results come in order; the first failure rejects. */
  async decompressMany(
    inputs: Iterable<Bytes>,
    options: DecompressOptions & RequestOptions = {},
  ): Promise<Buffer[]> {
    const parameters = decompressParameters(options);
    return this.#many(inputs, options, (input) => this.decompressWith(input, parameters, {}, true));
  }

  /** Compresses what a source yields, in bounded memory, into chunks of one standard stream. */
  compressStream(
    source: AsyncIterable<Bytes> | Iterable<Bytes>,
    options: CompressOptions & { header?: GzipHeader } = {},
  ): AsyncGenerator<Buffer, void, void> {
    this.#checkOpen();
    return compressChunks(
      this.#job(false),
      eachBytes(source),
      this.compressParameters(options),
      options.header,
    );
  }

  /** Decompresses what a source yields, in bounded memory. */
  decompressStream(
    source: AsyncIterable<Bytes> | Iterable<Bytes>,
    options: DecompressOptions = {},
  ): AsyncGenerator<Buffer, void, void> {
    this.#checkOpen();
    return decompressChunks(this.#job(false), eachBytes(source), decompressParameters(options));
  }

  /** Parameters checked once, for many requests. */
  session(options: CompressSessionOptions = {}): CompressSession {
    this.#checkOpen();
    return new CompressSession(this, options);
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

  /** A queue of one's own. `depth` is a power of two, by default 128. */
  async requestQueue(options: { depth?: number; startIndex?: number } = {}): Promise<AcceleratorQueue> {
    this.#checkOpen();
    const { depth = DEFAULT_QUEUE_DEPTH, startIndex = 0 } = options;
    const queue = await this.#device.createQueue({ depth, startIndex });
    const made: AcceleratorQueue = new AcceleratorQueue({
      queue,
      memory: new DmaMemory(this.#device),
      device: this.#device.name,
      counters: () => this.#device.counters(queue.id),
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
    if (this.#calls > 0) {
      await new Promise<void>((resolve) => {
        this.#lastCallDone = resolve;
      });
    }
    await this.#dispatcher.close();
    await Promise.all([...this.#queues].map((queue) => queue.release()));
    await this.#dispatcher.queue.release();
    await this.#parts.staging.free();
    await this.#device.close();
    await this.#parts.end();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal Checks compression options. */
  compressParameters(options: CompressOptions): CompressParameters {
    return compressParameters(options, this.#device.description.maxLevel);
  }

  /**
   * @internal `batched` leaves the doorbell to the caller. Small inputs without wishes take the shortest way: ten
   * thousands of them may be waiting, and each holds what it allocates.
   */
  compressWith(
    source: Bytes,
    parameters: CompressParameters,
    options: RequestOptions & Partial<InfoOption>,
    batched = false,
  ): Promise<Buffer | WithInfo> {
    try {
      this.#checkOpen();
      checkLimits(options);
      const input = toBytes(source);
      const plain = !options.info && !options.signal && options.deadlineMs === undefined;
      if (plain && isWholeInput(input))
        return this.#compressPlain(compressOperation(input, parameters), batched);
      return this.#compressJob(input, parameters, options, batched);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #compressPlain(operation: Operation, batched: boolean): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      operation.onDone = (done) => {
        const error = done.error ?? operationError(done, this.#device.name, this.#dispatcher.queue.id);
        if (error) reject(error);
        else resolve(done.data);
      };
      this.#send(operation, batched);
    });
  }

  /** Sends an operation; an input in device memory is read where it lies. */
  #send(operation: Operation, batched: boolean): void {
    const address = this.#memory.addressOf(operation.input);
    if (address !== 0) operation.inputAddress = address;
    this.#dispatcher.enqueue(operation);
    if (!batched) this.#dispatcher.flush();
  }

  async #compressJob(
    input: Uint8Array,
    parameters: CompressParameters,
    options: RequestOptions & Partial<InfoOption>,
    batched: boolean,
  ): Promise<Buffer | WithInfo> {
    const job = this.#job(options.info === true);
    const data = isWholeInput(input)
      ? await this.#single(job, compressOperation(input, parameters), options, batched, ALWAYS)
      : await this.#counted(() => this.#steps(job, compressLarge(job, input, parameters), options));
    return options.info ? { data: data!, info: job.info } : data!;
  }

  /** @internal */
  compressWithSync(source: Bytes, parameters: CompressParameters, info: boolean): Buffer | WithInfo {
    this.#checkOpen();
    const input = toBytes(source);
    const job = this.#job(info, this.#syncAddress);
    let data: Buffer;
    if (isWholeInput(input)) {
      const operation = compressOperation(input, parameters);
      this.#runSync(job, operation);
      job.check(operation);
      data = operation.data;
    } else {
      data = this.#stepsSync(compressLarge(job, input, parameters));
    }
    return info ? { data, info: job.info } : data;
  }

  /** @internal */
  async decompressWith(
    source: Bytes,
    parameters: DecompressParameters,
    options: RequestOptions & Partial<InfoOption>,
    batched = false,
  ): Promise<Buffer | WithInfo> {
    this.#checkOpen();
    checkLimits(options);
    const input = toBytes(source);
    const length = input.byteLength;
    const job = this.#job(options.info === true);
    const data = await this.#counted(async () => {
      let whole: Buffer | undefined;
      if (isWholeInput(input)) {
        const operation = decompressOperation(input, parameters);
        whole = await this.#single(job, operation, options, batched, (done) =>
          isPlainSuccess(done, parameters),
        );
      }
      return whole ?? this.#steps(job, this.#decompressSteps(job, input, length, parameters), options);
    });
    return options.info ? { data, info: job.info } : data;
  }

  /** @internal */
  decompressWithSync(source: Bytes, parameters: DecompressParameters, info: boolean): Buffer | WithInfo {
    this.#checkOpen();
    const input = toBytes(source);
    const length = input.byteLength;
    const job = this.#job(info, this.#syncAddress);
    let data: Buffer | undefined;
    if (isWholeInput(input)) {
      const operation = decompressOperation(input, parameters);
      this.#runSync(job, operation);
      if (isPlainSuccess(operation, parameters)) {
        job.note(operation);
        data = operation.data;
      } else if (!deservesStream(operation)) {
        throw job.error(operation)!;
      }
    }
    data ??= this.#stepsSync(this.#decompressSteps(job, input, length, parameters));
    return info ? { data, info: job.info } : data;
  }

  /** Runs a call that must have ended before the accelerator closes. */
  async #counted<T>(call: () => Promise<T>): Promise<T> {
    this.#calls++;
    try {
      return await call();
    } finally {
      if (--this.#calls === 0) this.#lastCallDone?.();
    }
  }

  #decompressSteps(
    job: Job,
    input: Uint8Array,
    length: number,
    parameters: DecompressParameters,
  ): Steps<Buffer> {
    return this.#device.description.streams
      ? decompressAny(job, input, length, parameters)
      : decompressGrowing(
          job,
          input,
          length,
          parameters,
          Math.min(this.#device.maxTransfer, LIMITS.maxTransfer),
        );
  }

  /**
   * One request, settled straight from its completion; undefined for an outcome that is not `final`, and that another
   * attempt must improve on.
   */
  #single(
    job: Job,
    operation: Operation,
    options: RequestOptions,
    batched: boolean,
    final: (operation: Operation) => boolean,
  ): Promise<Buffer | undefined> {
    const work = new Promise<Buffer | undefined>((resolve, reject) => {
      operation.onDone = (done) => {
        if (!done.error && done.status === STATUS.ok && final(done)) {
          job.note(done);
          resolve(done.data);
        } else if (deservesStream(done)) {
          resolve(undefined);
        } else {
          reject(job.error(done));
        }
      };
    });
    job.prepare(operation);
    this.#send(operation, batched);
    return withLimits(work, options, () => this.#dispatcher.abandon(operation));
  }

  /** Runs requests in turn, waiting on the event loop. */
  #steps<T>(job: Job, steps: Steps<T>, options: RequestOptions): Promise<T> {
    let cancelled = false;
    const work = (async () => {
      for (let next = steps.next(); ; next = steps.next()) {
        if (next.done) return next.value;
        await job.wait(next.value);
        if (cancelled) {
          steps.return(undefined as T);
          throw new ClosedError('the request was given up');
        }
      }
    })();
    return withLimits(work, options, () => {
      cancelled = true;
    });
  }

  #stepsSync<T>(steps: Steps<T>): T {
    for (let next = steps.next(); ; next = steps.next()) {
      if (next.done) return next.value;
      this.#dispatcher.waitSync(next.value);
    }
  }

  #runSync(job: Job, operation: Operation): void {
    job.prepare(operation);
    this.#dispatcher.runSync(operation);
  }

  async #many<T>(
    inputs: Iterable<Bytes>,
    options: RequestOptions,
    run: (input: Bytes) => Promise<T>,
  ): Promise<Buffer[]> {
    this.#checkOpen();
    checkLimits(options);
    const given = [...inputs];
    const work = Promise.all(given.map(run));
    this.#dispatcher.flush();
    return withLimits(work, options, () => {}) as Promise<Buffer[]>;
  }

  #job(timed: boolean, address?: (input: Uint8Array) => number): Job {
    return new Job(this.#dispatcher, this.#device.name, this.#parts.window, timed, address);
  }

  /** Under SVA the device may read the caller's memory during a synchronous call: nothing can take it away. */
  readonly #syncAddress = (input: Uint8Array): number =>
    this.#device.sva ? addressOf(input) : this.#memory.addressOf(input);

  #checkOpen(): void {
    if (this.#closed) throw new ClosedError('the accelerator is closed', { device: this.#device.name });
  }
}
