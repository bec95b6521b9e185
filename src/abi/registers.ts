import { layout } from './layout.js';

/*
 * The device as a PCI function (docs/device-spec.md). Regions are numbered as VFIO numbers those of a PCI device.
 */

export const REGION = { registers: 0, doorbells: 2, status: 4, description: 5, config: 7 } as const;
export const REGION_COUNT = 9;

export const IRQ = { msix: 2, error: 3 } as const;
export const IRQ_COUNT = 5;

export const DEVICE_MAGIC = 0x41564457; // "WDVA"
export const DEVICE_VERSION = 0x00010000;

/** Identity and capabilities at 0 in region 0; read only, but for `control`. */
export const DEVICE_REGISTERS = layout({
  magic: 'u32',
  version: 'u32',
  features: 'u32',
  state: 'u32',
  maxQueues: 'u32',
  maxDepth: 'u32',
  maxTransfer: 'u32',
  maxSessions: 'u32',
  maxThreads: 'u32',
  threads: 'u32',
  descriptionBytes: 'u32',
  openQueues: 'u32',
});

/** Bits of `features`. */
export const FEATURE = {
  /** The device takes any address of the client's process; nothing has to be mapped. */
  sva: 1,
} as const;

/** Queue set-up at this offset of region 0: select, fill in, command, and read the outcome. */
export const QUEUE_SETUP_OFFSET = 0x100;
export const QUEUE_SETUP = layout({
  queue: 'u32',
  depth: 'u32',
  startIndex: 'u32',
  vector: 'u32',
  sqLow: 'u32',
  sqHigh: 'u32',
  cqLow: 'u32',
  cqHigh: 'u32',
  command: 'u32',
  outcome: 'u32',
  token: 'u32',
  state: 'u32',
});

export const QUEUE_COMMAND = { none: 0, enable: 1, disable: 2 } as const;
export const QUEUE_STATE = { disabled: 0, enabled: 1, isolated: 2 } as const;

/** The queue's counters, for the queue selected by the last write to `queue`; read only. */
export const QUEUE_COUNTERS_OFFSET = 0x180;
export const QUEUE_COUNTERS = layout({
  completed: 'u32',
  wrongRings: 'u32',
  staleSlots: 'u32',
  refused: 'u32',
  lastFaultReason: 'u32',
  lastFaultIndex: 'u32',
});

/** Bytes of region 0. */
export const REGISTERS_BYTES = 4096;

/** PCI configuration space (PCI 3.0, chapter 6): the fields a driver looks at. */
export const PCI = {
  configBytes: 256,
  vendorId: 0x7764,
  deviceId: 0x0001,
  revision: 1,
  /** Base class 12h: processing accelerators. */
  classCode: 0x120000,
  offset: { vendorId: 0, deviceId: 2, command: 4, status: 6, revision: 8, classCode: 9, headerType: 14 },
} as const;
