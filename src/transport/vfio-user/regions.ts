import {
  CAP_HEADER,
  CAP_SPARSE_MMAP,
  IO_FD_ENTRY,
  MAX_IO_FD_ENTRY_BYTES,
  REGION_ACCESS,
  REGION_FLAG,
  REGION_INFO,
  REGION_IO_FDS,
  SPARSE_AREA,
  SPARSE_MMAP,
} from '../../abi/vfio-user.js';
import { ProtocolError } from '../../errors.js';
import type { RegionCapability, RegionDetails } from '../details.js';
import type { MappableArea } from '../transport.js';

/*
 * Replies of a server, taken apart, and the start of what it is asked. A server that others wrote is trusted with nothing: lists are followed within the
 * message and to their end once.
 */

/** A range of a region with a descriptor behind it. */
export interface IoFd {
  offset: number;
  length: number;
  /** Its place among the descriptors of the message. */
  fdIndex: number;
  /** IO_FD_TYPE. */
  type: number;
}

/** A 64-bit size as a Number; sizes beyond 2^53 are refused. */
export function readSize(body: Buffer, offset: number): number {
  const value = body.readBigUInt64LE(offset);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new ProtocolError(`a size of ${value} bytes`);
  return Number(value);
}

/**
 * What VFIO says of a region, whether the kernel or a server says it (struct vfio_region_info).
 * @param fd what it is mapped by; without one it cannot be
 */
export function parseRegion(index: number, info: Buffer, fd: number | undefined): RegionDetails {
  const flags = info.readUInt32LE(REGION_INFO.offset.flags);
  const length = readSize(info, REGION_INFO.offset.size);
  const { capabilities, areas } = parseCapabilities(info);
  const isMappable = fd !== undefined && (flags & REGION_FLAG.mmap) !== 0;
  return {
    index,
    length,
    read: (flags & REGION_FLAG.read) !== 0,
    write: (flags & REGION_FLAG.write) !== 0,
    areas: isMappable ? (areas ?? [{ offset: 0, length }]) : [],
    flags,
    capabilities,
    fdOffset: readSize(info, REGION_INFO.offset.offset),
    fd,
  };
}

/** The capabilities of a region, and the areas that the one for sparse mapping lists, if it is there. */
function parseCapabilities(body: Buffer): {
  capabilities: RegionCapability[];
  areas: MappableArea[] | undefined;
} {
  const capabilities: RegionCapability[] = [];
  let areas: MappableArea[] | undefined;
  const hasCapabilities = (body.readUInt32LE(REGION_INFO.offset.flags) & REGION_FLAG.caps) !== 0;
  let at = hasCapabilities ? body.readUInt32LE(REGION_INFO.offset.capOffset) : 0;
  const seen = new Set<number>();
  while (at >= REGION_INFO.bytes && at + CAP_HEADER.bytes <= body.length && !seen.has(at)) {
    seen.add(at);
    const id = body.readUInt16LE(at + CAP_HEADER.offset.id);
    capabilities.push({ id, version: body.readUInt16LE(at + CAP_HEADER.offset.version) });
    if (id === CAP_SPARSE_MMAP) areas ??= parseAreas(body, at + CAP_HEADER.bytes);
    at = body.readUInt32LE(at + CAP_HEADER.offset.next);
  }
  return { capabilities, areas };
}

function parseAreas(body: Buffer, start: number): MappableArea[] {
  const areas: MappableArea[] = [];
  if (start + SPARSE_MMAP.bytes > body.length) return areas;
  const count = body.readUInt32LE(start + SPARSE_MMAP.offset.areas);
  for (let i = 0; i < count; i++) {
    const entry = start + SPARSE_MMAP.bytes + i * SPARSE_AREA.bytes;
    if (entry + SPARSE_AREA.bytes > body.length) break;
    areas.push({
      offset: readSize(body, entry + SPARSE_AREA.offset.offset),
      length: readSize(body, entry + SPARSE_AREA.offset.size),
    });
  }
  return areas;
}

/** The entries of a GET_REGION_IO_FDS reply. How long one is follows from `argsz` ("not to be relied on", says the text). */
export function parseIoFds(body: Buffer, fdCount: number): IoFd[] {
  const count = body.readUInt32LE(REGION_IO_FDS.offset.count);
  if (count === 0) return [];
  const bytes = (body.readUInt32LE(REGION_IO_FDS.offset.argsz) - REGION_IO_FDS.bytes) / count;
  if (!Number.isInteger(bytes) || bytes < IO_FD_ENTRY.bytes || bytes > MAX_IO_FD_ENTRY_BYTES) {
    throw new ProtocolError(`${count} wake descriptors in ${body.length} bytes`);
  }
  return Array.from({ length: Math.min(count, Math.floor(body.length / bytes)) }, (_, i) => {
    const at = REGION_IO_FDS.bytes + i * bytes;
    if (at + IO_FD_ENTRY.bytes > body.length) throw new ProtocolError('a wake descriptor is cut off');
    const fdIndex = body.readUInt32LE(at + IO_FD_ENTRY.offset.fdIndex);
    if (fdIndex >= fdCount) throw new ProtocolError('a wake descriptor was named and not sent');
    return {
      offset: readSize(body, at + IO_FD_ENTRY.offset.offset),
      length: readSize(body, at + IO_FD_ENTRY.offset.size),
      fdIndex,
      type: body.readUInt32LE(at + IO_FD_ENTRY.offset.type),
    };
  });
}

/** What a read or a write of a region begins with. */
export function regionAccess(index: number, offset: number, count: number): Buffer {
  const body = Buffer.alloc(REGION_ACCESS.bytes);
  body.writeBigUInt64LE(BigInt(offset), REGION_ACCESS.offset.offset);
  body.writeUInt32LE(index, REGION_ACCESS.offset.region);
  body.writeUInt32LE(count, REGION_ACCESS.offset.count);
  return body;
}
