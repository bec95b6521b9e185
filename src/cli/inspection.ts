import {
  PCI_BASE_CLASS,
  PCI_CAPABILITY,
  PCI_CAPABILITY_NAME,
  PCI_CONFIG,
  PCI_EXTENDED,
  PCI_EXTENDED_NAME,
  PCI_IRQ_NAME,
  PCI_REGION_NAME,
  PCI_STATUS_CAPABILITIES,
} from '../abi/pci.js';
import { DEVICE_MAGIC, DEVICE_REGISTERS, FEATURE, PCI, REGION } from '../abi/registers.js';
import { CAP_MSIX_MAPPABLE } from '../abi/vfio.js';
import { CAP_SPARSE_MMAP, DEVICE_FLAG, IRQ_FLAG, MAX_TRANSFER_BYTES, REGION_FLAG } from '../abi/vfio-user.js';
import type { DeviceDescription } from '../device/device.js';
import { ProtocolError, SystemError } from '../errors.js';
import { closeFd } from '../sys/fd.js';
import type { IrqDetails, RegionDetails } from '../transport/details.js';
import type { MappableArea, Transport } from '../transport/transport.js';
import type { Version } from '../transport/vfio-user/version.js';

/** One capability of the configuration space. */
export interface PciCapability {
  offset: number;
  id: number;
  name: string;
  extended: boolean;
}

export interface PciIdentity {
  vendorId: number;
  deviceId: number;
  revision: number;
  classCode: number;
  className: string;
  subsystemVendorId: number;
  subsystemId: number;
  capabilities: PciCapability[];
}

export interface InspectedRegion {
  index: number;
  name: string;
  size: number;
  flags: string[];
  /** What can be mapped; and whether the memory behind it came. */
  areas: MappableArea[];
  descriptor: boolean;
  capabilities: string[];
  /** Ranges that have an eventfd. */
  wake: MappableArea[];
  /** Why something is not known. */
  notes: string[];
}

export interface InspectedIrq {
  index: number;
  name: string;
  count: number;
  flags: string[];
  notes: string[];
}

/** What a WarpDrive accelerator says of itself. */
export interface Identity {
  version: string;
  registers: Record<string, number>;
  flags: string[];
  description: DeviceDescription;
}

/** A transport that tells all it knows. */
export interface InspectableTransport extends Transport {
  /** DEVICE_FLAG. */
  readonly flags: number;
  /** Over vfio-user: what was agreed on. */
  readonly negotiated?: Version;
  /** Over the kernel's VFIO: which interface gives the device its address space. */
  readonly iommu?: string;
  regionDetails(index: number): Promise<RegionDetails>;
  irqDetails(index: number): Promise<IrqDetails>;
}

export interface Inspection {
  protocol: Version | undefined;
  iommu: string | undefined;
  /** What is unsafe about how it was opened. */
  unsafe: readonly string[];
  flags: string[];
  pci: PciIdentity | undefined;
  regions: InspectedRegion[];
  irqs: InspectedIrq[];
  warpdrive: Identity | undefined;
  notes: string[];
}

const REGION_CAPABILITY: Readonly<Record<number, string>> = {
  [CAP_SPARSE_MMAP]: 'sparse mmap',
  [CAP_MSIX_MAPPABLE]: 'MSI-X mappable',
};

/** More regions or interrupt indexes than this are not listed: no PCI device has them. */
const MAX_LISTED = 64;

/** Asks a device for everything that is harmless to ask, whoever wrote it. What it refuses is noted, and the rest goes on. */
export async function inspect(transport: InspectableTransport): Promise<Inspection> {
  let lost: Error | undefined;
  transport.onLost((reason) => {
    lost = reason;
  });
  /** The answer, or undefined and a note of the refusal. A device that is gone ends it all. */
  const attempt = async <T>(what: string, notes: string[], ask: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await ask();
    } catch (error) {
      if (lost || !(error instanceof SystemError || error instanceof ProtocolError)) throw lost ?? error;
      notes.push(`${what}: ${error.message}`);
      return undefined;
    }
  };
  const notes: string[] = [];
  const listed = (count: number, what: string): number[] => {
    if (count > MAX_LISTED) notes.push(`${count} ${what} are claimed, and ${MAX_LISTED} listed`);
    return Array.from({ length: Math.min(count, MAX_LISTED) }, (_, index) => index);
  };

  const regions: InspectedRegion[] = [];
  for (const index of listed(transport.regions, 'regions')) {
    const region = emptyRegion(index);
    regions.push(region);
    const details = await attempt('region', region.notes, () => transport.regionDetails(index));
    if (!details || details.length === 0) continue;
    region.size = details.length;
    region.flags = names(REGION_FLAG, details.flags);
    region.areas = details.areas;
    region.descriptor = details.fd !== undefined;
    region.capabilities = details.capabilities.map(({ id }) => REGION_CAPABILITY[id] ?? `capability ${id}`);
    const wake = await attempt('wake', region.notes, () => transport.wakeFds(index));
    for (const { offset, length, fd } of wake ?? []) {
      closeFd(fd);
      region.wake.push({ offset, length });
    }
  }

  const irqs: InspectedIrq[] = [];
  for (const index of listed(transport.irqs, 'interrupts')) {
    const irq: InspectedIrq = { index, name: PCI_IRQ_NAME[index] ?? '', count: 0, flags: [], notes: [] };
    irqs.push(irq);
    const details = await attempt('interrupt', irq.notes, () => transport.irqDetails(index));
    if (!details) continue;
    irq.count = details.count;
    irq.flags = names(IRQ_FLAG, details.flags);
  }

  const isPci = (transport.flags & DEVICE_FLAG.pci) !== 0;
  const size = isPci ? (regions[REGION.config]?.size ?? 0) : 0;
  const config =
    size < PCI_CONFIG.headerBytes
      ? undefined
      : await attempt('configuration space', notes, () =>
          transport.readRegion(REGION.config, 0, Math.min(size, PCI_CONFIG.extendedBytes)),
        );
  const pci = config && identify(config);
  const isOurs = pci?.vendorId === PCI.vendorId && pci.deviceId === PCI.deviceId;
  return {
    protocol: transport.negotiated,
    iommu: transport.iommu,
    unsafe: transport.unsafe,
    flags: names(DEVICE_FLAG, transport.flags),
    pci,
    regions,
    irqs,
    warpdrive: isOurs ? await attempt('accelerator', notes, () => introduce(transport)) : undefined,
    notes,
  };
}

