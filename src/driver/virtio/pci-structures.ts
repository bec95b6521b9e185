import {
  PCI_BARS,
  PCI_CAPABILITY,
  PCI_CONFIG,
  PCI_MSIX,
  PCI_STATUS_CAPABILITIES,
  PCI_VENDOR_SPECIFIC,
} from '../../abi/pci.js';
import {
  VIRTIO_CAPABILITY,
  VIRTIO_COMMON,
  VIRTIO_NOTIFY_MULTIPLIER,
  VIRTIO_STRUCTURE,
} from '../../abi/virtio.js';
import { ProtocolError } from '../../errors.js';

/** Where a structure of a virtio device lies. */
export interface StructurePlace {
  bar: number;
  offset: number;
  length: number;
}

/** What the capabilities of a virtio device say. */
export interface PciStructures {
  common: StructurePlace;
  notify: StructurePlace;
  /** Bytes between the doorbells of two queues, times the number that a queue gives. */
  notifyMultiplier: number;
  /** Configuration of the kind of device; not every one has it. */
  device: StructurePlace | undefined;
  /** MSI-X interrupts. */
  vectors: number;
}

/** A list of capabilities that is longer than this has a loop in it. */
const MAX_CAPABILITIES = 48;
const { offset: FIELD } = VIRTIO_CAPABILITY;

/**
 * Reads the capabilities of a modern virtio device: virtio 1.2, 4.1.4. Where the device gives a structure twice, the
 * first is meant. Whatever it says is checked, but for the sizes of its BARs.
 * @throws ProtocolError for what no virtio device would say
 */
export function findStructures(config: Buffer, device: string): PciStructures {
  const wrong = (what: string): ProtocolError =>
    new ProtocolError(`${device} is no modern virtio device: ${what}`, {
      device,
      hint: 'a transitional device has to be told so: in QEMU, disable-legacy=on',
    });
  if (config.length < PCI_CONFIG.extended) {
    throw wrong(`its configuration space has ${config.length} bytes instead of ${PCI_CONFIG.extended}`);
  }
  if ((config.readUInt16LE(PCI_CONFIG.status) & PCI_STATUS_CAPABILITIES) === 0) {
    throw wrong('it has no capabilities');
  }
  const places = new Map<number, StructurePlace>();
  let notifyMultiplier = 0;
  let vectors = 0;
  let at = config[PCI_CONFIG.capabilities]! & PCI_CAPABILITY.offsetMask;
  for (let count = 0; at !== 0; count++) {
    if (count >= MAX_CAPABILITIES) throw wrong('its list of capabilities has no end');
    if (at < PCI_CONFIG.headerBytes) throw wrong(`it has a capability at ${at}, within the header`);
    const id = config[at + PCI_CAPABILITY.id];
    if (id === PCI_MSIX.id) {
      vectors = (config.readUInt16LE(at + PCI_MSIX.control) & PCI_MSIX.sizeMask) + 1;
    }
    if (id === PCI_VENDOR_SPECIFIC) {
      const length = config[at + FIELD.length]!;
      const needed =
        config[at + FIELD.type] === VIRTIO_STRUCTURE.notify ? NOTIFY_BYTES : VIRTIO_CAPABILITY.bytes;
      const isThere = length >= needed && at + length <= config.length;
      const type = config[at + FIELD.type]!;
      const bar = config[at + FIELD.bar]!;
      // Other types and other BARs are for drivers that know them.
      if (isThere && bar < PCI_BARS && !places.has(type)) {
        const offset = config.readUInt32LE(at + FIELD.offset);
        places.set(type, { bar, offset, length: config.readUInt32LE(at + FIELD.bytes) });
        if (type === VIRTIO_STRUCTURE.notify) {
          notifyMultiplier = config.readUInt32LE(at + VIRTIO_NOTIFY_MULTIPLIER);
        }
      }
    }
    at = config[at + PCI_CAPABILITY.next]! & PCI_CAPABILITY.offsetMask;
  }
  const find = (type: number, name: string, minBytes: number): StructurePlace => {
    const place = places.get(type);
    if (!place) throw wrong(`it has no ${name} structure`);
    if (place.length < minBytes || place.offset % 4 !== 0) {
      throw wrong(`its ${name} structure of ${place.length} bytes at ${place.offset} is none`);
    }
    return place;
  };
  const common = find(VIRTIO_STRUCTURE.common, 'common configuration', VIRTIO_COMMON.bytes);
  const notify = find(VIRTIO_STRUCTURE.notify, 'notification', 2);
  if (notifyMultiplier % 2 !== 0) throw wrong(`its doorbells are ${notifyMultiplier} bytes apart`);
  const has = places.has(VIRTIO_STRUCTURE.device);
  return {
    common,
    notify,
    notifyMultiplier,
    device: has ? find(VIRTIO_STRUCTURE.device, 'device configuration', 1) : undefined,
    vectors,
  };
}

const NOTIFY_BYTES = VIRTIO_NOTIFY_MULTIPLIER + 4;
