import { REGION } from '../abi/registers.js';
import {
  CAP_HEADER,
  CAP_SPARSE_MMAP,
  DEVICE_FLAG,
  DEVICE_INFO,
  IO_FD_ENTRY,
  IO_FD_TYPE,
  IRQ_FLAG,
  IRQ_INFO,
  REGION_FLAG,
  REGION_INFO,
  REGION_IO_FDS,
  SPARSE_AREA,
  SPARSE_MMAP,
} from '../abi/vfio-user.js';
import { SystemError } from '../errors.js';
import { ERRNO } from '../sys/libc.js';
import type { DeviceFunction } from './function.js';

/** The body of a reply, and the descriptors that go with it. */
export interface Reply {
  body: Buffer;
  fds?: number[];
  /** Descriptors of the connection's own: closed once they have gone. */
  owned?: number[];
}

export const EMPTY: Reply = { body: Buffer.alloc(0) };

/** GET_INFO. */
export function info(of: DeviceFunction): Reply {
  const body = Buffer.alloc(DEVICE_INFO.bytes);
  body.writeUInt32LE(DEVICE_INFO.bytes, DEVICE_INFO.offset.argsz);
  body.writeUInt32LE(DEVICE_FLAG.reset | DEVICE_FLAG.pci, DEVICE_INFO.offset.flags);
  body.writeUInt32LE(of.regionCount, DEVICE_INFO.offset.numRegions);
  body.writeUInt32LE(of.irqCount, DEVICE_INFO.offset.numIrqs);
  return { body };
}

/** GET_REGION_INFO. A client that takes no descriptors is not told of what it could map. */
export function regionInfo(of: DeviceFunction, request: Buffer, takesFds: boolean): Reply {
  const index = request.readUInt32LE(REGION_INFO.offset.index);
  const argsz = request.readUInt32LE(REGION_INFO.offset.argsz);
  if (argsz < REGION_INFO.bytes) throw new SystemError('vfio-user', ERRNO.EINVAL, 'argsz is too small');
  const region = of.region(index);
  const fd = takesFds ? region.fd : undefined;
  const sparseAt = REGION_INFO.bytes;
  const size =
    fd !== undefined ? sparseAt + CAP_HEADER.bytes + SPARSE_MMAP.bytes + SPARSE_AREA.bytes : sparseAt;
  const body = Buffer.alloc(size);
  let flags = (region.read ? REGION_FLAG.read : 0) | (region.write ? REGION_FLAG.write : 0);
  if (fd !== undefined) {
    flags |= REGION_FLAG.mmap | REGION_FLAG.caps;
    body.writeUInt32LE(sparseAt, REGION_INFO.offset.capOffset);
    body.writeUInt16LE(CAP_SPARSE_MMAP, sparseAt + CAP_HEADER.offset.id);
    body.writeUInt16LE(1, sparseAt + CAP_HEADER.offset.version);
    const areasAt = sparseAt + CAP_HEADER.bytes;
    body.writeUInt32LE(1, areasAt + SPARSE_MMAP.offset.areas);
    body.writeBigUInt64LE(BigInt(region.length), areasAt + SPARSE_MMAP.bytes + SPARSE_AREA.offset.size);
  }
  body.writeUInt32LE(size, REGION_INFO.offset.argsz);
  body.writeUInt32LE(flags, REGION_INFO.offset.flags);
  body.writeUInt32LE(index, REGION_INFO.offset.index);
  body.writeBigUInt64LE(BigInt(region.length), REGION_INFO.offset.size);
  if (fd === undefined) return { body };
  // Where the client left no room for the capabilities it gets the fixed part, asks again, and is sent the memory then.
  if (argsz < size) {
    body.writeUInt32LE(0, REGION_INFO.offset.capOffset);
    return { body: body.subarray(0, REGION_INFO.bytes) };
  }
  return { body, fds: [fd] };
}

/** GET_REGION_IO_FDS: what wakes the device. */
export function regionIoFds(of: DeviceFunction, request: Buffer, wakeFd: number | undefined): Reply {
  const index = request.readUInt32LE(REGION_IO_FDS.offset.index);
  const { length } = of.region(index);
  const entries = index === REGION.doorbells && wakeFd !== undefined ? 1 : 0;
  const size = REGION_IO_FDS.bytes + entries * IO_FD_ENTRY.bytes;
  const hasRoom = request.readUInt32LE(REGION_IO_FDS.offset.argsz) >= size;
  const body = Buffer.alloc(hasRoom ? size : REGION_IO_FDS.bytes);
  body.writeUInt32LE(size, REGION_IO_FDS.offset.argsz);
  body.writeUInt32LE(index, REGION_IO_FDS.offset.index);
  body.writeUInt32LE(entries, REGION_IO_FDS.offset.count);
  if (!hasRoom || entries === 0) return { body };
  const at = REGION_IO_FDS.bytes;
  body.writeBigUInt64LE(BigInt(length), at + IO_FD_ENTRY.offset.size);
  body.writeUInt32LE(IO_FD_TYPE.ioeventfd, at + IO_FD_ENTRY.offset.type);
  return { body, fds: [wakeFd!] };
}

/** GET_IRQ_INFO. */
export function irqInfo(of: DeviceFunction, request: Buffer): Reply {
  const index = request.readUInt32LE(IRQ_INFO.offset.index);
  const body = Buffer.alloc(IRQ_INFO.bytes);
  body.writeUInt32LE(IRQ_INFO.bytes, IRQ_INFO.offset.argsz);
  body.writeUInt32LE(IRQ_FLAG.eventfd | IRQ_FLAG.noresize, IRQ_INFO.offset.flags);
  body.writeUInt32LE(index, IRQ_INFO.offset.index);
  body.writeUInt32LE(of.interrupts.count(index), IRQ_INFO.offset.count);
  return { body };
}
