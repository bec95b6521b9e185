import {
  CAP_IOVA_RANGE,
  IOMMU_TYPE,
  IOVA_RANGE,
  IOVA_RANGES,
  TYPE1_INFO,
  TYPE1_INFO_CAPS,
  TYPE1_MAP,
  TYPE1_UNMAP,
  VFIO,
} from '../../abi/vfio.js';
import { CAP_HEADER, DMA_FLAG } from '../../abi/vfio-user.js';
import { ioctl } from '../../sys/ioctl.js';
import type { IovaRange } from '../iova-allocator.js';
import type { LocalDmaRegion } from '../transport.js';
import { explainMap, type Iommu } from './iommu.js';

/** What a kernel that tells no ranges translates, as far as is safe to assume: below the window of interrupts. */
const UNTOLD: IovaRange[] = [{ start: 0, last: 0xfedfffff }];

/** The address space of a container (type1v2) that has a group and its IOMMU already. */
export class ContainerIommu implements Iommu {
  readonly kind = 'type1v2';
  readonly usable: readonly IovaRange[];
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
    this.usable = this.#ranges();
  }

  #ranges(): IovaRange[] {
    const head = Buffer.alloc(TYPE1_INFO.bytes);
    head.writeUInt32LE(head.length, TYPE1_INFO.offset.argsz);
    ioctl(this.#fd, 'VFIO_IOMMU_GET_INFO', VFIO.iommuGetInfo, head);
    const info = Buffer.alloc(head.readUInt32LE(TYPE1_INFO.offset.argsz));
    info.writeUInt32LE(info.length, TYPE1_INFO.offset.argsz);
    ioctl(this.#fd, 'VFIO_IOMMU_GET_INFO', VFIO.iommuGetInfo, info);
    const hasCapabilities = (info.readUInt32LE(TYPE1_INFO.offset.flags) & TYPE1_INFO_CAPS) !== 0;
    let at = hasCapabilities ? info.readUInt32LE(TYPE1_INFO.offset.capOffset) : 0;
    while (at !== 0) {
      if (info.readUInt16LE(at + CAP_HEADER.offset.id) === CAP_IOVA_RANGE) {
        const start = at + CAP_HEADER.bytes;
        return readRanges(
          info.subarray(start + IOVA_RANGES.bytes),
          info.readUInt32LE(start + IOVA_RANGES.offset.count),
        );
      }
      at = info.readUInt32LE(at + CAP_HEADER.offset.next);
    }
    return UNTOLD;
  }

  map(region: LocalDmaRegion): void {
    const request = Buffer.alloc(TYPE1_MAP.bytes);
    request.writeUInt32LE(TYPE1_MAP.bytes, TYPE1_MAP.offset.argsz);
    request.writeUInt32LE(DMA_FLAG.read | (region.writable ? DMA_FLAG.write : 0), TYPE1_MAP.offset.flags);
    request.writeBigUInt64LE(BigInt(region.address), TYPE1_MAP.offset.address);
    request.writeBigUInt64LE(BigInt(region.iova), TYPE1_MAP.offset.iova);
    request.writeBigUInt64LE(BigInt(region.length), TYPE1_MAP.offset.size);
    try {
      ioctl(this.#fd, 'VFIO_IOMMU_MAP_DMA', VFIO.iommuMapDma, request);
    } catch (error) {
      throw explainMap(error, region);
    }
  }

  unmap(iova: number, length: number): void {
    const request = Buffer.alloc(TYPE1_UNMAP.bytes);
    request.writeUInt32LE(TYPE1_UNMAP.bytes, TYPE1_UNMAP.offset.argsz);
    request.writeBigUInt64LE(BigInt(iova), TYPE1_UNMAP.offset.iova);
    request.writeBigUInt64LE(BigInt(length), TYPE1_UNMAP.offset.size);
    ioctl(this.#fd, 'VFIO_IOMMU_UNMAP_DMA', VFIO.iommuUnmapDma, request);
  }
}

/** Gives a container's IOMMU to the groups that it has. */
export function setIommu(container: number, type: keyof typeof IOMMU_TYPE): void {
  ioctl(container, 'VFIO_SET_IOMMU', VFIO.setIommu, IOMMU_TYPE[type]);
}

/** A list of ranges as the kernel writes it; a last address beyond exact Numbers is as good as the largest. */
export function readRanges(list: Buffer, count: number): IovaRange[] {
  return Array.from({ length: count }, (_, index) => {
    const at = index * IOVA_RANGE.bytes;
    return {
      start: Number(list.readBigUInt64LE(at + IOVA_RANGE.offset.start)),
      last: Number(list.readBigUInt64LE(at + IOVA_RANGE.offset.last)),
    };
  });
}
