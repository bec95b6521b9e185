import zlib from 'node:zlib';
import type { CompressionAlgorithm, DeflateAlgorithm } from '../../abi/algorithms.js';

/** The classes of node:zlib whose streams the accelerator takes. */
export type ClassName = 'Deflate' | 'DeflateRaw' | 'Gzip' | 'Inflate' | 'InflateRaw' | 'Gunzip' | 'Unzip';

/** Each class: its algorithm, undefined where the first bytes say it, and which way it goes. */
export const CLASSES: Record<ClassName, { algorithm: DeflateAlgorithm | undefined; compresses: boolean }> = {
  Deflate: { algorithm: 'deflate', compresses: true },
  DeflateRaw: { algorithm: 'deflate-raw', compresses: true },
  Gzip: { algorithm: 'gzip', compresses: true },
  Inflate: { algorithm: 'deflate', compresses: false },
  InflateRaw: { algorithm: 'deflate-raw', compresses: false },
  Gunzip: { algorithm: 'gzip', compresses: false },
  Unzip: { algorithm: undefined, compresses: false },
};

export interface Format {
  /** Undefined for `unzip`, whose first bytes say it. */
  algorithm: CompressionAlgorithm | undefined;
  compresses: boolean;
}

/** Each function of node:zlib that takes a whole buffer, without `Sync`. */
export const CALLS: Record<string, Format> = {
  deflate: CLASSES.Deflate,
  deflateRaw: CLASSES.DeflateRaw,
  gzip: CLASSES.Gzip,
  inflate: CLASSES.Inflate,
  inflateRaw: CLASSES.InflateRaw,
  gunzip: CLASSES.Gunzip,
  unzip: CLASSES.Unzip,
  brotliCompress: { algorithm: 'br', compresses: true },
  brotliDecompress: { algorithm: 'br', compresses: false },
  zstdCompress: { algorithm: 'zstd', compresses: true },
  zstdDecompress: { algorithm: 'zstd', compresses: false },
};

/** Header flags of gzip (RFC 1952, 2.3.1) that engines need not check as zlib does: a checksum of it, and reserved ones. */
const UNUSUAL_FLAGS = 0xe2;

/**
 * The algorithm of compressed bytes that a function or class is given, or undefined where that is better left to zlib:
 * too few bytes to tell, or a header out of the ordinary.
 */
export function algorithmOf(
  algorithm: CompressionAlgorithm | undefined,
  bytes: Uint8Array,
): CompressionAlgorithm | undefined {
  if (algorithm !== undefined && algorithm !== 'gzip') return algorithm;
  const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
  if (isGzip) return bytes.length > 3 && (bytes[3]! & UNUSUAL_FLAGS) === 0 ? 'gzip' : undefined;
  return algorithm === undefined && bytes.length > 1 ? 'deflate' : undefined;
}

export const { constants } = zlib;
