/*
 * PCI configuration space (PCI 3.0 chapter 6, PCI Express 3.0 chapter 7, <linux/pci_regs.h>): what a listing looks at
 * beside the ids in registers.ts.
 */

/** Offsets of the standard header, type 0. */
export const PCI_CONFIG = {
  headerBytes: 64,
  status: 6,
  subsystemVendorId: 0x2c,
  subsystemId: 0x2e,
  capabilities: 0x34,
  /** Where extended capabilities begin, in a space that has room for them. */
  extended: 0x100,
  extendedBytes: 4096,
} as const;

/** Bit of `status`: there is a list of capabilities. */
export const PCI_STATUS_CAPABILITIES = 0x10;

/** Bits of the command register: the device answers to its addresses, does DMA, keeps INTx to itself. */
export const PCI_COMMAND = { memory: 2, busMaster: 4, intxDisable: 0x400 } as const;

/** A capability begins with its id and the offset of the next; the two low bits of an offset are reserved. */
export const PCI_CAPABILITY = { id: 0, next: 1, offsetMask: 0xfc } as const;
/** Capabilities that drivers look for: MSI-X, whose table has so many entries and one more; and the vendor's own. */
export const PCI_MSIX = { id: 17, control: 2, sizeMask: 0x7ff } as const;
export const PCI_VENDOR_SPECIFIC = 9;
/** An extended one with a word: id in 16 bits, version in 4, the next offset in 12. */
export const PCI_EXTENDED = { idMask: 0xffff, versionShift: 16, versionMask: 0xf, nextShift: 20 } as const;

/** Capabilities by id. */
export const PCI_CAPABILITY_NAME: Readonly<Record<number, string>> = {
  1: 'power management',
  2: 'AGP',
  3: 'vital product data',
  5: 'MSI',
  7: 'PCI-X',
  9: 'vendor specific',
  13: 'bridge subsystem ids',
  16: 'PCI Express',
  17: 'MSI-X',
  18: 'SATA',
  19: 'advanced features',
  20: 'enhanced allocation',
};

export const PCI_EXTENDED_NAME: Readonly<Record<number, string>> = {
  1: 'advanced error reporting',
  2: 'virtual channel',
  3: 'serial number',
  4: 'power budgeting',
  11: 'vendor specific',
  13: 'access control services',
  14: 'alternative routing-id',
  15: 'address translation',
  16: 'single root I/O virtualization',
  19: 'page requests',
  27: 'process address space id',
  35: 'designated vendor specific',
};

/** Base classes, the highest byte of the class code. */
export const PCI_BASE_CLASS: Readonly<Record<number, string>> = {
  0: 'unclassified',
  1: 'mass storage',
  2: 'network',
  3: 'display',
  4: 'multimedia',
  5: 'memory',
  6: 'bridge',
  7: 'communication',
  8: 'system peripheral',
  9: 'input',
  11: 'processor',
  12: 'serial bus',
  13: 'wireless',
  16: 'encryption',
  17: 'signal processing',
  18: 'processing accelerator',
  255: 'of no class',
};

/** Indexes of interrupts, as VFIO numbers them (<linux/vfio.h>). */
export const PCI_IRQ = { intx: 0, msi: 1, msix: 2, error: 3, request: 4 } as const;

/** What VFIO calls the regions and interrupts of a PCI device, by index (<linux/vfio.h>). */
export const PCI_REGION_NAME = [
  'BAR 0',
  'BAR 1',
  'BAR 2',
  'BAR 3',
  'BAR 4',
  'BAR 5',
  'ROM',
  'config',
  'VGA',
] as const;
export const PCI_BARS = 6;
export const PCI_IRQ_NAME = ['INTx', 'MSI', 'MSI-X', 'error', 'request'] as const;
