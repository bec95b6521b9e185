import { type CompressionAlgorithm, isDeflate } from '../abi/algorithms.js';
import { STATUS } from '../abi/queue.js';
import {
  CorruptDataError,
  type ErrorContext,
  OutputLimitError,
  TrailingDataError,
  TruncatedDataError,
  UnsupportedError,
} from '../errors.js';
import type { Operation } from './operation.js';
import type { DecompressParameters } from './options.js';

const DAMAGED = 'check that it was compressed with this algorithm, and transferred as binary';
const INCOMPLETE = 'check that all of it is there';

/** The result would be larger than the caller allows. */
export function limitError(parameters: DecompressParameters): OutputLimitError {
  return new OutputLimitError(`the result is larger than ${parameters.maxOutputLength} bytes`, {
    hint: 'raise maxOutputLength if the source is trusted',
  });
}

/** Without an engine for streams, one request must do. */
export function sizeError(maxTransfer: number, algorithm: CompressionAlgorithm): UnsupportedError {
  if (algorithm === 'lz4-block') {
    return new UnsupportedError(`no engine here decompresses a block of more than ${maxTransfer} bytes`, {
      hint: 'use lz4, whose frames have no such limit',
    });
  }
  const engines = isDeflate(algorithm) ? 'zlib or isa-l' : algorithm === 'br' ? 'brotli' : algorithm;
  return new UnsupportedError(`no engine here decompresses more than ${maxTransfer} bytes of ${algorithm}`, {
    hint: `turn an engine on that decompresses streams: ${engines}`,
  });
}

/** A format that cannot be cut must fit one request. */
export function wholeError(algorithm: CompressionAlgorithm, max: number): UnsupportedError {
  return new UnsupportedError(`${algorithm} compresses at most ${max} bytes at once, and this is more`, {
    hint: 'zstd, lz4 and gzip have no such limit',
  });
}

/** Bytes follow the end of the stream. */
export function trailingError(at: number): TrailingDataError {
  return new TrailingDataError(`bytes follow the end of the stream at ${at}`, at, {
    hint: "pass trailingData: 'ignore' to leave them alone",
  });
}

/** The input ended before the stream did. */
export function truncatedError(parameters: DecompressParameters): TruncatedDataError {
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
