import type { DeflateAlgorithm } from '../abi/algorithms.js';
import { combineAdler32, combineCrc32 } from './checksum-combine.js';

/** Header fields of gzip (RFC 1952, 2.3) that a caller may set. */
export interface GzipHeader {
  /** The original file's name, without a path; Latin-1. */
  name?: string;
  /** Seconds since 1970. */
  mtime?: number;
}

/** The bytes before the first block of a stream. */
export function streamHeader(algorithm: DeflateAlgorithm, level: number, gzip: GzipHeader = {}): Buffer {
  if (algorithm === 'deflate-raw') return Buffer.alloc(0);
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
  readonly #algorithm: DeflateAlgorithm;
  #checksum: number;
  #length = 0;

  constructor(algorithm: DeflateAlgorithm) {
    this.#algorithm = algorithm;
    this.#checksum = algorithm === 'deflate' ? 1 : 0;
  }

  /** Adds the next piece: its own checksum, and its bytes before compression. */
  add(checksum: number, length: number): void {
    const combine = this.#algorithm === 'deflate' ? combineAdler32 : combineCrc32;
    this.#checksum = combine(this.#checksum, checksum >>> 0, length);
    this.#length += length;
  }

  bytes(): Buffer {
    if (this.#algorithm === 'deflate-raw') return Buffer.alloc(0);
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
