import { kMaxLength } from 'node:buffer';
import { inspect } from 'node:util';
import {
  COMPRESSION_ALGORITHMS,
  type CompressionAlgorithm,
  DEFAULT_LEVELS,
  isDeflate,
  MIN_LEVEL,
} from '../abi/algorithms.js';
import type { DeviceDescription, FormatDescription } from '../device/device.js';
import { ArgumentError, DetachedError, UnsupportedError } from '../errors.js';

/** What a caller may hand over: any view, or a buffer as a whole. */
export type Bytes = ArrayBufferView | ArrayBuffer | SharedArrayBuffer;

/** Limits that any request may carry. */
export interface RequestOptions {
  /** Ends the wait: the promise rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Milliseconds from the call within which the result must be there, or the promise rejects with DeadlineError. */
  deadlineMs?: number;
}

export interface CompressOptions {
  /**
   * `gzip`, `deflate` (zlib's format; `zlib` is another name for it), `deflate-raw`, `zstd`, `lz4` (frames), `lz4-block`
   * (a raw block) or `br` (Brotli); by default `gzip`.
   */
  algorithm?: CompressionAlgorithm | 'zlib';
  /**
   * Of the deflate family 0 (stored) to 9, as in zlib, to 12 where libdeflate is there, by default 6; of `zstd` 1 to 19
   * (3); of `lz4` and `lz4-block` 1 to 12 where liblz4 is there, else 1 (1); of `br` 0 to 11 (6).
   */
  level?: number;
}

export interface DecompressOptions {
  algorithm?: CompressionAlgorithm | 'zlib';
  /** The most bytes the result may have: a guard against bombs. By default the largest Buffer there can be. */
  maxOutputLength?: number;
  /** Whether bytes after the end of the stream are an error (the default) or left alone. */
  trailingData?: 'error' | 'ignore';
}

export interface CompressParameters {
  algorithm: CompressionAlgorithm;
  level: number;
}

export interface DecompressParameters {
  algorithm: CompressionAlgorithm;
  maxOutputLength: number;
  ignoreTrailing: boolean;
}

/** A caller's bytes as a Uint8Array over the same memory. */
export function toBytes(input: Bytes): Uint8Array {
  if (ArrayBuffer.isView(input)) {
    const { buffer, byteOffset, byteLength } = input;
    // A detached view has lost its length, so it is asked for its buffer's state, which Node 20 lacks a getter for.
    if (byteLength === 0 && isDetached(buffer)) throw new DetachedError();
    return input instanceof Uint8Array ? input : new Uint8Array(buffer, byteOffset, byteLength);
  }
  if (input instanceof ArrayBuffer || input instanceof SharedArrayBuffer) {
    if (input.byteLength === 0 && isDetached(input)) throw new DetachedError();
    return new Uint8Array(input);
  }
  throw new ArgumentError(`bytes are wanted, as an ArrayBufferView or a buffer, not ${typeof input}`);
}

/** Chunks of a source as Uint8Arrays. */
export async function* eachBytes(
  source: AsyncIterable<Bytes> | Iterable<Bytes>,
): AsyncGenerator<Uint8Array, void, void> {
  for await (const chunk of source) yield toBytes(chunk);
}

/**
 * Part of a caller's bytes, which may have been detached or resized since they were handed over.
 * @param length their length then
 */
export function partOf(input: Uint8Array, length: number, start: number, end: number): Uint8Array {
  if (input.byteLength !== length) throw new DetachedError('the buffer was detached or resized meanwhile');
  return input.subarray(start, end);
}

/** A view cannot be made over a detached buffer. */
function isDetached(buffer: ArrayBufferLike): boolean {
  if (buffer.byteLength !== 0) return false;
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

/** Options are an object, whatever an untyped caller thinks. */
export function checkObject(options: unknown): void {
  if (typeof options !== 'object' || options === null) {
    throw new ArgumentError(`options must be an object, not ${inspect(options)}`);
  }
}

function toAlgorithm(name: unknown): CompressionAlgorithm {
  const wanted = name === undefined ? 'gzip' : name === 'zlib' ? 'deflate' : name;
  const algorithm = COMPRESSION_ALGORITHMS.find((each) => each === wanted);
  if (algorithm) return algorithm;
  throw new UnsupportedError(`there is no compression algorithm ${inspect(name)}`, {
    hint: `there are ${COMPRESSION_ALGORITHMS.join(', ')}`,
  });
}

/** What a device can do with a compression format, or undefined. */
export function formatOf(
  description: DeviceDescription,
  algorithm: CompressionAlgorithm,
): FormatDescription | undefined {
  const { formats, maxLevel, streams } = description;
  if (formats) return formats[algorithm];
  if (!isDeflate(algorithm)) return undefined;
  return {
    ...(maxLevel < 0 ? {} : { levels: { min: MIN_LEVEL, max: maxLevel } }),
    decompress: true,
    streams,
  };
}

/** Checks compression options against what the device offers. */
export function compressParameters(
  options: CompressOptions,
  description: DeviceDescription,
): CompressParameters {
  checkObject(options);
  const algorithm = toAlgorithm(options.algorithm);
  const { level = DEFAULT_LEVELS[algorithm] } = options;
  const levels = formatOf(description, algorithm)?.levels;
  if (!levels) {
    const offered = COMPRESSION_ALGORITHMS.filter((each) => formatOf(description, each)?.levels);
    throw new UnsupportedError(`no engine here compresses ${algorithm}`, {
      hint: offered.length > 0 ? `there are ${offered.join(', ')}` : 'every engine is turned off',
    });
  }
  if (!Number.isInteger(level) || level < levels.min || level > levels.max) {
    throw new UnsupportedError(`there is no compression level ${inspect(level)}`, {
      hint: `there are ${levels.min} to ${levels.max} of ${algorithm} on this device`,
    });
  }
  return { algorithm, level };
}

export function decompressParameters(options: DecompressOptions): DecompressParameters {
  checkObject(options);
  const { maxOutputLength = kMaxLength, trailingData = 'error' } = options;
  if (!Number.isInteger(maxOutputLength) || maxOutputLength < 0 || maxOutputLength > kMaxLength) {
    throw new ArgumentError(`maxOutputLength must be a whole number from 0 to ${kMaxLength}`);
  }
  if (trailingData !== 'error' && trailingData !== 'ignore') {
    throw new ArgumentError(`trailingData must be 'error' or 'ignore'`);
  }
  return {
    algorithm: toAlgorithm(options.algorithm),
    maxOutputLength,
    ignoreTrailing: trailingData === 'ignore',
  };
}
