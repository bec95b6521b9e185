import { layout } from './layout.js';

/*
 * Virtio over PCI, modern devices only: virtio 1.2, chapters 2 and 4.1; <linux/virtio_pci.h>, <linux/virtio_ring.h>,
 * <linux/virtio_config.h>.
 */

export const VIRTIO_VENDOR_ID = 0x1af4;
/** A modern device's PCI id is this plus its virtio id. */
export const VIRTIO_DEVICE_ID_BASE = 0x1040;

/** What a vendor capability of a virtio device begins with; it tells where a structure lies. */
export const VIRTIO_CAPABILITY = layout({
  id: 'u8',
  next: 'u8',
  length: 'u8',
  type: 'u8',
  bar: 'u8',
  instance: 'u8',
  padding: 'u16',
  offset: 'u32',
  bytes: 'u32',
});

/** Of the notification structure, behind the capability: how far apart the doorbells of two queues are. */
export const VIRTIO_NOTIFY_MULTIPLIER = VIRTIO_CAPABILITY.bytes;

/** The structures by `type`. */
export const VIRTIO_STRUCTURE = { common: 1, notify: 2, isr: 3, device: 4 } as const;

/** The common configuration structure (4.1.4.3). */
export const VIRTIO_COMMON = layout({
  deviceFeatureSelect: 'u32',
  deviceFeature: 'u32',
  driverFeatureSelect: 'u32',
  driverFeature: 'u32',
  configVector: 'u16',
  queues: 'u16',
  deviceStatus: 'u8',
  configGeneration: 'u8',
  queueSelect: 'u16',
  queueSize: 'u16',
  queueVector: 'u16',
  queueEnable: 'u16',
  queueNotifyOffset: 'u16',
  descriptorsLow: 'u32',
  descriptorsHigh: 'u32',
  availableLow: 'u32',
  availableHigh: 'u32',
  usedLow: 'u32',
  usedHigh: 'u32',
});

/** In place of a vector: none. */
export const VIRTIO_NO_VECTOR = 0xffff;

/** Bits of `deviceStatus` (2.1). */
export const VIRTIO_STATUS = {
  acknowledge: 1,
  driver: 2,
  driverOk: 4,
  featuresOk: 8,
  needsReset: 0x40,
  failed: 0x80,
} as const;

/** Feature bits (6), by their numbers. */
export const VIRTIO_FEATURE = {
  indirectDescriptors: 28,
  eventIndex: 29,
  version1: 32,
  accessPlatform: 33,
} as const;

/** A descriptor of a split virtqueue (2.7.5). */
export const VIRTQ_DESCRIPTOR = layout({ address: 'u64', length: 'u32', flags: 'u16', next: 'u16' });
export const VIRTQ_DESCRIPTOR_FLAG = { next: 1, write: 2, indirect: 4 } as const;

/** Both rings begin with flags and an index, and end with a 16-bit word of the other side (2.7.6, 2.7.8). */
export const VIRTQ_RING = layout({ flags: 'u16', index: 'u16' });
export const VIRTQ_USED_ELEMENT = layout({ id: 'u32', length: 'u32' });
/** Of the available ring: no interrupts; of the used ring: no doorbells. */
export const VIRTQ_QUIET = 1;
