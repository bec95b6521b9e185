import type { RegionInfo } from './transport.js';

/** A capability of a region, as its header names it. */
export interface RegionCapability {
  id: number;
  version: number;
}

/** A region with all that the other end said of it. */
export interface RegionDetails extends RegionInfo {
  /** REGION_FLAG. */
  flags: number;
  capabilities: RegionCapability[];
  /** Where the region starts in its descriptor. */
  fdOffset: number;
  /** The transport's own, if there is one. */
  fd: number | undefined;
}

/** What interrupts there are of one index. */
export interface IrqDetails {
  /** IRQ_FLAG. */
  flags: number;
  count: number;
}
