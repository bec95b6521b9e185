import { ALGORITHM, type CompressionAlgorithm, isCuttable, isDeflate } from '../abi/algorithms.js';
import { LIMITS, OPCODE, SQE_FLAG, STATUS } from '../abi/queue.js';
import { wholeError } from './data-errors.js';
import { type GzipHeader, StreamTrailer, sizeHint, streamHeader } from './framing.js';
import { Operation } from './operation.js';
import { type CompressParameters, type DecompressParameters, partOf } from './options.js';
import type { Runner } from './runner.js';

/** Inputs up to this many bytes are one request; larger ones are cut into pieces of it. */
export const PIECE_BYTES = 512 * 1024;
/** The most output that is tried in one request. */
export const WHOLE_OUTPUT_BYTES = 1024 * 1024;
/** The largest input of a format that cannot be cut: with its worst case it fills the largest request. */
export const WHOLE_INPUT_BYTES = LIMITS.maxTransfer - LIMITS.maxTransfer / 64;
/** Deflate cannot expand further than this (RFC 1951: 258 bytes from 2 bits). */
const MAX_EXPANSION = 1032;

/** The checksum that the trailer of each format wants. */
const CHECKSUM_FLAG = { gzip: SQE_FLAG.crc32, deflate: SQE_FLAG.adler32, 'deflate-raw': 0 } as const;

const EMPTY = Buffer.alloc(0);

/**
 * Room for the worst case, which is input that does not compress: for the deflate family stored blocks, headers and a
 * sync marker; for the others what their documentation says, rounded up.
 */
export function compressBound(algorithm: CompressionAlgorithm, length: number): number {
  return isDeflate(algorithm) ? length + (length >>> 3) + 256 : length + (length >>> 7) + 1024;
}

/** Requests that are run in turn: a generator yields what it waits for. */
export type Steps<T> = Generator<Operation, T, void>;

/** The request that compresses a whole input into a whole stream. */
export function compressOperation(input: Uint8Array, parameters: CompressParameters): Operation {
  const operation = new Operation(input);
  operation.operation = OPCODE.compress;
  operation.algorithm = ALGORITHM[parameters.algorithm];
  operation.level = parameters.level;
  operation.capacity = compressBound(parameters.algorithm, input.byteLength);
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
  const { algorithm } = parameters;
  const hint = sizeHint(algorithm, input);
  const believable = hint > 0 && (algorithm !== 'gzip' || hint <= length * MAX_EXPANSION);
  // A guess that is one byte over the caller's limit tells a result of that size from a larger one.
  const guess = believable ? hint : Math.max(4096, length * 4);
  return Math.max(1, Math.min(guess, WHOLE_OUTPUT_BYTES, parameters.maxOutputLength + 1));
}

/** Whether an input is worth a try in one request. */
export function isWholeInput(input: Uint8Array): boolean {
  return input.byteLength <= PIECE_BYTES;
}

/**
 * Whether an input is compressed in one request.
 * @throws UnsupportedError for one that must be, and is too large
 */
export function isOneRequest(input: Uint8Array, { algorithm }: CompressParameters): boolean {
  if (isCuttable(algorithm)) return input.byteLength <= PIECE_BYTES;
  if (input.byteLength > WHOLE_INPUT_BYTES) throw wholeError(algorithm, WHOLE_INPUT_BYTES);
  return true;
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

/** Sends one piece. */
export function startPiece(
  runner: Runner,
  piece: Uint8Array,
  parameters: CompressParameters,
  last: boolean,
): Operation {
  const operation = pieceOperation(piece, parameters, last);
  runner.start(operation);
  return operation;
}

/** One piece: a frame of its own, or blocks that end the stream if they are the last. */
export function pieceOperation(piece: Uint8Array, parameters: CompressParameters, last: boolean): Operation {
  const { algorithm, level } = parameters;
  const operation = compressOperation(
    piece,
    isDeflate(algorithm) ? { algorithm: 'deflate-raw', level } : parameters,
  );
  if (isDeflate(algorithm)) operation.flags = (last ? 0 : SQE_FLAG.piece) | CHECKSUM_FLAG[algorithm];
  return operation;
}

/** The output of a piece that is done; its checksum goes into the trailer. */
export function takePiece(runner: Runner, operation: Operation, trailer: StreamTrailer): Buffer {
  runner.check(operation);
  trailer.add(operation.result, operation.inputLength);
  return operation.data;
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
    const pieces = isCuttable(parameters.algorithm) ? regroup(source) : whole(source, parameters.algorithm);
    for await (const piece of pieces) {
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

/** All that comes, as one piece. */
async function* whole(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  algorithm: CompressionAlgorithm,
): AsyncGenerator<Uint8Array, void, void> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of source) {
    length += chunk.byteLength;
    if (length > WHOLE_INPUT_BYTES) throw wholeError(algorithm, WHOLE_INPUT_BYTES);
    // Kept for long: the caller may use its buffer again.
    parts.push(Buffer.from(chunk));
  }
  if (length > 0) yield Buffer.concat(parts);
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
