import { closeSync, constants, openSync, readlinkSync, realpathSync } from 'node:fs';
import { join, sep } from 'node:path';
import { listFolder, readAttribute } from '../transport/vfio/sysfs.js';

/*
 * What depends on a PCI function right now. `root` is where the machine's files are: `/`, or a tree that a test made.
 */

const IFF_UP = 1;

/** What would break if the function lost its driver, in words: `the disk sda, mounted at /`. */
export function dependants(address: string, root: string): string[] {
  return [...disks(address, root), ...interfaces(address, root), ...virtualFunctions(address, root)];
}

/** The names in a class of /sys that belong to a function. */
function belonging(address: string, root: string, kind: string): string[] {
  const folder = join(root, 'sys/class', kind);
  return listFolder(folder).filter((name) => {
    try {
      return realpathSync(join(folder, name)).split(sep).includes(address);
    } catch {
      return false;
    }
  });
}

function disks(address: string, root: string): string[] {
  // By number; and by source, since btrfs and others have numbers of their own.
  const mounts = new Map<string, string>();
  for (const line of (readAttribute(join(root, 'proc/self/mountinfo')) ?? '').split('\n')) {
    // mountinfo: id, parent, major:minor, root, mount point (proc_pid_mountinfo(5))
    const [, , number, , point] = line.split(' ');
    if (number === undefined || point === undefined) continue;
    const source = line.split(' - ')[1]?.split(' ')[1];
    mounts.set(number, point);
    if (source !== undefined) mounts.set(source, point);
  }
  const swaps = (readAttribute(join(root, 'proc/swaps')) ?? '')
    .split('\n')
    .map((line) => line.split(/\s/)[0]);
  return [...belonging(address, root, 'block'), ...multipathDisks(address, root)].flatMap((name) => {
    const folder = join(root, 'sys/class/block', name);
    const point = mounts.get(readAttribute(join(folder, 'dev')) ?? '') ?? mounts.get(`/dev/${name}`);
    const holders = listFolder(join(folder, 'holders'));
    const isKnown = point !== undefined || holders.length > 0 || swaps.includes(`/dev/${name}`);
    return [
      ...(isKnown || !isHeld(join(root, 'dev', name)) ? [] : [`the disk ${name}, which something holds`]),
      ...(point === undefined ? [] : [`the disk ${name}, mounted at ${point}`]),
      ...(swaps.includes(`/dev/${name}`) ? [`the disk ${name}, used for swap`] : []),
      ...(holders.length === 0 ? [] : [`the disk ${name}, part of ${holders.join(', ')}`]),
    ];
  });
}

/** Of an NVMe controller that is one path of several: the disks belong to none of them. */
function multipathDisks(address: string, root: string): string[] {
  const subsystems = join(root, 'sys/class/nvme-subsystem');
  return listFolder(subsystems).flatMap((subsystem) => {
    const names = listFolder(join(subsystems, subsystem));
    const isPath = belonging(address, root, 'nvme').some((controller) => names.includes(controller));
    return isPath ? names.filter((name) => /^nvme\d+n\d+$/.test(name)) : [];
  });
}

/** Whether a block device is claimed: by a file system, swap, RAID or another program, in whichever namespace. */
function isHeld(path: string): boolean {
  try {
    closeSync(openSync(path, constants.O_RDONLY | constants.O_EXCL));
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EBUSY';
  }
}

function virtualFunctions(address: string, root: string): string[] {
  const count = Number(readAttribute(join(root, 'sys/bus/pci/devices', address, 'sriov_numvfs')) ?? 0);
  return count > 0 ? [`its ${count} virtual functions, which would go with it`] : [];
}

function interfaces(address: string, root: string): string[] {
  return belonging(address, root, 'net')
    .filter((name) => (Number(readAttribute(join(root, 'sys/class/net', name, 'flags'))) & IFF_UP) !== 0)
    .map((name) => `the network interface ${name}, which is up`);
}

/** The processes that have a file open. Others' processes show only to root. */
export function openers(path: string, root: string): number[] {
  const proc = join(root, 'proc');
  return listFolder(proc)
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) =>
      listFolder(join(proc, pid, 'fd')).some((fd) => target(join(proc, pid, 'fd', fd)) === path),
    )
    .map(Number);
}

function target(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined;
  }
}
