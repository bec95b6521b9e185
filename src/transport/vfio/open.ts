import { existsSync } from 'node:fs';
import { DeviceLostError, PlatformError, SystemError, UnsupportedError } from '../../errors.js';
import { closeFd } from '../../sys/fd.js';
import { ERRNO } from '../../sys/libc.js';
import { IovaAllocator } from '../iova-allocator.js';
import { parseVfioAddress, VFIO_SCHEME, type VfioAddress } from './address.js';
import { VfioTransport } from './client.js';
import { type AddressSpace, VfioGroup } from './group.js';
import { IommufdIommu } from './iommufd.js';
import { openVfioFile } from './open-file.js';
import { findSysfsDevice, isVfioDriver, type SysfsDevice } from './sysfs-device.js';

/** What is refused unless it is allowed by name. */
export const UNSAFE = ['noiommu'] as const;
export type Unsafe = (typeof UNSAFE)[number];

export interface VfioOptions {
  /** `noiommu`: use a device although no IOMMU keeps it from the memory of others. */
  allowUnsafe?: readonly Unsafe[];
}

/**
 * Opens a device of the kernel's VFIO: a PCI function (`vfio:0000:00:03.0`) or a mediated device (`vfio:UUID`).
 * @throws ArgumentError for a name that is none, DeviceLostError for a device that is not there or another driver's,
 * PlatformError where VFIO cannot work, SystemError with EACCES, or with EBUSY if another process has it
 */
export async function openVfio(text: string, options: VfioOptions = {}): Promise<VfioTransport> {
  const address = parseVfioAddress(text);
  const device = lookUp(address);
  const name = `${VFIO_SCHEME}${address.name}`;
  const path = `/dev/vfio/devices/${device.cdev}`;
  // One that no IOMMU guards is named noiommu-vfio0 there.
  if (device.cdev?.startsWith('vfio') && existsSync(path) && existsSync('/dev/iommu')) {
    try {
      return await openCdev(name, path);
    } catch (error) {
      // Where only its group was given to this user, that does, too.
      if (!isRefusal(error) || !existsSync(`/dev/vfio/${device.group}`)) throw error;
    }
  }
  const { group: number } = device;
  if (number === undefined) throw noIommu(name);
  if (existsSync(`/dev/vfio/noiommu-${number}`) && !options.allowUnsafe?.includes('noiommu')) {
    throw new UnsupportedError(`no IOMMU keeps ${name} from the memory of others`, {
      hint: "turn the IOMMU on (intel_iommu=on, amd_iommu=on); allowUnsafe: ['noiommu'], or --allow-unsafe-noiommu, opens it for registers and interrupts alone",
    });
  }
  const group = VfioGroup.open(number);
  const fd = group.openDevice(address.name);
  return attach(name, fd, group, () => group.release(address.name));
}

function isRefusal(error: unknown): boolean {
  return error instanceof SystemError && (error.errno === ERRNO.EACCES || error.errno === ERRNO.EPERM);
}

function lookUp(address: VfioAddress): SysfsDevice {
  const { kind, name } = address;
  const device = findSysfsDevice(address);
  if (!device) {
    throw new DeviceLostError(`there is no ${kind === 'pci' ? 'PCI function' : 'mediated device'} ${name}`, {
      hint: kind === 'pci' ? '"warpdrive vfio list" shows what there is' : 'create one first',
    });
  }
  const { driver } = device;
  if (kind === 'pci' && !isVfioDriver(driver)) {
    throw new DeviceLostError(
      driver === undefined ? `no driver has ${name}` : `the driver ${driver} has ${name}`,
      { hint: `give it to VFIO, as root: warpdrive vfio bind ${name}` },
    );
  }
  return device;
}

function noIommu(name: string): PlatformError {
  return new PlatformError(`${name} is in no IOMMU group: no IOMMU is at work here`, {
    hint: 'turn it on: VT-d or AMD-Vi in the firmware, intel_iommu=on on the kernel command line for Intel',
  });
}

/** By itself, through iommufd (Linux 6.6 and later). */
async function openCdev(name: string, path: string): Promise<VfioTransport> {
  const fd = openVfioFile(path, name);
  let iommu: IommufdIommu;
  try {
    iommu = new IommufdIommu(fd, path, name);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return attach(name, fd, { iommu, iovas: new IovaAllocator(iommu.usable) }, () => iommu.close());
}

async function attach(
  name: string,
  fd: number,
  space: AddressSpace,
  release: () => void,
): Promise<VfioTransport> {
  try {
    return await VfioTransport.attach(name, fd, space, release);
  } catch (error) {
    closeFd(fd);
    release();
    throw error;
  }
}
