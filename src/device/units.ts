import { ALGORITHM } from '../abi/algorithms.js';
import { OPCODE } from '../abi/queue.js';
import type { EngineRequest } from './engines/engine.js';

/*
 * Work that is not counted in bytes: derivations of keys, which are slow on purpose. docs/device-spec.md, "derive", has
 * the parameters.
 */

/** One request may not keep a thread for longer than some seconds. */
const MAX_ITERATIONS = 10_000_000;
/** Blocks of 128 bytes that scrypt goes over: N * r * p. */
const MAX_SCRYPT_BLOCKS = 2 ** 23;
/** Memory that one derivation may take, in bytes: 128 * N * r. */
const MAX_SCRYPT_BYTES = 256 * 1024 * 1024;
const MAX_DERIVED_BYTES = 64 * 1024;

/** Iterations of PBKDF2, blocks of scrypt; 0 for what is counted in bytes. Takes a submission, or a request. */
export function unitsOf(
  operation: number,
  algorithm: number,
  entry: Int32Array | undefined,
  paramAt: number,
  request?: EngineRequest,
): number {
  if (operation !== OPCODE.derive) return 0;
  const param0 = (entry ? entry[paramAt]! : request!.param0) >>> 0;
  const param1 = (entry ? entry[paramAt + 1]! : request!.param1) >>> 0;
  const param2 = (entry ? entry[paramAt + 2]! : request!.param2) >>> 0;
  if (algorithm === ALGORITHM.pbkdf2) return param1;
  return algorithm === ALGORITHM.scrypt ? param0 * param1 * param2 : 0;
}

/** Whether a request asks for no more work than one request may be. */
export function mayRun(request: EngineRequest): boolean {
  if (request.operation !== OPCODE.derive) return true;
  const { algorithm, capacity } = request;
  if (capacity > MAX_DERIVED_BYTES) return false;
  const units = unitsOf(request.operation, algorithm, undefined, 0, request);
  if (algorithm === ALGORITHM.pbkdf2) {
    // Each block of output is derived anew; the smallest digest has 16 bytes.
    return units >= 1 && units * Math.ceil(capacity / 16) <= MAX_ITERATIONS;
  }
  if (algorithm !== ALGORITHM.scrypt) return true;
  const bytes = 128 * (request.param0 >>> 0) * (request.param1 >>> 0);
  return units >= 1 && units <= MAX_SCRYPT_BLOCKS && bytes <= MAX_SCRYPT_BYTES;
}
