/*
 * LZ4 in plain TypeScript: raw blocks (lz4_Block_format.md) and frames (lz4_Frame_format.md). The decompressor checks
 * every length and offset against what is there, since its input is anybody's.
 */

/** Why a block or a frame could not be decompressed. */
export type Lz4Fault = 'noSpace' | 'corrupt' | 'truncated';
/** Bytes written, or a fault. */
export type Lz4Result = number | Lz4Fault;

const MIN_MATCH = 4;
/** The last match begins at least so many bytes before the end, and the last bytes are literals. */
const MATCH_LIMIT = 12;
const LAST_LITERALS = 5;
const MAX_OFFSET = 65535;
const HASH_BITS = 14;
/** Of a token: a length that goes on in the bytes behind it. */
const LENGTH_MORE = 15;

export const LZ4_MAGIC = 0x184d2204;
/** Sixteen magic numbers, the last hex digit being any, begin frames that are to be skipped. */
export const SKIPPABLE_MAGIC = 0x184d2a50;

/** Room for the worst case of a block: bytes that do not compress. */
export const lz4BlockBound = (length: number): number => length + Math.floor(length / 255) + 16;

/**
 * Compresses into one raw block, greedily.
 * @returns bytes written, or 0 if `out` is too small
 */
export function packBlock(input: Uint8Array, out: Uint8Array, table: Int32Array): number {
  table.fill(-1);
  const length = input.length;
  const matchEnd = length - LAST_LITERALS;
  let anchor = 0;
  let to = 0;
  for (let at = 0; at < length - MATCH_LIMIT; ) {
    const hash = Math.imul(word(input, at), 2654435761) >>> (32 - HASH_BITS);
    const from = table[hash]!;
    table[hash] = at;
    if (from < 0 || at - from > MAX_OFFSET || word(input, from) !== word(input, at)) {
      // Where nothing has matched for long, fewer places are looked at.
      at += 1 + ((at - anchor) >> 6);
      continue;
    }
    let end = at + MIN_MATCH;
    while (end < matchEnd && input[from + end - at] === input[end]) end++;
    to = putSequence(input, anchor, at, out, to, at - from, end - at);
    if (to === 0) return 0;
    at = end;
    anchor = end;
  }
  return putSequence(input, anchor, length, out, to, 0, 0);
}

/** A table for `packBlock`. */
export const lz4Table = (): Int32Array => new Int32Array(1 << HASH_BITS);

/** Writes literals, and a match unless its offset is 0; the new end, or 0 for want of room. */
function putSequence(
  input: Uint8Array,
  start: number,
  end: number,
  out: Uint8Array,
  at: number,
  offset: number,
  matchLength: number,
): number {
  const literals = end - start;
  const extra = matchLength - MIN_MATCH;
  const needed = 1 + Math.floor(literals / 255) + 1 + literals + (offset ? 3 + Math.floor(extra / 255) : 0);
  if (at + needed > out.length) {
    // Near the end of the room the exact size counts.
    const exact =
      1 +
      (literals >= LENGTH_MORE ? Math.floor((literals - LENGTH_MORE) / 255) + 1 : 0) +
      literals +
      (offset ? 2 + (extra >= LENGTH_MORE ? Math.floor((extra - LENGTH_MORE) / 255) + 1 : 0) : 0);
    if (at + exact > out.length) return 0;
  }
  out[at++] = (Math.min(literals, LENGTH_MORE) << 4) | (offset ? Math.min(extra, LENGTH_MORE) : 0);
  let to = at;
  if (literals >= LENGTH_MORE) to = putLength(out, to, literals - LENGTH_MORE);
  out.set(input.subarray(start, end), to);
  to += literals;
  if (offset === 0) return to;
  out[to++] = offset & 0xff;
  out[to++] = offset >>> 8;
  return extra >= LENGTH_MORE ? putLength(out, to, extra - LENGTH_MORE) : to;
}

function putLength(out: Uint8Array, at: number, length: number): number {
  let rest = length;
  let to = at;
  for (; rest >= 255; rest -= 255) out[to++] = 255;
  out[to++] = rest;
  return to;
}

