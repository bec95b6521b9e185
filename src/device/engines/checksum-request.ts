import { ALGORITHM } from '../../abi/algorithms.js';
import { STATUS } from '../../abi/queue.js';
import type { EngineRequest, Outcome } from './engine.js';
import type { Checksum32 } from './software-checksum.js';

/* Requests for checksums of 32 bits, by whichever functions an engine has. */

/** CRC-32 and Adler-32 of one library, which go on from a value. */
export interface ChecksumPair {
  crc32: Checksum32;
  adler32: Checksum32;
}

/** What Adler-32 begins with. */
export const ADLER_START = 1;

/** A request's CRC-32 or Adler-32, by one library's functions. */
export function runChecksumPair(request: EngineRequest, { crc32, adler32 }: ChecksumPair): Outcome {
  return request.algorithm === ALGORITHM.crc32
    ? runChecksum32(request, crc32, 0)
    : runChecksum32(request, adler32, ADLER_START);
}

/**
 * A request's checksum of 32 bits, going on from its first parameter. 0 stands for the beginning; `start` is what that
 * is for the algorithm.
 */
export function runChecksum32(request: EngineRequest, checksum: Checksum32, start: number): Outcome {
  const { source, sourceLength, param0, param1 } = request;
  if (param1 !== 0) return STATUS.badField;
  const seed = param0 === 0 ? start : param0 >>> 0;
  request.consumed = sourceLength;
  request.result = sourceLength === 0 ? seed : checksum(seed, source, sourceLength);
  return STATUS.ok;
}
