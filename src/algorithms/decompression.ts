import { ALGORITHM } from '../abi/algorithms.js';
import { CQE_FLAG, OPCODE, STATUS } from '../abi/queue.js';
import { decompressOperation, type Steps, WHOLE_OUTPUT_BYTES } from './compression.js';
import { limitError, sizeError, trailingError, truncatedError } from './data-errors.js';
import { startsPart } from './framing.js';
import { Operation } from './operation.js';
import { type DecompressParameters, partOf } from './options.js';
import type { Runner } from './runner.js';

/** Input and output of one request of a stream that is decompressed. */
const STREAM_INPUT_BYTES = 256 * 1024;
const STREAM_OUTPUT_BYTES = 1024 * 1024;

const EMPTY = Buffer.alloc(0);

/** Decompresses a stream of any size. `length` is what the input had when it was handed over. */
export function* decompressAny(
  runner: Runner,
  input: Uint8Array,
  length: number,
  parameters: DecompressParameters,
): Steps<Buffer> {
  const stream = new StreamDecompressor(runner, parameters);
  const parts: Buffer[] = [];
  try {
    for (let at = 0; at < length; at += STREAM_INPUT_BYTES) {
      const last = at + STREAM_INPUT_BYTES >= length;
      const chunk = partOf(input, length, at, at + STREAM_INPUT_BYTES);
      yield* stream.write(chunk, (part) => parts.push(part));
      if (stream.ended && last) break;
    }
    stream.finish();
  } finally {
    stream.close();
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

/** A stream that is decompressed as it comes, with its state on the device. */
export class StreamDecompressor {
  readonly #runner: Runner;
  readonly #parameters: DecompressParameters;
  #session = 0;
  #between = true;
  #members = 0;
  #read = 0;
  #written = 0;
  #trailingAt = -1;
  #held = EMPTY;
  #current: Operation | undefined;

  constructor(runner: Runner, parameters: DecompressParameters) {
    this.#runner = runner;
    this.#parameters = parameters;
  }

  /** A stream, or member of one, has ended and nothing of another has begun. */
  get ended(): boolean {
    return this.#between && this.#members > 0;
  }

  /** Takes at most STREAM_INPUT_BYTES, and hands over what comes out. */
  *write(chunk: Uint8Array, deliver: (part: Buffer) => void): Steps<void> {
    if (this.#trailingAt >= 0) return;
    const input = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    this.#held = EMPTY;
    const length = input.byteLength;
    let at = 0;
    for (;;) {
      if (this.#between) {
        if (at === length) return;
        if (!this.#startsMember(input, at)) return;
      }
      if (this.#session === 0) yield* this.#open();
      const operation = this.#step(partOf(input, length, at, length));
      yield operation;
      this.#runner.check(operation);
      at += operation.consumed;
      this.#read += operation.consumed;
      this.#written += operation.produced;
      if (this.#written > this.#parameters.maxOutputLength) throw limitError(this.#parameters);
      const full = operation.produced === operation.capacity;
      const part = operation.data;
      if (part.length > 0) deliver(part);
      if ((operation.flagsOut & CQE_FLAG.streamEnd) !== 0) {
        this.#between = true;
        this.#members++;
      } else if (at === length && !full) {
        return;
      }
    }
  }

  /** Whether what follows belongs to the stream: its beginning, or another member or frame. */
  #startsMember(input: Uint8Array, at: number): boolean {
    if (this.#members === 0) {
      this.#between = false;
      return true;
    }
    const starts = startsPart(this.#parameters.algorithm, input, at);
    if (starts === 'perhaps') {
      this.#held = Buffer.from(input.subarray(at));
      return false;
    }
    if (starts === 'yes') {
      this.#between = false;
      return true;
    }
    this.#trailingAt = this.#read;
    if (!this.#parameters.ignoreTrailing) throw trailingError(this.#read);
    return false;
  }

  *#open(): Steps<void> {
    const operation = new Operation(EMPTY);
    operation.operation = OPCODE.sessionOpen;
    operation.algorithm = ALGORITHM[this.#parameters.algorithm];
    this.#runner.start(operation);
    yield operation;
    this.#runner.check(operation);
    this.#session = operation.result;
  }

  #step(input: Uint8Array): Operation {
    const operation = new Operation(input);
    operation.operation = OPCODE.decompress;
    operation.algorithm = ALGORITHM[this.#parameters.algorithm];
    operation.session = this.#session;
    operation.capacity = STREAM_OUTPUT_BYTES;
    this.#current = operation;
    this.#runner.start(operation);
    return operation;
  }

  /** The input has ended. */
  finish(): void {
    if (this.#held.length > 0) {
      this.#trailingAt = this.#read;
      if (!this.#parameters.ignoreTrailing) throw trailingError(this.#read);
    }
    if (!this.ended && this.#trailingAt < 0) throw truncatedError(this.#parameters);
  }

  /** Frees the state on the device. */
  close(): void {
    if (this.#current) this.#runner.drop(this.#current);
    if (this.#session === 0) return;
    const operation = new Operation(EMPTY);
    operation.operation = OPCODE.sessionClose;
    operation.session = this.#session;
    this.#session = 0;
    // A request of this stream that was given up may still be running: the session is free when it is done.
    this.#runner.startAfter(operation, this.#current);
  }
}

/** Decompresses what comes, in bounded memory. */
export async function* decompressChunks(
  runner: Runner,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  parameters: DecompressParameters,
): AsyncGenerator<Buffer, void, void> {
  const stream = new StreamDecompressor(runner, parameters);
  try {
    for await (const chunk of source) {
      for (let at = 0; at < chunk.byteLength; at += STREAM_INPUT_BYTES) {
        const parts: Buffer[] = [];
        const steps = stream.write(chunk.subarray(at, at + STREAM_INPUT_BYTES), (part) => parts.push(part));
        try {
          for (const operation of steps) {
            await runner.wait(operation);
            yield* parts.splice(0);
          }
        } catch (error) {
          // What was right before the fault is the caller's all the same.
          yield* parts.splice(0);
          throw error;
        }
        yield* parts;
      }
    }
    stream.finish();
  } finally {
    stream.close();
  }
}

/** Decompresses in one request with ever more room: for devices that keep no state of streams. */
export function* decompressGrowing(
  runner: Runner,
  input: Uint8Array,
  length: number,
  parameters: DecompressParameters,
  maxTransfer: number,
): Steps<Buffer> {
  if (length > maxTransfer) throw sizeError(maxTransfer, parameters.algorithm);
  const parts: Buffer[] = [];
  let written = 0;
  let at = 0;
  let capacity = WHOLE_OUTPUT_BYTES;
  while (at < length || parts.length === 0) {
    const operation = decompressOperation(partOf(input, length, at, length), parameters);
    operation.capacity = capacity;
    try {
      runner.start(operation);
      yield operation;
      if (!operation.error && operation.status === STATUS.noSpace) {
        if (written + capacity > parameters.maxOutputLength) throw limitError(parameters);
        if (capacity < maxTransfer) {
          capacity = Math.min(maxTransfer, capacity * 4);
          continue;
        }
        throw sizeError(maxTransfer, parameters.algorithm);
      }
      runner.check(operation);
      written += operation.produced;
      if (written > parameters.maxOutputLength) throw limitError(parameters);
      at += operation.consumed;
      parts.push(operation.data);
    } finally {
      runner.drop(operation);
    }
    if (at < length && startsPart(parameters.algorithm, input, at) !== 'yes') {
      if (!parameters.ignoreTrailing) throw trailingError(at);
      break;
    }
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}
