import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { VfioAddress } from './address.js';

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

const linkName = (path: string): string | undefined => {
  try {
    return basename(readlinkSync(path));
  } catch {
    return undefined;
  }
};

const list = (folder: string): string[] => {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
};

/** Looks a device up; undefined if there is none. */
export function findSysfsDevice({ kind, name }: VfioAddress, root = SYSFS): SysfsDevice | undefined {
  const folder = join(root, 'bus', kind, 'devices', name);
  if (!existsSync(folder)) return undefined;
  return {
    driver: linkName(join(folder, 'driver')),
    group: linkName(join(folder, 'iommu_group')),
    cdev: list(join(folder, 'vfio-dev'))[0],
  };
}

/** Who is in a group. */
export function groupMembers(group: string, root = SYSFS): GroupMember[] {
  const folder = join(root, 'kernel', 'iommu_groups', group, 'devices');
  return list(folder)
    .sort()
    .map((name) => ({ name, driver: linkName(join(folder, name, 'driver')) }));
}

/** Drivers that leave a group to VFIO: its own, and those of bridges. */
export function holdsUpGroup({ driver }: GroupMember): boolean {
  return driver !== undefined && !driver.startsWith('vfio') && driver !== 'pci-stub' && driver !== 'pcieport';
}
