import { ArgumentError } from '../../errors.js';

/** What the name of a device leads to: a PCI function, or a mediated device. */
export interface VfioAddress {
  kind: 'pci' | 'mdev';
  /** As the kernel writes it: `0000:00:03.0`, or a UUID. */
  name: string;
}

export const VFIO_SCHEME = 'vfio:';

const PCI_ADDRESS = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/;
const MAX_PCI_SLOT = 0x1f;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * Reads `vfio:0000:00:03.0`, `vfio:00:03.0` or `vfio:UUID`; the scheme may be left out. What this returns is safe in a path.
 * @throws ArgumentError for anything else
 */
export function parseVfioAddress(text: string): VfioAddress {
  const name = (text.startsWith(VFIO_SCHEME) ? text.slice(VFIO_SCHEME.length) : text).toLowerCase();
  const [, domain = '0000', bus, slot, fn] = PCI_ADDRESS.exec(name) ?? [];
  if (slot !== undefined && Number.parseInt(slot, 16) <= MAX_PCI_SLOT) {
    return { kind: 'pci', name: `${domain}:${bus}:${slot}.${fn}` };
  }
  if (UUID.test(name)) return { kind: 'mdev', name };
  throw new ArgumentError(`${JSON.stringify(text)} is no address of a device`, {
    hint: 'a PCI function is named vfio:0000:00:03.0 (domain, bus, slot and function, as lspci -D shows them), a mediated device vfio:UUID',
  });
}
