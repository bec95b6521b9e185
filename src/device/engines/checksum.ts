import { viewMemory } from '../../sys/libc.js';
import type { EngineName } from './engine.js';
import { bindAll } from './native.js';
import { bindZlibChecksums, type ZlibChecksum } from './zlib-binding.js';

/** Checksums of bytes in memory, as unsigned 32-bit Numbers. */
export interface Checksums {
  crc32(source: number, length: number): number;
  adler32(source: number, length: number): number;
}

/** The fastest checksums among the engines that are there: libdeflate's, else zlib's, else a table. */
export function loadChecksums(engines: ReadonlySet<EngineName>): Checksums {
  const fast = engines.has('libdeflate') ? bindLibdeflateChecksums() : undefined;
  const pair = fast ?? (engines.has('zlib') ? bindZlibChecksums() : undefined);
  const { crc32, adler32 } = pair ?? { crc32: tableCrc32, adler32: plainAdler32 };
  return {
    crc32: (source, length) => (length === 0 ? 0 : crc32(0, source, length)),
    adler32: (source, length) => (length === 0 ? 1 : adler32(1, source, length)),
  };
}

function bindLibdeflateChecksums(): { crc32: ZlibChecksum; adler32: ZlibChecksum } | undefined {
  const functions = bindAll<{ libdeflate_crc32: ZlibChecksum; libdeflate_adler32: ZlibChecksum }>(
    'libdeflate.so.0',
    {
      libdeflate_crc32: 'uint32_t libdeflate_crc32(uint32_t crc, uint64_t buf, uint64_t n)',
      libdeflate_adler32: 'uint32_t libdeflate_adler32(uint32_t adler, uint64_t buf, uint64_t n)',
    },
  );
  return functions && { crc32: functions.libdeflate_crc32, adler32: functions.libdeflate_adler32 };
}

let table: Uint32Array | undefined;

function tableCrc32(seed: number, source: number, length: number): number {
  table ??= Uint32Array.from({ length: 256 }, (_, index) => {
    let value = index;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    return value;
  });
  const bytes = new Uint8Array(viewMemory(source, length));
  let crc = ~seed;
  for (let i = 0; i < length; i++) crc = (crc >>> 8) ^ table[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}

function plainAdler32(seed: number, source: number, length: number): number {
  const bytes = new Uint8Array(viewMemory(source, length));
  let a = seed & 0xffff;
  let b = seed >>> 16;
  for (let i = 0; i < length; i++) {
    a = (a + bytes[i]!) % 65521;
    b = (b + a) % 65521;
  }
  return ((b << 16) | a) >>> 0;
}
