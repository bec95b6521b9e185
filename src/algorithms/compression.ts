import { ALGORITHM } from '../abi/algorithms.js';
import { CQE_FLAG, OPCODE, SQE_FLAG, STATUS } from '../abi/queue.js';
import {
  CorruptDataError,
  type ErrorContext,
  OutputLimitError,
  TrailingDataError,
  TruncatedDataError,
  UnsupportedError,
} from '../errors.js';
import { type GzipHeader, gzipSizeHint, isGzipMagic, StreamTrailer, streamHeader } from './framing.js';
import { Operation } from './operation.js';
import { type CompressParameters, type DecompressParameters, partOf } from './options.js';
import type { Runner } from './runner.js';

/** Inputs up to this many bytes are one request; larger ones are cut into pieces of it. */
export const PIECE_BYTES = 512 * 1024;
/** Input and output of one request of a stream that is decompressed. */
const STREAM_INPUT_BYTES = 256 * 1024;
const STREAM_OUTPUT_BYTES = 1024 * 1024;
/** The most output that is tried in one request. */
const WHOLE_OUTPUT_BYTES = 1024 * 1024;
/** Room beyond the input for the worst case: stored blocks, headers, a sync marker. */
const bound = (length: number): number => length + (length >>> 3) + 256;
/** Deflate cannot expand further than this (RFC 1951: 258 bytes from 2 bits). */
const MAX_EXPANSION = 1032;

/** The checksum that the trailer of each format wants. */
const CHECKSUM_FLAG = { gzip: SQE_FLAG.crc32, deflate: SQE_FLAG.adler32, 'deflate-raw': 0 } as const;

const EMPTY = Buffer.alloc(0);

const DAMAGED = 'check that it was compressed with this algorithm, and transferred as binary';
const INCOMPLETE = 'check that all of it is there';

/** Requests that are run in turn: a generator yields what it waits for. */
export type Steps<T> = Generator<Operation, T, void>;

/** The request that compresses a whole input into a whole stream. */
export function compressOperation(input: Uint8Array, parameters: CompressParameters): Operation {
  const operation = new Operation(input);
  operation.operation = OPCODE.compress;
  operation.algorithm = ALGORITHM[parameters.algorithm];
  operation.level = parameters.level;
  operation.capacity = bound(input.byteLength);
  return operation;
}

/** The request that decompresses a whole stream, if its output fits a first guess. */
export function decompressOperation(input: Uint8Array, parameters: DecompressParameters): Operation {
  const operation = new Operation(input);
  operation.operation = OPCODE.decompress;
  operation.algorithm = ALGORITHM[parameters.algorithm];
  operation.capacity = guessOutput(input, parameters);
  return operation;
}

function guessOutput(input: Uint8Array, parameters: DecompressParameters): number {
  const length = input.byteLength;
  const hint = parameters.algorithm === 'gzip' ? gzipSizeHint(input) : 0;
  const believable = hint > 0 && hint <= length * MAX_EXPANSION;
  // A guess that is one byte over the caller's limit tells a result of that size from a larger one.
  const guess = believable ? hint : Math.max(4096, length * 4);
  return Math.max(1, Math.min(guess, WHOLE_OUTPUT_BYTES, parameters.maxOutputLength + 1));
}

/** Whether an input is decompressed in one request. */
export function isWholeInput(input: Uint8Array): boolean {
  return input.byteLength <= PIECE_BYTES;
}

/** Compresses an input of any size, in pieces that are worked on at the same time. One standard stream results. */
export function* compressLarge(
  runner: Runner,
  input: Uint8Array,
  parameters: CompressParameters,
): Steps<Buffer> {
  const { algorithm, level } = parameters;
  const parts: Buffer[] = [streamHeader(algorithm, level)];
  const trailer = new StreamTrailer(algorithm);
  const length = input.byteLength;
  const count = Math.max(1, Math.ceil(length / PIECE_BYTES));
  const started: Operation[] = [];
  try {
    for (let done = 0; done < count; done++) {
      while (started.length < Math.min(count, done + runner.window)) {
        const at = started.length * PIECE_BYTES;
        const piece = partOf(input, length, at, at + PIECE_BYTES);
        started.push(startPiece(runner, piece, parameters, started.length === count - 1));
      }
      const operation = started[done]!;
      if (operation.state !== 'done') yield operation;
      parts.push(takePiece(runner, operation, trailer));
    }
  } finally {
    for (const operation of started) runner.drop(operation);
  }
  parts.push(trailer.bytes());
  return Buffer.concat(parts);
}

/** Sends one piece; it ends the stream if it is the last. */
export function startPiece(
  runner: Runner,
  piece: Uint8Array,
  parameters: CompressParameters,
  last: boolean,
): Operation {
  const operation = compressOperation(piece, { algorithm: 'deflate-raw', level: parameters.level });
  operation.flags = (last ? 0 : SQE_FLAG.piece) | CHECKSUM_FLAG[parameters.algorithm];
  runner.start(operation);
  return operation;
}