function word(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/**
 * Decompresses one raw block that is all of `input`, to `out` from `start` on; what lies before is history that it may
 * repeat. Without `out` the block is only walked through, and the size tells what it would become.
 */
export function unpackBlock(
  input: Uint8Array,
  out: Uint8Array | undefined,
  start: number,
  history = 0,
  end = out?.length ?? Number.POSITIVE_INFINITY,
): Lz4Result {
  let to = start;
  let at = 0;
  const length = input.length;
  if (length === 0) return 'truncated';
  for (;;) {
    const token = input[at++]!;
    let literals = token >>> 4;
    if (literals === LENGTH_MORE) {
      let more = 255;
      while (more === 255) {
        if (at >= length) return 'truncated';
        more = input[at++]!;
        literals += more;
      }
    }
    if (at + literals > length) return 'truncated';
    if (to + literals > end) return 'noSpace';
    out?.set(input.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    if (at === length) return to - start;
    if (at + 2 > length) return 'truncated';
    const offset = input[at]! | (input[at + 1]! << 8);
    at += 2;
    let match = (token & 15) + MIN_MATCH;
    if ((token & 15) === LENGTH_MORE) {
      let more = 255;
      while (more === 255) {
        if (at >= length) return 'truncated';
        more = input[at++]!;
        match += more;
      }
    }
    if (offset === 0 || offset > to - start + history) return 'corrupt';
    if (to + match > end) return 'noSpace';
    if (out) repeat(out, to, offset, match);
    to += match;
    // A block ends with literals, so there is another token.
    if (at >= length) return 'truncated';
  }
}

function repeat(out: Uint8Array, to: number, offset: number, length: number): void {
  if (offset >= length) out.copyWithin(to, to - offset, to - offset + length);
  else for (let i = 0; i < length; i++) out[to + i] = out[to + i - offset]!;
}

/** Flags of a frame's descriptor: version 01, independent blocks, block checksums, content size, content checksum. */
const FLG_VERSION = 0x40;
const FLG_VERSION_MASK = 0xc0;
const FLG_INDEPENDENT = 0x20;
const FLG_BLOCK_CHECKSUM = 0x10;
const FLG_CONTENT_SIZE = 0x08;
const FLG_CONTENT_CHECKSUM = 0x04;
const FLG_RESERVED = 0x02;
const FLG_DICTIONARY = 0x01;
const BD_RESERVED = 0x8f;
const BLOCK_STORED = 0x80000000;
/** Block sizes 4 to 7: 64 KiB to 4 MiB. */
const LARGEST_BLOCK = 7;
const blockBytes = (code: number): number => 1 << (8 + 2 * code);

/** Compresses into one frame, with the size and a checksum of the content; the bytes written, or 0 for want of room. */
export function packFrame(input: Uint8Array, out: Uint8Array, table: Int32Array): number {
  const header = new Uint8Array(15);
  const view = new DataView(header.buffer);
  view.setUint32(0, LZ4_MAGIC, true);
  header[4] = FLG_VERSION | FLG_INDEPENDENT | FLG_CONTENT_SIZE | FLG_CONTENT_CHECKSUM;
  header[5] = LARGEST_BLOCK << 4;
  view.setUint32(6, input.length, true);
  header[14] = (xxh32(header.subarray(4, 14)) >>> 8) & 0xff;
  if (out.length < header.length + 8) return 0;
  out.set(header);
  const target = new DataView(out.buffer, out.byteOffset, out.length);
  const step = blockBytes(LARGEST_BLOCK);
  let at = header.length;
  for (let from = 0; from < input.length; from += step) {
    const block = input.subarray(from, from + step);
    // The end mark and the checksum need room behind the last block.
    const room = out.length - at - 12;
    if (room <= 0) return 0;
    let size = packBlock(block, out.subarray(at + 4, at + 4 + Math.min(room, block.length - 1)), table);
    const isStored = size === 0;
    if (isStored) {
      if (room < block.length) return 0;
      out.set(block, at + 4);
      size = block.length;
    }
    target.setUint32(at, (size | (isStored ? BLOCK_STORED : 0)) >>> 0, true);
    at += 4 + size;
  }
  target.setUint32(at, 0, true);
  target.setUint32(at + 4, xxh32(input), true);
  return at + 8;
}

/** What a frame came to. */
export interface UnpackedFrame {
  consumed: number;
  produced: number;
  fault: Lz4Fault | undefined;
}

/** Decompresses the first frame of `input`; one that is to be skipped gives nothing. */
export function unpackFrame(input: Uint8Array, out: Uint8Array): UnpackedFrame {
  const end = (fault: Lz4Fault | undefined, consumed = input.length, produced = 0): UnpackedFrame => ({
    consumed,
    produced,
    fault,
  });
  if (input.length < 7) return end('truncated');
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  const magic = view.getUint32(0, true);
  if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) {
    if (input.length < 8) return end('truncated');
    const size = 8 + view.getUint32(4, true);
    return size > input.length ? end('truncated') : end(undefined, size);
  }
  if (magic !== LZ4_MAGIC) return end('corrupt');
  const flags = input[4]!;
  const descriptor = input[5]!;
  const code = descriptor >>> 4;
  if ((flags & FLG_VERSION_MASK) !== FLG_VERSION || (flags & FLG_RESERVED) !== 0) return end('corrupt');
  if ((descriptor & BD_RESERVED) !== 0 || code < 4 || (flags & FLG_DICTIONARY) !== 0) return end('corrupt');
  let at = 6 + ((flags & FLG_CONTENT_SIZE) !== 0 ? 8 : 0);
  if (at >= input.length) return end('truncated');
  if (input[at] !== ((xxh32(input.subarray(4, at)) >>> 8) & 0xff)) return end('corrupt');
  at++;
  let to = 0;
  for (;;) {
    if (at + 4 > input.length) return end('truncated');
    const size = view.getUint32(at, true);
    at += 4;
    if (size === 0) break;
    const bytes = size % BLOCK_STORED;
    if (bytes > blockBytes(code)) return end('corrupt');
    const tail = (flags & FLG_BLOCK_CHECKSUM) !== 0 ? 4 : 0;
    if (at + bytes + tail > input.length) return end('truncated');
    const block = input.subarray(at, at + bytes);
    if (tail > 0 && view.getUint32(at + bytes, true) !== xxh32(block)) return end('corrupt');
    at += bytes + tail;
    const made = unpackOne(block, size >= BLOCK_STORED, out, to, flags, blockBytes(code));
    if (typeof made !== 'number') return end(made);
    to += made;
  }
  if ((flags & FLG_CONTENT_CHECKSUM) !== 0) {
    if (at + 4 > input.length) return end('truncated');
    if (view.getUint32(at, true) !== xxh32(out.subarray(0, to))) return end('corrupt');
    at += 4;
  }
  const lies =
    (flags & FLG_CONTENT_SIZE) !== 0 && (view.getUint32(6, true) !== to || view.getUint32(10, true) !== 0);
  return lies ? end('corrupt') : end(undefined, at, to);
}

function unpackOne(
  block: Uint8Array,
  isStored: boolean,
  out: Uint8Array,
  to: number,
  flags: number,
  limit: number,
): Lz4Result {
  if (isStored) {
    if (to + block.length > out.length) return 'noSpace';
    out.set(block, to);
    return block.length;
  }
  const history = (flags & FLG_INDEPENDENT) !== 0 ? 0 : to;
  const made = unpackBlock(block, out, to, history, Math.min(out.length, to + limit));
  // Inside a frame a block's end is known: what ends too early, or grows beyond the block size, is damaged.
  if (made === 'truncated') return 'corrupt';
  return made === 'noSpace' && to + limit <= out.length ? 'corrupt' : made;
}

const P1 = 2654435761;
const P2 = 2246822519;
const P3 = 3266489917;
const P4 = 668265263;
const P5 = 374761393;

const turn = (value: number, bits: number): number => (value << bits) | (value >>> (32 - bits));
const round = (lane: number, value: number): number =>
  Math.imul(turn((lane + Math.imul(value, P2)) | 0, 13), P1);

/** XXH32 with seed 0: the checksum of LZ4 frames. */
export function xxh32(bytes: Uint8Array): number {
  const length = bytes.length;
  let at = 0;
  let hash = P5;
  if (length >= 16) {
    let [a, b, c, d] = [(P1 + P2) | 0, P2 | 0, 0, -P1 | 0];
    for (; at + 16 <= length; at += 16) {
      a = round(a, word(bytes, at));
      b = round(b, word(bytes, at + 4));
      c = round(c, word(bytes, at + 8));
      d = round(d, word(bytes, at + 12));
    }
    hash = (turn(a, 1) + turn(b, 7) + turn(c, 12) + turn(d, 18)) | 0;
  }
  hash = (hash + length) | 0;
  for (; at + 4 <= length; at += 4) {
    hash = Math.imul(turn((hash + Math.imul(word(bytes, at), P3)) | 0, 17), P4);
  }
  for (; at < length; at++) hash = Math.imul(turn((hash + Math.imul(bytes[at]!, P5)) | 0, 11), P1);
  hash = Math.imul(hash ^ (hash >>> 15), P2);
  hash = Math.imul(hash ^ (hash >>> 13), P3);
  return (hash ^ (hash >>> 16)) >>> 0;
}
