import { join } from 'node:path';
import { PCI_BASE_CLASS } from '../abi/pci.js';
import { parseVfioAddress } from '../transport/vfio/address.js';
import { isBridge, obstacle, type PciFunction, pciFunctions } from '../transport/vfio/pci-functions.js';
import { groupMembers, isVfioDriver } from '../transport/vfio/sysfs-device.js';
import { EXIT, Failure } from './failure.js';
import { helpFor } from './help.js';
import { dependants } from './in-use.js';
import { type Given, parseOptions } from './options.js';
import { formatTable } from './table.js';
import { bindToVfio, checkBindable, companions, lookUp, unbindFromVfio } from './vfio-bind.js';

const OPTIONS = {
  all: { type: 'boolean', short: 'a' },
  group: { type: 'boolean', short: 'g' },
  force: { type: 'boolean', short: 'f' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** Which options each action takes. */
const ACTIONS: Record<string, readonly string[]> = {
  list: ['all', 'json'],
  bind: ['group', 'force', 'json'],
  unbind: ['group', 'force', 'json'],
};

const ROOT = '/';

/** One line of `vfio list`. */
export interface VfioListing {
  address: string;
  /** `1af4:1054`. */
  id: string;
  className: string;
  driver: string | undefined;
  group: string | undefined;
  /** The others in its IOMMU group, and their drivers. */
  with: { address: string; driver: string | undefined }[];
  usable: boolean;
  /** Why it is not usable, or what would break if it were bound. */
  note: string;
}

/** The command `vfio`: which devices programs may drive, and giving them to programs. */
export async function runVfio(args: string[]): Promise<number> {
  const given = parseOptions(args, OPTIONS);
  const [action, ...addresses] = given.operands;
  if (given.has('help')) {
    process.stdout.write(helpFor('vfio'));
    return EXIT.ok;
  }
  if (action === undefined || !Object.hasOwn(ACTIONS, action)) {
    throw new Failure('vfio takes an action: list, bind or unbind ("warpdrive help vfio")');
  }
  for (const { name } of given.options) {
    if (!ACTIONS[action]!.includes(name)) throw new Failure(`vfio ${action} takes no option --${name}`);
  }
  if (action === 'list') return list(given, addresses);
  return change(action, given, addresses);
}

function list(given: Given, addresses: string[]): number {
  if (addresses.length > 0) throw new Failure(`vfio list takes options alone, and ${addresses[0]} is none`);
  const listing = listVfio(ROOT, given.has('all'));
  process.stdout.write(given.has('json') ? `${JSON.stringify(listing, null, 2)}\n` : formatListing(listing));
  return EXIT.ok;
}

function change(action: string, given: Given, names: string[]): number {
  if (names.length === 0)
    throw new Failure(`vfio ${action} takes the addresses of devices, such as 0000:00:03.0`);
  const options = { root: ROOT, force: given.has('force') };
  const named = names.map((name) => lookUp(pciAddress(name), ROOT));
  const devices = given.has('group') ? named.flatMap((each) => companions(each, ROOT)) : named;
  const addresses = [...new Set(devices.map(({ address }) => address))];
  // All or nothing: a refusal comes before anything is changed.
  if (action === 'bind') for (const address of addresses) checkBindable(lookUp(address, ROOT), options);
  for (const address of addresses) {
    const device = lookUp(address, ROOT);
    if (action === 'bind') bindToVfio(device, options);
    // Of a whole group, some may have stayed with their drivers.
    else if (!given.has('group') || obstacle(device, join(ROOT, 'sys'))?.kind !== 'driver') {
      unbindFromVfio(device, options);
    }
  }
  const after = addresses.map((address) => describe(lookUp(address, ROOT), ROOT));
  process.stdout.write(
    given.has('json') ? `${JSON.stringify(after, null, 2)}\n` : after.map(formatChange).join(''),
  );
  return action === 'bind' && after.some(({ usable }) => !usable) ? EXIT.warning : EXIT.ok;
}

function pciAddress(text: string): string {
  const { kind, name } = parseVfioAddress(text);
  if (kind !== 'pci') throw new Failure(`${text} is a mediated device, which needs no binding`);
  return name;
}

/** The PCI functions of a machine whose files are at `root`; bridges where `all` are wanted. */
export function listVfio(root: string, all = false): VfioListing[] {
  return pciFunctions(join(root, 'sys'))
    .filter((device) => all || !isBridge(device))
    .map((device) => describe(device, root));
}

function describe(device: PciFunction, root: string): VfioListing {
  const { address, vendorId, deviceId, classCode, driver, group, noIommu } = device;
  const sys = join(root, 'sys');
  const hex = (id: number): string => id.toString(16).padStart(4, '0');
  const obstruction = obstacle(device, sys);
  const uses = obstruction?.kind === 'driver' ? dependants(address, root) : [];
  return {
    address,
    id: `${hex(vendorId)}:${hex(deviceId)}`,
    className: PCI_BASE_CLASS[classCode >>> 16] ?? 'of an unknown class',
    driver,
    group: noIommu ? `noiommu-${group}` : group,
    with: (group === undefined ? [] : groupMembers(group, sys))
      .filter(({ name }) => name !== address)
      .map((member) => ({ address: member.name, driver: member.driver })),
    usable: obstruction === undefined,
    note: [obstruction?.text ?? (noIommu ? 'usable, UNSAFE: no IOMMU' : 'usable'), ...uses].join('; '),
  };
}

/** A listing as a table. */
export function formatListing(listing: VfioListing[]): string {
  if (listing.length === 0) return 'no PCI devices\n';
  return formatTable(
    ['address', 'id', 'class', 'driver', 'group', 'with', 'vfio'].map((title) => ({ title })),
    listing.map((each) => [
      each.address,
      each.id,
      each.className,
      each.driver ?? '-',
      each.group ?? '-',
      each.with.map(({ address }) => address).join(' ') || '-',
      each.note,
    ]),
  );
}

/** What became of a device, and what is still to be done. */
function formatChange({ address, driver, group, with: others, usable, note }: VfioListing): string {
  const now = driver === undefined ? 'has no driver' : `is bound to ${driver}`;
  if (usable) return `${address} ${now}: /dev/vfio/${group}\n`;
  if (!isVfioDriver(driver)) return `${address} ${now}\n`;
  return `${address} ${now}, but ${note}; VFIO gets all ${others.length + 1} devices of a group or none (--group)\n`;
}
