import { readlinkSync, realpathSync } from 'node:fs';
import { join, sep } from 'node:path';
import { listFolder, readAttribute } from '../transport/vfio/sysfs.js';

/*
 * What depends on a PCI function right now. `root` is where the machine's files are: `/`, or a tree that a test made.
 */

const IFF_UP = 1;

/** What would break if the function lost its driver, in words: `the disk sda, mounted at /`. */
export function dependants(address: string, root: string): string[] {
  return [...disks(address, root), ...interfaces(address, root)];
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
  const mounts = new Map<string, string>();
  for (const line of (readAttribute(join(root, 'proc/self/mountinfo')) ?? '').split('\n')) {
    // mountinfo: id, parent, major:minor, root, mount point (proc_pid_mountinfo(5))
    const [, , number, , point] = line.split(' ');
    if (number !== undefined && point !== undefined) mounts.set(number, point);
  }
  const swaps = (readAttribute(join(root, 'proc/swaps')) ?? '')
    .split('\n')
    .map((line) => line.split(/\s/)[0]);
  return belonging(address, root, 'block').flatMap((name) => {
    const folder = join(root, 'sys/class/block', name);
    const point = mounts.get(readAttribute(join(folder, 'dev')) ?? '');
    const holders = listFolder(join(folder, 'holders'));
    return [
      ...(point === undefined ? [] : [`the disk ${name}, mounted at ${point}`]),
      ...(swaps.includes(`/dev/${name}`) ? [`the disk ${name}, used for swap`] : []),
      ...(holders.length === 0 ? [] : [`the disk ${name}, part of ${holders.join(', ')}`]),
    ];
  });
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
