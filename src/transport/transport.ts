import type { DmaError } from '../errors.js';
import type { Interrupt } from '../sys/interrupt.js';
import type { Mapping } from '../sys/memory.js';

/** A part of a region that may be mapped, in bytes from the region's start. */
export interface MappableArea {
  offset: number;
  length: number;
}

/** One region of a device, as VFIO means it. */
export interface RegionInfo {
  index: number;
  length: number;
  read: boolean;
  write: boolean;
  /** What `mapRegion` accepts; empty when the region can only be read and written. */
  areas: MappableArea[];
}

/** Memory that the device may reach once it is mapped. */
export interface DmaRegion {
  /** A sealed memfd, and where in it the memory starts. */
  fd: number;
  offset: number;
  /** The address that requests will name. */
  iova: number;
  length: number;
  writable: boolean;
}

/** The same, as the process has it that maps it: the kernel takes memory for hardware by its address. */
export interface LocalDmaRegion extends DmaRegion {
  /** A multiple of the page size. */
  address: number;
}

/** An eventfd that wakes the device for a range of a region. */
export interface WakeFd {
  offset: number;
  length: number;
  fd: number;
}

/**
 * How this process reaches a device. Every method means what VFIO means by it, whatever carries it: a driver
 * written against this interface runs on a model and on hardware. Errors are rejections with a WarpDriveError.
 */
export interface Transport {
  /** The kind of transport and where it leads, for listings. */
  readonly name: string;
  /** Number of regions and of interrupt indexes. */
  readonly regions: number;
  readonly irqs: number;
  /** What is unsafe about it and was allowed by name, for listings. */
  readonly unsafe: readonly string[];

  /** Size, access and mappable areas of a region. */
  regionInfo(index: number): Promise<RegionInfo>;
  /** Reads bytes of a region at an offset. */
  readRegion(index: number, offset: number, length: number): Promise<Buffer>;
  /** Writes bytes of a region at an offset. */
  writeRegion(index: number, offset: number, data: Uint8Array): Promise<void>;
  /** Maps a mappable area; the caller unmaps it. */
  mapRegion(index: number, offset: number, length: number): Promise<Mapping>;
  /** Eventfds that wake the device for this region; the caller closes them. */
  wakeFds(index: number): Promise<WakeFd[]>;
  /** How many interrupts there are of an index. */
  irqCount(index: number): Promise<number>;
  /** An interrupt of the kind that this transport can route; the caller closes it. */
  createInterrupt(): Interrupt;
  /** Routes interrupts of an index, from `start` on, to eventfds; the caller keeps its own descriptors. */
  setIrqs(index: number, start: number, eventfds: readonly number[]): Promise<void>;
  /** Lets interrupts come again that were masked when they came, as INTx is. */
  unmaskIrqs(index: number, start: number, count: number): Promise<void>;
  /**
   * Addresses that the device can use and nothing else here has, to map memory at (see `DmaBuffer`).
   * @throws MemoryError if there is no room
   */
  reserveIova(length: number): number;
  /** Gives back what `reserveIova` gave, once nothing is mapped there. */
  releaseIova(iova: number): void;
  /** Lets the device reach memory. */
  dmaMap(region: LocalDmaRegion): Promise<void>;
  /** Takes memory away again; resolves once the device has let go of it. */
  dmaUnmap(iova: number, length: number): Promise<void>;
  /** Why the device cannot read or write these addresses, by what is mapped for it; undefined if it can. */
  whyUnreachable(iova: number, length: number, access: 'read' | 'write'): DmaError | undefined;
  /** Disables every queue and forgets every session. */
  reset(): Promise<void>;
  /** Lets the device go. Calling it again does nothing. */
  close(): Promise<void>;
  /** Called once if the device goes away by itself. */
  onLost(listener: (reason: Error) => void): void;
}