function emptyRegion(index: number): InspectedRegion {
  return {
    index,
    name: PCI_REGION_NAME[index] ?? '',
    size: 0,
    flags: [],
    areas: [],
    descriptor: false,
    capabilities: [],
    wake: [],
    notes: [],
  };
}

/** The names of the bits that are set; bits without a name by their value. */
function names(bits: Readonly<Record<string, number>>, flags: number): string[] {
  const known = Object.entries(bits).filter(([, bit]) => (flags & bit) !== 0);
  const rest = (flags & ~known.reduce((all, [, bit]) => all | bit, 0)) >>> 0;
  return [...known.map(([name]) => name), ...(rest === 0 ? [] : [`0x${rest.toString(16)}`])];
}

/** Reads a configuration space. */
export function identify(config: Buffer): PciIdentity {
  const classCode = config.readUIntLE(PCI.offset.classCode, 3);
  return {
    vendorId: config.readUInt16LE(PCI.offset.vendorId),
    deviceId: config.readUInt16LE(PCI.offset.deviceId),
    revision: config.readUInt8(PCI.offset.revision),
    classCode,
    className: PCI_BASE_CLASS[classCode >>> 16] ?? 'of an unknown class',
    subsystemVendorId: config.readUInt16LE(PCI_CONFIG.subsystemVendorId),
    subsystemId: config.readUInt16LE(PCI_CONFIG.subsystemId),
    capabilities: [...capabilities(config), ...extendedCapabilities(config)],
  };
}

/** Follows the list of capabilities, wherever it leads, but each place once. */
function capabilities(config: Buffer): PciCapability[] {
  const found: PciCapability[] = [];
  if ((config.readUInt16LE(PCI_CONFIG.status) & PCI_STATUS_CAPABILITIES) === 0) return found;
  const seen = new Set<number>();
  let at = config.readUInt8(PCI_CONFIG.capabilities) & PCI_CAPABILITY.offsetMask;
  while (at >= PCI_CONFIG.headerBytes && at + 2 <= config.length && !seen.has(at)) {
    seen.add(at);
    const id = config.readUInt8(at + PCI_CAPABILITY.id);
    found.push({ offset: at, id, name: PCI_CAPABILITY_NAME[id] ?? 'unknown', extended: false });
    at = config.readUInt8(at + PCI_CAPABILITY.next) & PCI_CAPABILITY.offsetMask;
  }
  return found;
}

function extendedCapabilities(config: Buffer): PciCapability[] {
  const found: PciCapability[] = [];
  const seen = new Set<number>();
  let at: number = PCI_CONFIG.extended;
  while (at >= PCI_CONFIG.extended && at + 4 <= config.length && !seen.has(at)) {
    seen.add(at);
    const word = config.readUInt32LE(at);
    // None, or a device that answers with all ones.
    if (word === 0 || word === 0xffffffff) break;
    const id = word & PCI_EXTENDED.idMask;
    found.push({ offset: at, id, name: PCI_EXTENDED_NAME[id] ?? 'unknown', extended: true });
    at = (word >>> PCI_EXTENDED.nextShift) & ~3;
  }
  return found;
}

/** Reads what a WarpDrive accelerator says of itself (docs/device-spec.md). */
async function introduce(transport: Transport): Promise<Identity> {
  const bytes = await transport.readRegion(REGION.registers, 0, DEVICE_REGISTERS.bytes);
  const registers: Record<string, number> = {};
  for (const [name, offset] of Object.entries(DEVICE_REGISTERS.offset)) {
    registers[name] = bytes.readUInt32LE(offset);
  }
  if (registers['magic'] !== DEVICE_MAGIC) throw new ProtocolError('region 0 is not that of an accelerator');
  const length = registers['descriptionBytes']!;
  if (length > MAX_TRANSFER_BYTES) throw new ProtocolError(`a description of ${length} bytes`);
  const text = await transport.readRegion(REGION.description, 0, length);
  return {
    version: `${registers['version']! >>> 16}.${registers['version']! & 0xffff}`,
    registers,
    flags: names(FEATURE, registers['features']!),
    description: parseDescription(text.toString()),
  };
}

function parseDescription(text: string): DeviceDescription {
  try {
    const parsed = JSON.parse(text) as DeviceDescription;
    const isNamed = ({ name }: { name: unknown }): boolean => typeof name === 'string';
    if (parsed.engines.every(isNamed) && Array.isArray(parsed.algorithms.compress)) return parsed;
  } catch (cause) {
    throw new ProtocolError('the description cannot be read', { cause });
  }
  throw new ProtocolError('the description lists no engines');
}
