import {
  ATTACH_IOMMUFD_PT,
  BIND_IOMMUFD,
  IOAS_ALLOC,
  IOAS_IOVA_RANGES,
  IOAS_MAP,
  IOAS_MAP_FLAG,
  IOAS_UNMAP,
  IOMMUFD,
  IOVA_RANGE,
  VFIO_CDEV,
} from '../../abi/vfio.js';
import { SystemError } from '../../errors.js';
import { closeFd } from '../../sys/fd.js';
import { ioctl } from '../../sys/ioctl.js';
import { ERRNO } from '../../sys/libc.js';
import { addressOf } from '../../sys/memory.js';
import type { IovaRange } from '../iova-allocator.js';
import type { LocalDmaRegion } from '../transport.js';
import { readRanges } from './container.js';
import { explainMap, type Iommu } from './iommu.js';
import { openVfioFile, taken } from './open-file.js';

/** An address space (IOAS) of /dev/iommu, which devices opened by themselves attach to: no groups, no container. */
export class IommufdIommu implements Iommu {
  readonly kind = 'iommufd';
  readonly usable: readonly IovaRange[];
  readonly #fd: number;
  readonly #ioas: number;

  /** Makes an address space and puts a device of /dev/vfio/devices in it. */
  constructor(device: number, path: string, name: string) {
    this.#fd = openVfioFile('/dev/iommu', 'iommufd');
    try {
      this.#bind(device, path, name);
      const request = this.#request(IOAS_ALLOC.bytes);
      ioctl(this.#fd, 'IOMMU_IOAS_ALLOC', IOMMUFD.ioasAlloc, request);
      this.#ioas = request.readUInt32LE(IOAS_ALLOC.offset.ioasId);
      const attach = this.#request(ATTACH_IOMMUFD_PT.bytes);
      attach.writeUInt32LE(this.#ioas, ATTACH_IOMMUFD_PT.offset.ioasId);
      ioctl(device, 'VFIO_DEVICE_ATTACH_IOMMUFD_PT', VFIO_CDEV.attachIommufdPt, attach);
      this.usable = this.#ranges();
    } catch (error) {
      closeFd(this.#fd);
      throw error;
    }
  }

  /** A structure of this many bytes, which it begins with. */
  #request(bytes: number): Buffer {
    const request = Buffer.alloc(bytes);
    request.writeUInt32LE(bytes);
    return request;
  }

  #bind(device: number, path: string, name: string): void {
    const request = this.#request(BIND_IOMMUFD.bytes);
    request.writeUInt32LE(this.#fd, BIND_IOMMUFD.offset.iommufd);
    try {
      ioctl(device, 'VFIO_DEVICE_BIND_IOMMUFD', VFIO_CDEV.bindIommufd, request);
    } catch (cause) {
      // Anybody may open the file twice, and one may bind it.
      if (!(cause instanceof SystemError) || cause.errno !== ERRNO.EINVAL) throw cause;
      throw taken(cause.syscall, path, name, cause);
    }
  }

  #ranges(): IovaRange[] {
    let list = Buffer.alloc(0);
    for (;;) {
      const request = this.#request(IOAS_IOVA_RANGES.bytes);
      request.writeUInt32LE(this.#ioas, IOAS_IOVA_RANGES.offset.ioasId);
      request.writeUInt32LE(list.length / IOVA_RANGE.bytes, IOAS_IOVA_RANGES.offset.count);
      const address = list.length === 0 ? 0 : addressOf(list);
      request.writeBigUInt64LE(BigInt(address), IOAS_IOVA_RANGES.offset.ranges);
      try {
        ioctl(this.#fd, 'IOMMU_IOAS_IOVA_RANGES', IOMMUFD.ioasIovaRanges, request);
        return readRanges(list, request.readUInt32LE(IOAS_IOVA_RANGES.offset.count));
      } catch (error) {
        // There are more ranges than there was room for: `count` says how many.
        if (!(error instanceof SystemError) || error.errno !== ERRNO.EMSGSIZE) throw error;
        list = Buffer.alloc(request.readUInt32LE(IOAS_IOVA_RANGES.offset.count) * IOVA_RANGE.bytes);
      }
    }
  }

  map(region: LocalDmaRegion): void {
    const request = this.#request(IOAS_MAP.bytes);
    const flags = IOAS_MAP_FLAG.fixedIova | IOAS_MAP_FLAG.readable;
    request.writeUInt32LE(flags | (region.writable ? IOAS_MAP_FLAG.writable : 0), IOAS_MAP.offset.flags);
    request.writeUInt32LE(this.#ioas, IOAS_MAP.offset.ioasId);
    request.writeBigUInt64LE(BigInt(region.address), IOAS_MAP.offset.address);
    request.writeBigUInt64LE(BigInt(region.length), IOAS_MAP.offset.length);
    request.writeBigUInt64LE(BigInt(region.iova), IOAS_MAP.offset.iova);
    try {
      ioctl(this.#fd, 'IOMMU_IOAS_MAP', IOMMUFD.ioasMap, request);
    } catch (error) {
      throw explainMap(error, region);
    }
  }

  unmap(iova: number, length: number): void {
    const request = this.#request(IOAS_UNMAP.bytes);
    request.writeUInt32LE(this.#ioas, IOAS_UNMAP.offset.ioasId);
    request.writeBigUInt64LE(BigInt(iova), IOAS_UNMAP.offset.iova);
    request.writeBigUInt64LE(BigInt(length), IOAS_UNMAP.offset.length);
    ioctl(this.#fd, 'IOMMU_IOAS_UNMAP', IOMMUFD.ioasUnmap, request);
  }

  /** After the device was closed. */
  close(): void {
    closeFd(this.#fd);
  }
}
