import { SQE_FLAG } from '../abi/queue.js';
import type { Operation } from '../algorithms/operation.js';
import { type Bytes, checkObject, toBytes } from '../algorithms/options.js';
import { Recipe } from '../algorithms/recipe.js';
import { ArgumentError } from '../errors.js';
import { addressOf } from '../sys/memory.js';
import type { ClassCalls } from './class-calls.js';

export interface CopyOptions {
  /** Return the CRC-32C (RFC 3720) of the bytes that moved. */
  crc32c?: boolean;
}

const COPY = new Recipe('copy');
const DUAL_COPY = new Recipe('dualCopy');
const FILL = new Recipe('fill');
const COMPARE = new Recipe('compare');

const asChecksum = ({ result }: Operation): number => result >>> 0;
const asNothing = (): undefined => undefined;
/** The offset of the first difference; undefined where there is none. */
const asDifference = ({ result, consumed }: Operation): number | undefined =>
  result === 0 ? undefined : consumed;

/**
 * The class `memory`. Only memory of the device (`alloc`) can be worked on there: all else is the calling thread's, which
 * does the same in place.
 */
export class MemoryCalls {
  readonly #calls: ClassCalls;

  constructor(calls: ClassCalls) {
    this.#calls = calls;
  }

  copy(source: Bytes, target: Bytes, options: CopyOptions, isSync: boolean): unknown {
    checkObject(options);
    const from = toBytes(source);
    const to = sameLength(toBytes(target), from, 'target');
    const operation = COPY.request(from);
    if (options.crc32c) operation.flags |= SQE_FLAG.crc32c;
    this.#writeTo(operation, to);
    return this.#run(COPY, operation, [from, to], options.crc32c ? asChecksum : asNothing, isSync);
  }

  dualCopy(source: Bytes, first: Bytes, second: Bytes, options: CopyOptions, isSync: boolean): unknown {
    checkObject(options);
    const from = toBytes(source);
    const to = sameLength(toBytes(first), from, 'first target');
    const other = sameLength(toBytes(second), from, 'second target');
    const operation = DUAL_COPY.request(from);
    if (options.crc32c) operation.flags |= SQE_FLAG.crc32c;
    this.#writeTo(operation, to);
    operation.auxAddress = other.byteLength === 0 ? 0 : addressOf(other);
    operation.auxLength = other.byteLength;
    return this.#run(
      DUAL_COPY,
      operation,
      [from, to, other],
      options.crc32c ? asChecksum : asNothing,
      isSync,
    );
  }

  fill(target: Bytes, pattern: number | bigint, isSync: boolean): unknown {
    const to = toBytes(target);
    if (to.byteLength === 0) return isSync ? undefined : Promise.resolve();
    const operation = FILL.request(new Uint8Array(0));
    const wide = wholePattern(pattern);
    operation.param0 = Number(BigInt.asIntN(32, wide));
    operation.param1 = Number(BigInt.asIntN(32, wide >> 32n));
    this.#writeTo(operation, to);
    return this.#run(FILL, operation, [to], asNothing, isSync);
  }

  compare(left: Bytes, right: Bytes, isSync: boolean): unknown {
    const one = toBytes(left);
    const other = sameLength(toBytes(right), one, 'second buffer');
    const operation = COMPARE.request(one);
    operation.auxAddress = other.byteLength === 0 ? 0 : addressOf(other);
    operation.auxLength = other.byteLength;
    return this.#run(COMPARE, operation, [one, other], asDifference, isSync);
  }

  #writeTo(operation: Operation, target: Uint8Array): void {
    operation.capacity = target.byteLength;
    operation.outputAddress = target.byteLength === 0 ? 0 : addressOf(target);
  }

  #run<T>(
    recipe: Recipe,
    operation: Operation,
    buffers: Uint8Array[],
    finish: (operation: Operation) => T,
    isSync: boolean,
  ): unknown {
    const isDevices = buffers.every(
      (bytes) => bytes.byteLength === 0 || this.#calls.memory.addressOf(bytes) !== 0,
    );
    if (operation.inputLength > 0) operation.inputAddress = addressOf(operation.input);
    if (!isDevices || isSync) {
      const result = this.#calls.runInPlace(recipe, operation, undefined, finish);
      return isSync ? result : Promise.resolve(result);
    }
    operation.held = buffers;
    return this.#calls.run(recipe, operation, undefined, undefined, finish);
  }
}

function sameLength(bytes: Uint8Array, other: Uint8Array, what: string): Uint8Array {
  if (bytes.byteLength === other.byteLength) return bytes;
  throw new ArgumentError(`the ${what} has ${bytes.byteLength} bytes, and the source ${other.byteLength}`);
}

/** A byte, repeated, or eight bytes, low first. */
function wholePattern(pattern: unknown): bigint {
  if (typeof pattern === 'bigint' && BigInt.asUintN(64, pattern) === pattern) return pattern;
  if (typeof pattern === 'number' && Number.isInteger(pattern) && pattern >= 0 && pattern <= 255) {
    return BigInt(pattern) * 0x0101010101010101n;
  }
  throw new ArgumentError('a pattern is a byte from 0 to 255, or a bigint of 64 bits');
}
