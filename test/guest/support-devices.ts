import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

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
