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
export function sizeError(maxTransfer: number): UnsupportedError {
  return new UnsupportedError(`no engine here decompresses more than ${maxTransfer} bytes`, {
    hint: 'turn an engine on that decompresses streams: zlib or isa-l',
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
