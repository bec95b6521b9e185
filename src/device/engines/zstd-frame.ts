/* Where a Zstandard frame ends (RFC 8878, 3.1.1), by the lengths that it states and nothing of what is in it. */

const MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const SKIPPABLE_HEADER_BYTES = 8;
/** Bits of the frame header descriptor, which follows the magic number. */
const SINGLE_SEGMENT = 0x20;
const HAS_CHECKSUM = 0x04;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];
const BLOCK_HEADER_BYTES = 3;
const RLE_BLOCK = 1;
const CHECKSUM_BYTES = 4;

/** The length of the frame that bytes begin with; all of them where it is cut short, or none begins here. */
export function zstdFrameLength(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const all = bytes.byteLength;
  if (all < SKIPPABLE_HEADER_BYTES) return all;
  const magic = view.getUint32(0, true);
  if ((magic & ~15) >>> 0 === SKIPPABLE_MAGIC) {
    return Math.min(all, SKIPPABLE_HEADER_BYTES + view.getUint32(4, true));
  }
  if (magic !== MAGIC) return all;
  const descriptor = bytes[4]!;
  const isSingle = (descriptor & SINGLE_SEGMENT) !== 0;
  const sizeBytes = CONTENT_SIZE_BYTES[descriptor >> 6]! || (isSingle ? 1 : 0);
  let at = 5 + (isSingle ? 0 : 1) + DICTIONARY_ID_BYTES[descriptor & 3]! + sizeBytes;
  for (let isLast = false; !isLast; ) {
    if (at + BLOCK_HEADER_BYTES > all) return all;
    const header = view.getUint16(at, true) | (bytes[at + 2]! << 16);
    isLast = (header & 1) !== 0;
    at += BLOCK_HEADER_BYTES + (((header >> 1) & 3) === RLE_BLOCK ? 1 : header >> 3);
  }
  return Math.min(all, at + ((descriptor & HAS_CHECKSUM) !== 0 ? CHECKSUM_BYTES : 0));
}
