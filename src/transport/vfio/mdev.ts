import { existsSync, realpathSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { ArgumentError, DeviceLostError, SystemError, UnsupportedError } from '../../errors.js';
import { parseVfioAddress, VFIO_SCHEME } from './address.js';
import { listFolder, readAttribute } from './sysfs.js';
import { SYSFS } from './sysfs-device.js';

/*
 * Mediated devices, as the kernel's mdev framework shows them (Linux, Documentation/driver-api/vfio-mediated-device.rst).
 */

/** A kind of mediated device that a parent can make. */
export interface MdevType {
  /** The kernel's name, for `createMdev`. */
  id: string;
  /** The driver's, for people. */
  name: string | undefined;
  description: string | undefined;
  /** `vfio-pci`, for one that looks like a PCI function. */
  api: string;
  /** How many more can be made. */
  available: number;
  /** UUIDs of those that there are. */
  devices: string[];
}

/** A device that can be shared as mediated devices. */
export interface MdevParent {
  /** Its name on the bus. */
  name: string;
  types: MdevType[];
}

/** Every device here that can be shared, and what it can be shared as. */
export function listMdevParents(root = SYSFS): MdevParent[] {
  const folder = join(root, 'class/mdev_bus');
  return listFolder(folder).map((name) => ({ name, types: typesOf(join(folder, name)) }));
}

function typesOf(parent: string): MdevType[] {
  const folder = join(parent, 'mdev_supported_types');
  return listFolder(folder).map((id) => {
    const type = join(folder, id);
    return {
      id,
      name: readAttribute(join(type, 'name')),
      description: readAttribute(join(type, 'description')),
      api: readAttribute(join(type, 'device_api')) ?? 'unknown',
      available: Number(readAttribute(join(type, 'available_instances')) ?? 0),
      devices: listFolder(join(type, 'devices')),
    };
  });
}

/**
 * Makes a mediated device, which `openTransport` opens by the name that this returns.
 * @throws DeviceLostError without such a parent, UnsupportedError without such a type or with none left, SystemError with
 * EACCES for anybody but root
 */
export function createMdev(
  parent: string,
  type: string,
  uuid: string = crypto.randomUUID(),
  root = SYSFS,
): string {
  const parents = listMdevParents(root);
  const found = parents.find(({ name }) => name === parent);
  if (!found) {
    throw new DeviceLostError(`${parent} cannot be shared as mediated devices`, {
      hint: `there are ${parents.map(({ name }) => name).join(', ') || 'none that can: load the module of its driver that does'}`,
    });
  }
  const known = found.types.find(({ id }) => id === type);
  if (!known) {
    throw new UnsupportedError(`${parent} cannot be shared as ${type}`, {
      hint: `there are ${found.types.map(({ id }) => id).join(', ')}`,
    });
  }
  if (known.available < 1) {
    throw new UnsupportedError(`${parent} can be shared as no more of ${type}`, {
      hint: 'remove a mediated device first, or take another type',
    });
  }
  const name = uuidOf(uuid);
  write(join(root, 'class/mdev_bus', parent, 'mdev_supported_types', type, 'create'), name);
  return `${VFIO_SCHEME}${name}`;
}

/** Removes a mediated device, once whoever has it open has closed it. */
export function removeMdev(name: string, root = SYSFS): void {
  const uuid = uuidOf(name);
  const device = join(root, 'bus/mdev/devices', uuid);
  if (!existsSync(device)) throw new DeviceLostError(`there is no mediated device ${uuid}`);
  write(join(device, 'remove'), '1');
}

/** The parent of a mediated device, and its type. */
export function describeMdev(name: string, root = SYSFS): { parent: string; type: string } {
  const uuid = uuidOf(name);
  const device = join(root, 'bus/mdev/devices', uuid);
  if (!existsSync(device)) throw new DeviceLostError(`there is no mediated device ${uuid}`);
  return {
    parent: basename(join(realpathSync(device), '..')),
    type: basename(realpathSync(join(device, 'mdev_type'))),
  };
}

function uuidOf(name: string): string {
  const address = parseVfioAddress(name);
  if (address.kind !== 'mdev') throw new ArgumentError(`${JSON.stringify(name)} is no UUID`);
  return address.name;
}

function write(path: string, value: string): void {
  try {
    writeFileSync(path, value);
  } catch (cause) {
    const { errno } = cause as NodeJS.ErrnoException;
    if (errno === undefined) throw cause;
    const message = getSystemErrorName(errno);
    throw new SystemError(`write ${path}`, -errno, message, { hint: 'only root may, as a rule', cause });
  }
}
