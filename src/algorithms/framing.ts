import type { CompressionAlgorithm } from '../abi/algorithms.js';
import { combineAdler32, combineCrc32 } from './checksum-combine.js';

/** Header fields of gzip (RFC 1952, 2.3) that a caller may set. */
export interface GzipHeader {
  /** The original file's name, without a path; Latin-1. */
  name?: string;
  /** Seconds since 1970. */
  mtime?: number;
}

/** The bytes before the first block of a stream; none of formats whose parts are complete by themselves. */
export function streamHeader(algorithm: CompressionAlgorithm, level: number, gzip: GzipHeader = {}): Buffer {
  if (algorithm !== 'gzip' && algorithm !== 'deflate') return Buffer.alloc(0);
  if (algorithm === 'deflate') {
    // RFC 1950, 2.2: CM 8, CINFO 7; FLEVEL as zlib sets it; FCHECK makes the whole a multiple of 31.
    const flevel = level < 2 ? 0 : level < 6 ? 1 : level === 6 ? 2 : 3;
    const head = (0x78 << 8) | (flevel << 6);
    return Buffer.from([0x78, (head + 31 - (head % 31)) & 0xff]);
  }
  const name = gzip.name === undefined ? Buffer.alloc(0) : Buffer.from(`${gzip.name}\0`, 'latin1');
  const header = Buffer.alloc(10);
  header.set([0x1f, 0x8b, 8, name.length > 0 ? 8 : 0]);
  header.writeUInt32LE((gzip.mtime ?? 0) >>> 0, 4);
  // XFL: 2 for the best ratio, 4 for the fastest; OS 3: Unix.
  header[8] = level >= 9 ? 2 : level === 1 ? 4 : 0;
  header[9] = 3;
  return Buffer.concat([header, name]);
}

/** Gathers checksum and length over the pieces of one stream, for its trailer. */
export class StreamTrailer {
  readonly #algorithm: CompressionAlgorithm;
  #checksum: number;
  #length = 0;

  constructor(algorithm: CompressionAlgorithm) {
    this.#algorithm = algorithm;
    this.#checksum = algorithm === 'deflate' ? 1 : 0;
  }

  /** Adds the next piece: its own checksum, and its bytes before compression. */
  add(checksum: number, length: number): void {
    if (this.#algorithm !== 'gzip' && this.#algorithm !== 'deflate') return;
    const combine = this.#algorithm === 'deflate' ? combineAdler32 : combineCrc32;
    this.#checksum = combine(this.#checksum, checksum >>> 0, length);
    this.#length += length;
  }

  bytes(): Buffer {
    if (this.#algorithm !== 'gzip' && this.#algorithm !== 'deflate') return Buffer.alloc(0);
    if (this.#algorithm === 'deflate') {
      const trailer = Buffer.alloc(4);
      trailer.writeUInt32BE(this.#checksum);
      return trailer;
    }
    const trailer = Buffer.alloc(8);
    trailer.writeUInt32LE(this.#checksum, 0);
    trailer.writeUInt32LE(this.#length % 4294967296, 4);
    return trailer;
  }
}

/** Whether bytes at an offset can begin a gzip member. */
export function isGzipMagic(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0x1f && bytes[at + 1] === 0x8b;
}

/** ISIZE, the length that a gzip member's end claims: a hint, and untrusted. */
export function gzipSizeHint(bytes: Uint8Array): number {
  if (bytes.length < 18) return 0;
  const at = bytes.length - 4;
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

const GZIP_MAGIC = [0x1f, 0x8b];
const ZSTD_MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
const LZ4_MAGIC = [0x04, 0x22, 0x4d, 0x18];
/** Of frames to be skipped, which zstd and lz4 share; the first byte's low half is any. */
const SKIPPABLE_MAGIC = [0x50, 0x2a, 0x4d, 0x18];

/** What the parts of a stream can begin with, of formats that have magic numbers. */
const MAGICS: Partial<Record<CompressionAlgorithm, number[][]>> = {
  gzip: [GZIP_MAGIC],
  zstd: [ZSTD_MAGIC, SKIPPABLE_MAGIC],
  lz4: [LZ4_MAGIC, SKIPPABLE_MAGIC],
};

/**
 * Whether what lies at an offset begins another part of the same stream: a gzip member, or a frame of zstd or lz4.
 * `perhaps` stands for bytes that are too few to tell. Formats without parts have none.
 */
export function startsPart(
  algorithm: CompressionAlgorithm,
  bytes: Uint8Array,
  at: number,
): 'yes' | 'no' | 'perhaps' {
  let best: 'no' | 'perhaps' = 'no';
  for (const magic of MAGICS[algorithm] ?? []) {
    const there = Math.min(magic.length, bytes.length - at);
    const matches = magic.slice(0, there).every((byte, index) => {
      const found = bytes[at + index]!;
      return (magic === SKIPPABLE_MAGIC && index === 0 ? found & 0xf0 : found) === byte;
    });
    if (matches && there === magic.length) return 'yes';
    if (matches && there > 0) best = 'perhaps';
  }
  return best;
}

/** The format that bytes begin, by its magic number, or undefined. A frame to be skipped is taken for zstd's. */
export function formatByMagic(bytes: Uint8Array): 'gzip' | 'zstd' | 'lz4' | undefined {
  return (['gzip', 'zstd', 'lz4'] as const).find((name) => startsPart(name, bytes, 0) === 'yes');
}

/** The length that a stream claims for its content, or 0 where it tells none: a hint, and untrusted. */
export function sizeHint(algorithm: CompressionAlgorithm, bytes: Uint8Array): number {
  if (algorithm === 'gzip') return gzipSizeHint(bytes);
  if (bytes.length < 15 || startsPart(algorithm, bytes, 0) !== 'yes') return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (algorithm === 'lz4') return (bytes[4]! & 8) !== 0 ? view.getUint32(6, true) : 0;
  if (algorithm !== 'zstd' || bytes[0] !== ZSTD_MAGIC[0]) return 0;
  // RFC 8878, 3.1.1.1: the descriptor says how long window, dictionary and size are.
  const descriptor = bytes[4]!;
  const isSingle = (descriptor & 32) !== 0;
  const at = 5 + (isSingle ? 0 : 1) + [0, 1, 2, 4][descriptor & 3]!;
  const code = descriptor >> 6;
  if (at + 4 > bytes.length) return 0;
  if (code === 0) return isSingle ? bytes[at]! : 0;
  return code === 1 ? view.getUint16(at, true) + 256 : view.getUint32(at, true);
}
