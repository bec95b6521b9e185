/** WarpDrive for authors of drivers: how to reach a device, and what a driver is made of. See docs/drivers.md. */

export { PCI_IRQ } from '../abi/pci.js';
export { REGION } from '../abi/registers.js';
export * from '../errors.js';
export type { Interrupt } from '../sys/interrupt.js';
export type { Mapping } from '../sys/memory.js';
export { Registers } from '../sys/registers.js';
export { DmaBuffer, type DmaBufferOptions } from '../transport/dma-buffer.js';
export { openTransport } from '../transport/open.js';
export type { LocalDmaRegion, MappableArea, RegionInfo, Transport, WakeFd } from '../transport/transport.js';
export {
  createMdev,
  describeMdev,
  listMdevParents,
  type MdevParent,
  type MdevType,
  removeMdev,
} from '../transport/vfio/mdev.js';
export type { Unsafe, VfioOptions } from '../transport/vfio/open.js';
export { Edu } from './edu/edu.js';