/** The output of a piece that is done; its checksum goes into the trailer. */
export function takePiece(runner: Runner, operation: Operation, trailer: StreamTrailer): Buffer {
  runner.check(operation);
  trailer.add(operation.result, operation.inputLength);
  return operation.data;
}

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

  /** Whether what follows belongs to the stream: its beginning, or another gzip member. */
  #startsMember(input: Uint8Array, at: number): boolean {
    if (this.#members === 0) {
      this.#between = false;
      return true;
    }
    if (this.#parameters.algorithm === 'gzip') {
      if (input.byteLength - at === 1 && input[at] === 0x1f) {
        this.#held = Buffer.from(input.subarray(at));
        return false;
      }
      if (isGzipMagic(input, at)) {
        this.#between = false;
        return true;
      }
    }
    this.#trailingAt = this.#read;
    if (!this.#parameters.ignoreTrailing) throw trailingError(this.#read);
    return false;
  }

  *#open(): Steps<void> {
    const operation = new Operation(EMPTY);
    operation.operation = OPCODE.streamOpen;
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
    operation.operation = OPCODE.streamClose;
    operation.session = this.#session;
    this.#session = 0;
    // A request of this stream that was given up may still be running: the session is free when it is done.
    this.#runner.startAfter(operation, this.#current);
  }
}

/**
 * Cuts what comes into pieces, compresses them at the same time and hands them on in order: one standard stream, in
 * bounded memory.
 */
export async function* compressChunks(
  runner: Runner,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  parameters: CompressParameters,
  header?: GzipHeader,
): AsyncGenerator<Buffer, void, void> {
  const trailer = new StreamTrailer(parameters.algorithm);
  const started: Operation[] = [];
  try {
    const head = streamHeader(parameters.algorithm, parameters.level, header);
    if (head.length > 0) yield head;
    let held: Uint8Array = EMPTY;
    for await (const piece of regroup(source)) {
      if (held.byteLength > 0) {
        started.push(startPiece(runner, held, parameters, false));
        while (started.length >= runner.window || started[0]?.state === 'done') {
          await runner.wait(started[0]!);
          yield takePiece(runner, started.shift()!, trailer);
        }
      }
      held = piece;
    }
    started.push(startPiece(runner, held, parameters, true));
    while (started.length > 0) {
      await runner.wait(started[0]!);
      yield takePiece(runner, started.shift()!, trailer);
    }
    const tail = trailer.bytes();
    if (tail.length > 0) yield tail;
  } finally {
    for (const operation of started) runner.drop(operation);
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
        for (const operation of steps) {
          await runner.wait(operation);
          yield* parts.splice(0);
        }
        yield* parts;
      }
    }
    stream.finish();
  } finally {
    stream.close();
  }
}

/** Whole pieces from chunks of any size; the last may be shorter. */
async function* regroup(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  let parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of source) {
    let rest = chunk;
    while (length + rest.byteLength >= PIECE_BYTES) {
      const need = PIECE_BYTES - length;
      parts.push(rest.subarray(0, need));
      yield parts.length === 1 ? parts[0]! : Buffer.concat(parts);
      rest = rest.subarray(need);
      parts = [];
      length = 0;
    }
    if (rest.byteLength > 0) {
      parts.push(rest);
      length += rest.byteLength;
    }
  }
  if (length > 0) yield Buffer.concat(parts);
}

/** Decompresses in one request with ever more room: for devices that keep no state of streams. */
export function* decompressGrowing(
  runner: Runner,
  input: Uint8Array,
  length: number,
  parameters: DecompressParameters,
  maxTransfer: number,
): Steps<Buffer> {
  if (length > maxTransfer) throw sizeError(maxTransfer);
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
        throw sizeError(maxTransfer);
      }
      runner.check(operation);
      written += operation.produced;
      if (written > parameters.maxOutputLength) throw limitError(parameters);
      at += operation.consumed;
      parts.push(operation.data);
    } finally {
      runner.drop(operation);
    }
    if (at < length && !(parameters.algorithm === 'gzip' && isGzipMagic(input, at))) {
      if (!parameters.ignoreTrailing) throw trailingError(at);
      break;
    }
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

/** Whether a request for a whole stream gave the one result, with nothing left to look at. */
export function isPlainSuccess(operation: Operation, parameters: DecompressParameters): boolean {
  return (
    operation.status === STATUS.ok &&
    operation.consumed === operation.inputLength &&
    operation.produced <= parameters.maxOutputLength
  );
}

/** Whether another attempt, as a stream, could give the result or a better reason. */
export function deservesStream(operation: Operation): boolean {
  return !operation.error && (operation.status === STATUS.noSpace || operation.status === STATUS.ok);
}

function limitError(parameters: DecompressParameters): OutputLimitError {
  return new OutputLimitError(`the result is larger than ${parameters.maxOutputLength} bytes`, {
    hint: 'raise maxOutputLength if the source is trusted',
  });
}

function sizeError(maxTransfer: number): UnsupportedError {
  return new UnsupportedError(`no engine here decompresses more than ${maxTransfer} bytes`, {
    hint: 'turn an engine on that decompresses streams: zlib or isa-l',
  });
}

function trailingError(at: number): TrailingDataError {
  return new TrailingDataError(`bytes follow the end of the stream at ${at}`, at, {
    hint: "pass trailingData: 'ignore' to leave them alone",
  });
}

function truncatedError(parameters: DecompressParameters): TruncatedDataError {
  return new TruncatedDataError(`the ${parameters.algorithm} stream ends too early`, { hint: INCOMPLETE });
}

/** The error for a status that blames the data, or undefined. */
export function dataError(operation: Operation, context: ErrorContext): Error | undefined {
  if (operation.status === STATUS.corrupt) {
    return new CorruptDataError('the compressed data is damaged', { hint: DAMAGED, ...context });
  }
  if (operation.status === STATUS.truncated) {
    return new TruncatedDataError('the compressed data ends too early', { hint: INCOMPLETE, ...context });
  }
  return undefined;
}
