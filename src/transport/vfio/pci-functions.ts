import { join } from 'node:path';
import { linkName, listFolder, readAttribute } from './sysfs.js';
import { type GroupMember, groupMembers, holdsUpGroup, isVfioDriver } from './sysfs-device.js';

/** A function on the PCI bus, as /sys tells of it. */
export interface PciFunction {
  /** `0000:00:03.0`. */
  address: string;
  vendorId: number;
  deviceId: number;
  /** Base class, subclass and interface. */
  classCode: number;
  driver: string | undefined;
  /** The number of its IOMMU group; undefined without an IOMMU. */
  group: string | undefined;
  /** The IOMMU group is none: VFIO made it up to do without an IOMMU. */
  noIommu: boolean;
}

/** What keeps a function from being opened through VFIO, the first thing first; undefined when nothing does. */
export interface Obstacle {
  kind: 'bridge' | 'no-iommu' | 'driver' | 'group';
  text: string;
  /** The functions that hold the group up. */
  blockers?: GroupMember[];
}

const BRIDGE_CLASS = 0x06;

/** One function, or undefined when there is none at that address. `sys` is where /sys is. */
export function pciFunction(address: string, sys: string): PciFunction | undefined {
  const folder = join(sys, 'bus/pci/devices', address);
  const number = (name: string): number => Number(readAttribute(join(folder, name)) ?? Number.NaN);
  const vendorId = number('vendor');
  if (Number.isNaN(vendorId)) return undefined;
  const group = linkName(join(folder, 'iommu_group'));
  return {
    address,
    vendorId,
    deviceId: number('device'),
    classCode: number('class'),
    driver: linkName(join(folder, 'driver')),
    group,
    noIommu: group !== undefined && isMadeUp(group, sys),
  };
}

/** Every function of this machine. */
export function pciFunctions(sys: string): PciFunction[] {
  return listFolder(join(sys, 'bus/pci/devices'))
    .map((address) => pciFunction(address, sys))
    .filter((each) => each !== undefined);
}

function isMadeUp(group: string, sys: string): boolean {
  return readAttribute(join(sys, 'kernel/iommu_groups', group, 'name')) === 'vfio-noiommu';
}

/** Whether this machine lets VFIO do without an IOMMU. */
export function allowsNoIommu(sys: string): boolean {
  return readAttribute(join(sys, 'module/vfio/parameters/enable_unsafe_noiommu_mode')) === 'Y';
}

export function isBridge({ classCode }: PciFunction): boolean {
  return classCode >>> 16 === BRIDGE_CLASS;
}

/** Why a function cannot be opened through VFIO. */
export function obstacle(device: PciFunction, sys: string): Obstacle | undefined {
  const { driver, group } = device;
  if (isBridge(device)) return { kind: 'bridge', text: 'a bridge' };
  if (group === undefined && !allowsNoIommu(sys)) return { kind: 'no-iommu', text: 'no IOMMU' };
  if (!isVfioDriver(driver)) return { kind: 'driver', text: driver ? `bound to ${driver}` : 'not bound' };
  const blockers = (group === undefined ? [] : groupMembers(group, sys)).filter(holdsUpGroup);
  if (blockers.length === 0) return undefined;
  return { kind: 'group', text: `group held up by ${memberList(blockers)}`, blockers };
}

/** Members of a group with their drivers: `0000:00:03.1 (ahci)`. */
export function memberList(members: GroupMember[]): string {
  return members.map(({ name, driver }) => `${name} (${driver})`).join(', ');
}
