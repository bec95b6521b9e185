import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { VfioAddress } from './address.js';
import { linkName, listFolder } from './sysfs.js';

/** Where the kernel tells of devices; tests use trees of their own. */
export const SYSFS = '/sys';

/** One device of an IOMMU group, and the driver that has it. */
export interface GroupMember {
  name: string;
  driver: string | undefined;
}

/** What /sys says of a device that VFIO is to open. */
export interface SysfsDevice {
  driver: string | undefined;
  /** The number of its IOMMU group; undefined without an IOMMU. */
  group: string | undefined;
  /** Its name in /dev/vfio/devices, where the kernel has such. */
  cdev: string | undefined;
}

/** Looks a device up; undefined if there is none. */
export function findSysfsDevice({ kind, name }: VfioAddress, root = SYSFS): SysfsDevice | undefined {
  const folder = join(root, 'bus', kind, 'devices', name);
  if (!existsSync(folder)) return undefined;
  return {
    driver: linkName(join(folder, 'driver')),
    group: linkName(join(folder, 'iommu_group')),
    cdev: listFolder(join(folder, 'vfio-dev'))[0],
  };
}

/** Who is in a group. */
export function groupMembers(group: string, root = SYSFS): GroupMember[] {
  const folder = join(root, 'kernel', 'iommu_groups', group, 'devices');
  return listFolder(folder).map((name) => ({ name, driver: linkName(join(folder, name, 'driver')) }));
}

/** Whether a driver is one of VFIO's: `vfio-pci`, or one that a vendor has made of it. */
export function isVfioDriver(driver: string | undefined): boolean {
  return driver?.includes('vfio') ?? false;
}

/** Drivers that leave a group to VFIO: its own, and those of bridges. */
export function holdsUpGroup({ driver }: GroupMember): boolean {
  return driver !== undefined && !isVfioDriver(driver) && driver !== 'pci-stub' && driver !== 'pcieport';
}
