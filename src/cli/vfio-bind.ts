import { spawnSync } from 'node:child_process';
import { closeSync, constants, existsSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { allowsNoIommu, isBridge, type PciFunction, pciFunction } from '../transport/vfio/pci-functions.js';
import { findSysfsDevice, groupMembers, isVfioDriver } from '../transport/vfio/sysfs-device.js';
import { Failure, systemMessage } from './failure.js';
import { dependants, openers } from './in-use.js';

export const VFIO_DRIVER = 'vfio-pci';

/** Where the machine's files are, and whether to do what breaks something. */
export interface BindOptions {
  root: string;
  force: boolean;
}

/** A function by its address. @throws Failure when there is none */
export function lookUp(address: string, root: string): PciFunction {
  const found = pciFunction(address, join(root, 'sys'));
  if (!found)
    throw new Failure(`${address}: there is no such PCI function; "warpdrive vfio list" shows them`);
  return found;
}

/** The functions of a function's group that VFIO could have: all but bridges. */
export function companions(device: PciFunction, root: string): PciFunction[] {
  if (device.group === undefined) return [device];
  return groupMembers(device.group, join(root, 'sys'))
    .map(({ name }) => pciFunction(name, join(root, 'sys')))
    .filter((each) => each !== undefined && !isBridge(each))
    .map((each) => each!);
}

/**
 * Gives a function to vfio-pci, whichever driver it had; true when anything changed. On failure the kernel's own choice
 * of a driver has it.
 * @throws Failure for what must not, or cannot be bound
 */
export function bindToVfio(device: PciFunction, { root, force }: BindOptions): boolean {
  const { address, driver } = device;
  if (isVfioDriver(driver)) return false;
  checkBindable(device, { root, force });
  loadVfio(root);
  try {
    override(address, VFIO_DRIVER, root);
    if (driver !== undefined) write(join(driverFolder(address, root), 'unbind'), address);
    probe(address, root);
    if (pciFunction(address, join(root, 'sys'))?.driver === VFIO_DRIVER) return true;
    throw new Failure(`${address}: ${VFIO_DRIVER} does not take it; the kernel's log tells why (dmesg)`);
  } catch (error) {
    override(address, '', root);
    probe(address, root);
    throw error;
  }
}

/** @throws Failure for a function that must not, or cannot be given to VFIO; nothing has changed then */
export function checkBindable(device: PciFunction, { root, force }: BindOptions): void {
  const { address, driver, group } = device;
  if (isVfioDriver(driver)) return;
  if (isBridge(device)) throw new Failure(`${address} is a bridge: VFIO takes what is behind it`);
  if (group === undefined && !allowsNoIommu(join(root, 'sys'))) {
    throw new Failure(`${address} has no IOMMU group; "warpdrive doctor vfio:${address}" tells why`);
  }
  refuseIfInUse(address, dependants(address, root), force);
}

/**
 * Takes a function from VFIO and gives it to the driver that the kernel chooses, which is the one it had before unless
 * somebody had chosen another; true when anything changed.
 * @throws Failure when a program has it open: the kernel would wait for that program, for ever
 */
export function unbindFromVfio(device: PciFunction, { root, force }: BindOptions): boolean {
  const { address, driver, group, noIommu } = device;
  if (!isVfioDriver(driver)) {
    const has = driver === undefined ? 'it has no driver' : `${driver} has it`;
    throw new Failure(`${address} is not bound to VFIO: ${has}`);
  }
  const cdev = findSysfsDevice({ kind: 'pci', name: address }, join(root, 'sys'))?.cdev;
  const files = [`/dev/vfio/${noIommu ? 'noiommu-' : ''}${group}`, `/dev/vfio/devices/${cdev}`];
  const users = new Set(files.flatMap((file) => openers(file, root)));
  refuseIfInUse(
    address,
    [...users].map((pid) => `process ${pid}, which has it or another of IOMMU group ${group} open`),
    force,
  );
  override(address, '', root);
  write(join(driverFolder(address, root), 'unbind'), address);
  probe(address, root);
  return true;
}

function refuseIfInUse(address: string, users: string[], force: boolean): void {
  if (users.length > 0 && !force) {
    throw new Failure(`${address} is in use by ${users.join('; ')}; --force does it nevertheless`);
  }
}

const driverFolder = (address: string, root: string): string =>
  join(root, 'sys/bus/pci/devices', address, 'driver');

/** Says which driver alone may have a function; none is the kernel's own choice again. */
function override(address: string, driver: string, root: string): void {
  write(join(root, 'sys/bus/pci/devices', address, 'driver_override'), `${driver}\n`);
}

/** Has the kernel look for a driver. There may be none, which is no failure. */
function probe(address: string, root: string): void {
  try {
    write(join(root, 'sys/bus/pci/drivers_probe'), address);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
  }
}

function loadVfio(root: string): void {
  if (existsSync(join(root, 'sys/bus/pci/drivers', VFIO_DRIVER))) return;
  const { status } = spawnSync('modprobe', [VFIO_DRIVER], { stdio: 'ignore' });
  if (status === 0) return;
  throw new Failure(`the kernel's module ${VFIO_DRIVER} is not loaded: as root, modprobe ${VFIO_DRIVER}`);
}

function write(path: string, text: string): void {
  try {
    // Many of these files are there to be written alone, and none is to be made.
    const fd = openSync(path, constants.O_WRONLY);
    try {
      writeSync(fd, text);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const hint = code === 'EACCES' || code === 'EPERM' ? '; this takes root' : '';
    throw new Failure(`${path}: ${systemMessage(cause)}${hint}`, { cause });
  }
}
