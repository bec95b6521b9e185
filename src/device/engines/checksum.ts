import { OPCODE, SQE_FLAG } from '../../abi/queue.js';
import { ADLER_START, type ChecksumPair } from './checksum-request.js';
import type { EngineName, EngineRequest } from './engine.js';
import { bindIsalCrc32c } from './isal-checksum.js';
import { bindAll } from './native.js';
import { type Checksum32, softwareAdler32, softwareCrc32, softwareCrc32c } from './software-checksum.js';
import { bindZlibChecksums } from './zlib-binding.js';

const ANY = SQE_FLAG.crc32 | SQE_FLAG.adler32 | SQE_FLAG.crc32c;

/** Checksums of bytes in memory, as unsigned 32-bit Numbers. */
export interface Checksums {
  crc32(source: number, length: number): number;
  adler32(source: number, length: number): number;
  crc32c(source: number, length: number): number;
}

/**
 * The fastest checksums among the engines that are there: CRC-32 and Adler-32 are libdeflate's, else zlib's; CRC-32C is
 * ISA-L's; tables are the last resort.
 */
export function loadChecksums(engines: ReadonlySet<EngineName>): Checksums {
  const fast = engines.has('libdeflate') ? bindLibdeflateChecksums() : undefined;
  const pair = fast ?? (engines.has('zlib') ? bindZlibChecksums() : undefined);
  const { crc32, adler32 } = pair ?? { crc32: softwareCrc32, adler32: softwareAdler32 };
  const crc32c = (engines.has('isa-l') ? bindIsalCrc32c() : undefined) ?? softwareCrc32c;
  return {
    crc32: (source, length) => (length === 0 ? 0 : crc32(0, source, length)),
    adler32: (source, length) => (length === 0 ? ADLER_START : adler32(ADLER_START, source, length)),
    crc32c: (source, length) => (length === 0 ? 0 : crc32c(0, source, length)),
  };
}

/** Puts into a request that has succeeded the checksum that its flags ask for: of uncompressed bytes, or of what moved. */
export function addChecksum(checksums: Checksums, request: EngineRequest, flags: number): void {
  if ((flags & ANY) === 0) return;
  const packs = request.operation === OPCODE.compress;
  // Of two destinations, in the one written last.
  const output = request.operation === OPCODE.dualCopy ? request.aux : request.destination;
  const address = packs ? request.source : output;
  const length = packs ? request.sourceLength : request.produced;
  if ((flags & SQE_FLAG.crc32) !== 0) request.result = checksums.crc32(address, length);
  else if ((flags & SQE_FLAG.adler32) !== 0) request.result = checksums.adler32(address, length);
  else request.result = checksums.crc32c(address, length);
}

export function bindLibdeflateChecksums(): ChecksumPair | undefined {
  const functions = bindAll<{ libdeflate_crc32: Checksum32; libdeflate_adler32: Checksum32 }>(
    'libdeflate.so.0',
    {
      libdeflate_crc32: 'uint32_t libdeflate_crc32(uint32_t crc, uint64_t buf, uint64_t n)',
      libdeflate_adler32: 'uint32_t libdeflate_adler32(uint32_t adler, uint64_t buf, uint64_t n)',
    },
  );
  return functions && { crc32: functions.libdeflate_crc32, adler32: functions.libdeflate_adler32 };
}
