import { LIMITS, STATUS } from '../abi/queue.js';
import {
  compressLarge,
  compressOperation,
  decompressOperation,
  deservesStream,
  isOneRequest,
  isPlainSuccess,
  isWholeInput,
  type Steps,
} from '../algorithms/compression.js';
import { decompressAny, decompressGrowing } from '../algorithms/decompression.js';
import type { Operation } from '../algorithms/operation.js';
import {
  type Bytes,
  type CompressOptions,
  type CompressParameters,
  compressParameters,
  type DecompressParameters,
  formatOf,
  type RequestOptions,
  toBytes,
} from '../algorithms/options.js';
import type { DriverDevice } from '../driver/driver.js';
import { ClosedError, DeviceLostError } from '../errors.js';
import { addressOf } from '../sys/memory.js';
import type { Dispatcher } from './dispatcher.js';
import type { DmaMemory } from './dma-memory.js';
import { Job, type OperationInfo, operationError } from './job.js';
import { checkLimits, withLimits } from './limits.js';

/** A result together with where it came from. */
export interface WithInfo {
  data: Buffer;
  info: OperationInfo;
}

/** Asks for a result with its origin. */
export interface InfoOption {
  info: true;
}

export interface CompressionCallsParts {
  /** The device in use. */
  device: () => DriverDevice;
  dispatcher: Dispatcher;
  memory: DmaMemory;
  /** How many pieces of one large input are in flight at once. */
  window: number;
  /** Throws once the accelerator is closed. */
  checkOpen: () => void;
  /** Where another device is looked for when one goes away: resolves when that has ended. */
  reattached: (() => Promise<void>) | undefined;
}

const ALWAYS = (): boolean => true;

/** Calls of the class `compress`, each turned into one request or many, and its outcome into a result or an error. */
export class CompressionCalls {
  readonly #current: () => DriverDevice;
  readonly #reattached: (() => Promise<void>) | undefined;
  readonly #dispatcher: Dispatcher;
  readonly #memory: DmaMemory;
  readonly #window: number;
  readonly #checkOpen: () => void;
  /** Calls of several requests in turn that are under way. */
  #calls = 0;
  #lastCallDone: (() => void) | undefined;

  constructor(parts: CompressionCallsParts) {
    this.#current = parts.device;
    this.#reattached = parts.reattached;
    this.#dispatcher = parts.dispatcher;
    this.#memory = parts.memory;
    this.#window = parts.window;
    this.#checkOpen = parts.checkOpen;
  }

  get #device(): DriverDevice {
    return this.#current();
  }

  /** Resolves when no call of several requests is under way. */
  async settled(): Promise<void> {
    if (this.#calls === 0) return;
    await new Promise<void>((resolve) => {
      this.#lastCallDone = resolve;
    });
  }

  /** Checks compression options against what the device offers. */
  parameters(options: CompressOptions): CompressParameters {
    return compressParameters(options, this.#device.description);
  }

  /**
   * Compresses. `batched` leaves the doorbell to the caller. Small inputs without wishes take the shortest way: ten
   * thousands of them may be waiting, and each holds what it allocates.
   */
  compress(
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
      if (plain && isOneRequest(input, parameters))
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
    const job = this.job(options.info === true);
    const data = isOneRequest(input, parameters)
      ? await this.#single(job, compressOperation(input, parameters), options, batched, ALWAYS)
      : await this.#counted(() => this.#steps(job, compressLarge(job, input, parameters), options));
    return options.info ? { data: data!, info: job.info } : data!;
  }

  compressSync(source: Bytes, parameters: CompressParameters, info: boolean): Buffer | WithInfo {
    this.#checkOpen();
    const input = toBytes(source);
    const job = this.job(info, this.#syncAddress);
    let data: Buffer;
    if (isOneRequest(input, parameters)) {
      const operation = compressOperation(input, parameters);
      this.#runSync(job, operation);
      job.check(operation);
      data = operation.data;
    } else {
      data = this.#stepsSync(compressLarge(job, input, parameters));
    }
    return info ? { data, info: job.info } : data;
  }

  async decompress(
    source: Bytes,
    parameters: DecompressParameters,
    options: RequestOptions & Partial<InfoOption>,
    batched = false,
  ): Promise<Buffer | WithInfo> {
    this.#checkOpen();
    checkLimits(options);
    const input = toBytes(source);
    const length = input.byteLength;
    const job = this.job(options.info === true);
    const attempt = async (): Promise<Buffer> => {
      let whole: Buffer | undefined;
      if (isWholeInput(input)) {
        const operation = decompressOperation(input, parameters);
        whole = await this.#single(job, operation, options, batched, (done) =>
          isPlainSuccess(done, parameters),
        );
      }
      return whole ?? this.#steps(job, this.#decompressSteps(job, input, length, parameters), options);
    };
    const data = await this.#counted(() => this.#again(attempt));
    return options.info ? { data, info: job.info } : data;
  }

  decompressSync(source: Bytes, parameters: DecompressParameters, info: boolean): Buffer | WithInfo {
    this.#checkOpen();
    const input = toBytes(source);
    const length = input.byteLength;
    const job = this.job(info, this.#syncAddress);
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

  /** Makes a call that fails with its device once more, from its start, when there is another device. */
  async #again<T>(call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        if (!(error instanceof DeviceLostError) || !this.#reattached) throw error;
        await this.#reattached();
        this.#dispatcher.checkUsable();
      }
    }
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
    return formatOf(this.#device.description, parameters.algorithm)?.streams
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

  /** Runs a call for each input, then rings the doorbell for all of them. */
  async many<T>(
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

  /** The requests of one call. */
  job(timed: boolean, address?: (input: Uint8Array) => number): Job {
    return new Job(this.#dispatcher, this.#device.name, this.#window, timed, address);
  }

  /** Under SVA the device may read the caller's memory during a synchronous call: nothing can take it away. */
  readonly #syncAddress = (input: Uint8Array): number =>
    this.#device.sva ? addressOf(input) : this.#memory.addressOf(input);
}
