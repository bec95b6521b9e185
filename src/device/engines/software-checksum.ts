import { viewMemory } from '../../sys/libc.js';

/*
 * Checksums in plain TypeScript, eight bytes at a step (slicing-by-8): what there is where no library is. Each goes on
 * from a value, with the conventions of zlib: 0 begins a CRC, 1 begins an Adler-32, and nothing is inverted outside.
 */

/** Polynomials as tables want them, lowest power in the highest bit: ISO 3309, Castagnoli (RFC 3720), ECMA-182. */
const CRC32 = 0xedb88320;
const CRC32C = 0x82f63b78;
const CRC64_LOW = 0xd7870f42;
const CRC64_HIGH = 0xc96c5795;

const ADLER_MODULUS = 65521;
/** The most bytes over which Adler-32's sums stay below 2^32, as in zlib. */
const ADLER_RUN = 5552;

export type Checksum32 = (seed: number, source: number, length: number) => number;

/** Both halves of a checksum of 64 bits, as unsigned 32-bit Numbers. */
export interface Halves {
  low: number;
  high: number;
}

/** Eight tables in one: entry `256 * k + byte` is what `byte` makes when k more bytes follow. */
function slices(polynomial: number): Uint32Array {
  const table = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    table[byte] = value;
  }
  for (let at = 256; at < table.length; at++) {
    const before = table[at - 256]!;
    table[at] = (before >>> 8) ^ table[before & 0xff]!;
  }
  return table;
}

/** A CRC of 32 bits by tables that are made when they are first wanted. */
function slicedCrc(polynomial: number): Checksum32 {
  let made: Uint32Array | undefined;
  return (seed, source, length) => {
    if (length === 0) return seed >>> 0;
    made ??= slices(polynomial);
    const t = made;
    const bytes = new Uint8Array(viewMemory(source, length));
    let crc = ~seed;
    let at = 0;
    for (; at + 8 <= length; at += 8) {
      crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
      crc =
        t[1792 + (crc & 0xff)]! ^
        t[1536 + ((crc >>> 8) & 0xff)]! ^
        t[1280 + ((crc >>> 16) & 0xff)]! ^
        t[1024 + (crc >>> 24)]! ^
        t[768 + bytes[at + 4]!]! ^
        t[512 + bytes[at + 5]!]! ^
        t[256 + bytes[at + 6]!]! ^
        t[bytes[at + 7]!]!;
    }
    for (; at < length; at++) crc = (crc >>> 8) ^ t[(crc ^ bytes[at]!) & 0xff]!;
    return ~crc >>> 0;
  };
}

/** CRC-32 of ISO 3309, as in gzip. */
export const softwareCrc32 = slicedCrc(CRC32);
/** CRC-32C of RFC 3720. */
export const softwareCrc32c = slicedCrc(CRC32C);

/** Adler-32 of RFC 1950. */
export const softwareAdler32: Checksum32 = (seed, source, length) => {
  if (length === 0) return seed >>> 0;
  const bytes = new Uint8Array(viewMemory(source, length));
  let a = (seed & 0xffff) % ADLER_MODULUS;
  let b = (seed >>> 16) % ADLER_MODULUS;
  for (let at = 0; at < length; ) {
    const end = Math.min(length, at + ADLER_RUN);
    for (; at < end; at++) {
      a += bytes[at]!;
      b += a;
    }
    a %= ADLER_MODULUS;
    b %= ADLER_MODULUS;
  }
  return ((b << 16) | a) >>> 0;
};

let crc64Low: Uint32Array | undefined;
let crc64High: Uint32Array | undefined;

function makeCrc64(): void {
  const low = new Uint32Array(8 * 256);
  const high = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let l = byte;
    let h = 0;
    for (let bit = 0; bit < 8; bit++) {
      const odd = l & 1;
      l = ((l >>> 1) | (h << 31)) ^ (odd ? CRC64_LOW : 0);
      h = (h >>> 1) ^ (odd ? CRC64_HIGH : 0);
    }
    low[byte] = l;
    high[byte] = h;
  }
  for (let at = 256; at < low.length; at++) {
    const l = low[at - 256]!;
    const h = high[at - 256]!;
    low[at] = ((l >>> 8) | (h << 24)) ^ low[l & 0xff]!;
    high[at] = (h >>> 8) ^ high[l & 0xff]!;
  }
  crc64Low = low;
  crc64High = high;
}

/** CRC-64 of ECMA-182, reflected, as in xz. `value` is what to go on from, and what comes out. */
export function softwareCrc64(value: Halves, source: number, length: number): void {
  if (length === 0) return;
  if (!crc64Low) makeCrc64();
  const low = crc64Low!;
  const high = crc64High!;
  const bytes = new Uint8Array(viewMemory(source, length));
  let l = ~value.low;
  let h = ~value.high;
  let at = 0;
  for (; at + 8 <= length; at += 8) {
    l ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    h ^= bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24);
    const i0 = 1792 + (l & 0xff);
    const i1 = 1536 + ((l >>> 8) & 0xff);
    const i2 = 1280 + ((l >>> 16) & 0xff);
    const i3 = 1024 + (l >>> 24);
    const i4 = 768 + (h & 0xff);
    const i5 = 512 + ((h >>> 8) & 0xff);
    const i6 = 256 + ((h >>> 16) & 0xff);
    const i7 = h >>> 24;
    l = low[i0]! ^ low[i1]! ^ low[i2]! ^ low[i3]! ^ low[i4]! ^ low[i5]! ^ low[i6]! ^ low[i7]!;
    h = high[i0]! ^ high[i1]! ^ high[i2]! ^ high[i3]! ^ high[i4]! ^ high[i5]! ^ high[i6]! ^ high[i7]!;
  }
  for (; at < length; at++) {
    const i = (l ^ bytes[at]!) & 0xff;
    l = ((l >>> 8) | (h << 24)) ^ low[i]!;
    h = (h >>> 8) ^ high[i]!;
  }
  value.low = ~l >>> 0;
  value.high = ~h >>> 0;
}
