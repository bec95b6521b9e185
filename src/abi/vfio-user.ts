import { layout } from './layout.js';

/*
 * vfio-user messages (QEMU, docs/interop/vfio-user.rst) and the constants they borrow from <linux/vfio.h>.
 */

export const HEADER = layout({ id: 'u16', command: 'u16', size: 'u32', flags: 'u32', error: 'u32' });

export const COMMAND = {
  version: 1,
  dmaMap: 2,
  dmaUnmap: 3,
  getInfo: 4,
  getRegionInfo: 5,
  getRegionIoFds: 6,
  getIrqInfo: 7,
  setIrqs: 8,
  regionRead: 9,
  regionWrite: 10,
  dmaRead: 11,
  dmaWrite: 12,
  reset: 13,
  writeMulti: 15,
  deviceFeature: 16,
} as const;

export const MESSAGE_TYPE = { command: 0, reply: 1, mask: 0xf } as const;
export const MESSAGE_FLAG = { noReply: 0x10, error: 0x20 } as const;

export const PROTOCOL_MAJOR = 0;
export const PROTOCOL_MINOR = 1;
/** What a side that does not say so has (QEMU's text, "Version"). */
export const DEFAULT_MAX_MSG_FDS = 1;
export const DEFAULT_MAX_DMA_MAPS = 65535;
export const DEFAULT_PAGE_SIZES = 4096;
/** The most bytes of JSON that a VERSION message may carry. */
export const MAX_VERSION_BYTES = 16 * 1024;
/** Largest body accepted; the protocol's default for max_data_xfer_size, plus room for the fixed parts. */
export const MAX_TRANSFER_BYTES = 1024 * 1024;
export const MAX_MESSAGE_BYTES = MAX_TRANSFER_BYTES + 4096;

export const VERSION_FIXED = layout({ major: 'u16', minor: 'u16' });
export const DMA_MAP = layout({ argsz: 'u32', flags: 'u32', offset: 'u64', address: 'u64', size: 'u64' });
export const DMA_UNMAP = layout({ argsz: 'u32', flags: 'u32', address: 'u64', size: 'u64' });
export const REGION_ACCESS = layout({ offset: 'u64', region: 'u32', count: 'u32' });
/** DMA_READ and DMA_WRITE; the data follows. */
export const DMA_ACCESS = layout({ address: 'u64', count: 'u64' });
/** Least reply to DMA_WRITE: the text has a 32-bit count, libvfio-user sends a whole DMA_ACCESS. */
export const DMA_WRITE_REPLY_BYTES = 12;
/** WRITE_MULTI, and its reply; as many entries follow. */
export const WRITE_MULTI = layout({ count: 'u64' });
export const WRITE_MULTI_ENTRY = layout({ offset: 'u64', region: 'u32', count: 'u32', data: 'u64' });
export const WRITE_MULTI_DATA_BYTES = 8;
export const REGION_IO_FDS = layout({ argsz: 'u32', flags: 'u32', index: 'u32', count: 'u32' });
export const IO_FD_ENTRY = layout({
  offset: 'u64',
  size: 'u64',
  fdIndex: 'u32',
  type: 'u32',
  flags: 'u32',
  padding: 'u32',
  datamatch: 'u64',
});

/** struct vfio_device_info of <linux/vfio.h>, as far as vfio-user carries it. */
export const DEVICE_INFO = layout({ argsz: 'u32', flags: 'u32', numRegions: 'u32', numIrqs: 'u32' });
/** struct vfio_region_info. */
export const REGION_INFO = layout({
  argsz: 'u32',
  flags: 'u32',
  index: 'u32',
  capOffset: 'u32',
  size: 'u64',
  offset: 'u64',
});
/** struct vfio_irq_info. */
export const IRQ_INFO = layout({ argsz: 'u32', flags: 'u32', index: 'u32', count: 'u32' });
/** struct vfio_irq_set. */
export const IRQ_SET = layout({ argsz: 'u32', flags: 'u32', index: 'u32', start: 'u32', count: 'u32' });
/** struct vfio_info_cap_header. */
export const CAP_HEADER = layout({ id: 'u16', version: 'u16', next: 'u32' });
/** struct vfio_region_info_cap_sparse_mmap, after its header. */
export const SPARSE_MMAP = layout({ areas: 'u32', reserved: 'u32' });
/** struct vfio_region_sparse_mmap_area. */
export const SPARSE_AREA = layout({ offset: 'u64', size: 'u64' });

export const DEVICE_FLAG = { reset: 1, pci: 2 } as const;
export const REGION_FLAG = { read: 1, write: 2, mmap: 4, caps: 8 } as const;
export const CAP_SPARSE_MMAP = 1;
export const IRQ_FLAG = { eventfd: 1, maskable: 2, automasked: 4, noresize: 8 } as const;
export const IRQ_SET_FLAG = { none: 1, bool: 2, eventfd: 4, mask: 8, unmask: 16, trigger: 32 } as const;
export const DMA_FLAG = { read: 1, write: 2 } as const;
/** `all` is of <linux/vfio.h> and libvfio-user; QEMU's text knows no flags. */
export const DMA_UNMAP_FLAG = { dirtyBitmap: 1, all: 2 } as const;
export const IO_FD_TYPE = { ioeventfd: 0, ioregionfd: 1 } as const;
/** libvfio-user's entries go on with the offset of a shadow: 48 bytes. */
export const MAX_IO_FD_ENTRY_BYTES = 64;
