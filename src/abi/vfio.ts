import { layout } from './layout.js';

/*
 * The kernel's VFIO (<linux/vfio.h>) and iommufd (<linux/iommufd.h>). What vfio-user borrows from it is in vfio-user.ts.
 */

export const VFIO_API_VERSION = 0;

/** Requests of ioctl(2): _IO(';', 100 + n), and for iommufd _IO(';', 0x80 + n). */
export const VFIO = {
  getApiVersion: 0x3b64,
  checkExtension: 0x3b65,
  setIommu: 0x3b66,
  groupGetStatus: 0x3b67,
  groupSetContainer: 0x3b68,
  groupGetDeviceFd: 0x3b6a,
  deviceGetInfo: 0x3b6b,
  deviceGetRegionInfo: 0x3b6c,
  deviceGetIrqInfo: 0x3b6d,
  deviceSetIrqs: 0x3b6e,
  deviceReset: 0x3b6f,
  iommuGetInfo: 0x3b70,
  iommuMapDma: 0x3b71,
  iommuUnmapDma: 0x3b72,
} as const;
/** The same for a device of /dev/vfio/devices, from Linux 6.6 on. */
export const VFIO_CDEV = { bindIommufd: 0x3b76, attachIommufdPt: 0x3b77 } as const;
export const IOMMUFD = {
  ioasAlloc: 0x3b81,
  ioasIovaRanges: 0x3b84,
  ioasMap: 0x3b85,
  ioasUnmap: 0x3b86,
} as const;

/** What CHECK_EXTENSION and SET_IOMMU take. */
export const IOMMU_TYPE = { type1v2: 3, noiommu: 8 } as const;
export const GROUP_VIABLE = 1;
export const CAP_MSIX_MAPPABLE = 3;

export const GROUP_STATUS = layout({ argsz: 'u32', flags: 'u32' });
export const TYPE1_INFO = layout({ argsz: 'u32', flags: 'u32', pageSizes: 'u64', capOffset: 'u32' });
export const TYPE1_INFO_CAPS = 2;
/** Capability of TYPE1_INFO: after CAP_HEADER as many ranges as `count` says. */
export const CAP_IOVA_RANGE = 1;
export const IOVA_RANGES = layout({ count: 'u32', reserved: 'u32' });
/** The last address belongs to the range, in both interfaces. */
export const IOVA_RANGE = layout({ start: 'u64', last: 'u64' });
export const TYPE1_MAP = layout({ argsz: 'u32', flags: 'u32', address: 'u64', iova: 'u64', size: 'u64' });
export const TYPE1_UNMAP = layout({ argsz: 'u32', flags: 'u32', iova: 'u64', size: 'u64' });

export const BIND_IOMMUFD = layout({ argsz: 'u32', flags: 'u32', iommufd: 'u32', deviceId: 'u32' });
export const ATTACH_IOMMUFD_PT = layout({ argsz: 'u32', flags: 'u32', ioasId: 'u32' });
export const IOAS_ALLOC = layout({ size: 'u32', flags: 'u32', ioasId: 'u32' });
export const IOAS_IOVA_RANGES = layout({
  size: 'u32',
  ioasId: 'u32',
  count: 'u32',
  reserved: 'u32',
  ranges: 'u64',
  alignment: 'u64',
});
export const IOAS_MAP = layout({
  size: 'u32',
  flags: 'u32',
  ioasId: 'u32',
  reserved: 'u32',
  address: 'u64',
  length: 'u64',
  iova: 'u64',
});
export const IOAS_UNMAP = layout({ size: 'u32', ioasId: 'u32', iova: 'u64', length: 'u64' });
export const IOAS_MAP_FLAG = { fixedIova: 1, writable: 2, readable: 4 } as const;
