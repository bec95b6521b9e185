import { bind, loadLibrary } from '../../sys/libc.js';
import { bindAll } from './native.js';

/* Node's own zlib, which its binary exports. The exports are no promise: whatever is missing, the engine is absent. */

/** Byte offsets in z_stream of zlib.h on LP64. */
export const Z_STREAM = {
  bytes: 112,
  nextIn: 0,
  availIn: 8,
  totalIn: 16,
  nextOut: 24,
  availOut: 32,
  totalOut: 40,
  dataType: 88,
} as const;

/** Return codes and flush values of zlib.h. */
export const Z = {
  ok: 0,
  streamEnd: 1,
  needDictionary: 2,
  dataError: -3,
  memoryError: -4,
  bufferError: -5,
  noFlush: 0,
  syncFlush: 2,
  finish: 4,
  block: 5,
  deflated: 8,
  memLevel: 8,
} as const;

/** Window bits as zlib wants them: negative for raw deflate, 16 more for gzip. */
export const WINDOW_BITS = { raw: -15, zlib: 15, gzip: 31 } as const;

export interface ZlibFunctions {
  zlibVersion(): string;
  deflateInit2_(
    stream: number,
    level: number,
    method: number,
    windowBits: number,
    memLevel: number,
    strategy: number,
    version: string,
    size: number,
  ): number;
  deflateReset(stream: number): number;
  deflateEnd(stream: number): number;
  deflate(stream: number, flush: number): number;
  inflateInit2_(stream: number, windowBits: number, version: string, size: number): number;
  inflateReset2(stream: number, windowBits: number): number;
  inflate(stream: number, flush: number): number;
  inflateEnd(stream: number): number;
}

/** Binds Node's own zlib, or undefined where this build does not export it. */
export function bindZlib(): ZlibFunctions | undefined {
  const functions = bindAll<ZlibFunctions>(null, {
    zlibVersion: 'const char *zlibVersion()',
    deflateInit2_:
      'int deflateInit2_(uint64_t s, int level, int method, int bits, int mem, int strategy, const char *v, int size)',
    deflateReset: 'int deflateReset(uint64_t s)',
    deflateEnd: 'int deflateEnd(uint64_t s)',
    deflate: 'int deflate(uint64_t s, int flush)',
    inflateInit2_: 'int inflateInit2_(uint64_t s, int bits, const char *v, int size)',
    inflateReset2: 'int inflateReset2(uint64_t s, int bits)',
    inflate: 'int inflate(uint64_t s, int flush)',
    inflateEnd: 'int inflateEnd(uint64_t s)',
  });
  return functions?.zlibVersion().startsWith('1.') ? functions : undefined;
}

export type ZlibChecksum = (seed: number, source: number, length: number) => number;

/** zlib's crc32_z and adler32_z, or undefined where Node does not export them. */
export function bindZlibChecksums(): { crc32: ZlibChecksum; adler32: ZlibChecksum } | undefined {
  const library = loadLibrary(null);
  if (!library) return undefined;
  try {
    return {
      crc32: bind('uint64_t crc32_z(uint64_t crc, uint64_t buf, uint64_t n)', library),
      adler32: bind('uint64_t adler32_z(uint64_t adler, uint64_t buf, uint64_t n)', library),
    };
  } catch {
    return undefined;
  }
}
