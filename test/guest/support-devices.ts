import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { GUEST_DEVICE } from './harness/devices.js';

const DEVICES = '/sys/bus/pci/devices';

const attribute = (address: string, name: string): string =>
  readFileSync(join(DEVICES, address, name), 'utf8').trim();

function linkOf(address: string, name: string): string | undefined {
  const link = join(DEVICES, address, name);
  return existsSync(link) ? basename(readlinkSync(link)) : undefined;
}

/** The addresses of all devices of a kind, `1234:11e8`. */
export function findDevices(vendorDevice: string): string[] {
  return readdirSync(DEVICES).filter((address) => {
    const id = `${attribute(address, 'vendor').slice(2)}:${attribute(address, 'device').slice(2)}`;
    return id === vendorDevice;
  });
}

/** The driver that a device has now. */
export const driverOf = (address: string): string | undefined => linkOf(address, 'driver');

/** The number of a device's IOMMU group. */
export function groupOf(address: string): string {
  return linkOf(address, 'iommu_group') ?? 'none';
}

/** Takes a device away from the driver that it has. */
export function unbind(address: string): void {
  if (driverOf(address) !== undefined) writeFileSync(join(DEVICES, address, 'driver/unbind'), address);
}

/** Gives a device to a driver, whichever it had. */
export function bind(address: string, driver: string): void {
  unbind(address);
  writeFileSync(join(DEVICES, address, 'driver_override'), driver);
  writeFileSync('/sys/bus/pci/drivers_probe', address);
  if (driverOf(address) !== driver)
    throw new Error(`${address} has the driver ${driverOf(address)}, not ${driver}`);
}

/** Leaves every device to the driver that the kernel chooses for it, as after booting. */
export function restoreDrivers(): void {
  for (const address of Object.values(GUEST_DEVICE).filter((each) => existsSync(join(DEVICES, each)))) {
    // A line without a name takes the choice back; nothing at all would not be written.
    writeFileSync(join(DEVICES, address, 'driver_override'), '\n');
    if (driverOf(address) === 'vfio-pci') unbind(address);
    if (driverOf(address) === undefined) probe(address);
  }
}

/** Has the kernel look for a driver. There may be none. */
function probe(address: string): void {
  try {
    writeFileSync('/sys/bus/pci/drivers_probe', address);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
  }
}
