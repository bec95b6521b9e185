import zlib from 'node:zlib';
import type { DeflateAlgorithm } from '../../abi/algorithms.js';
import { softwareAdler32, softwareCrc32 } from '../../device/engines/software-checksum.js';
import { addressOf } from '../../sys/memory.js';

/** Newer versions of Node have it; the published types of the oldest leave it out. */
const { crc32 } = zlib as { crc32?: (data: Uint8Array) => number };

/** The checksum of bytes that the trailer of a format wants. */
export function checksumOf(algorithm: DeflateAlgorithm, bytes: Uint8Array): number {
  if (algorithm === 'deflate-raw') return 0;
  if (algorithm === 'deflate') return softwareAdler32(1, addressOf(bytes), bytes.byteLength);
  return crc32 ? crc32(bytes) : softwareCrc32(0, addressOf(bytes), bytes.byteLength);
}
