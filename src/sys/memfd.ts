import { fstatSync, ftruncateSync, statfsSync } from 'node:fs';
import { ArgumentError, MemoryError } from '../errors.js';
import { closeFd } from './fd.js';
import { bind, systemError } from './libc.js';

const memfdCreate = bind<(name: string, flags: number) => number>(
  'int memfd_create(const char *name, unsigned int flags)',
);
const fcntl = bind<(fd: number, command: number, argument: number) => number>(
  'int fcntl(int fd, int cmd, int arg)',
);

/** Values of <linux/memfd.h> and <linux/fcntl.h>. */
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;

/** <linux/magic.h>: what a memfd lies in, unless it is made of huge pages. */
const TMPFS_MAGIC = 0x01021994;

/** The seals of <linux/fcntl.h>, as bits. */
export const SEAL = { seal: 1, shrink: 2, grow: 4, write: 8, futureWrite: 16 } as const;

/** A sealed memfd of `length` bytes: it can neither shrink nor grow. The caller closes it. */
export function createMemfd(name: string, length: number): number {
  const fd = memfdCreate(`warpdrive-${name}`, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw systemError('memfd_create', 'raise the limit on open files (ulimit -n)');
  try {
    ftruncateSync(fd, length);
    addSeals(fd, SEAL.shrink | SEAL.grow);
    return fd;
  } catch (cause) {
    closeFd(fd);
    throw new MemoryError(`no room for ${length} bytes of shared memory`, {
      hint: 'free some memory, or raise the memory limit of this container',
      cause,
    });
  }
}

/** Adds seals (bits of SEAL) to a memfd. */
export function addSeals(fd: number, seals: number): void {
  if (fcntl(fd, F_ADD_SEALS, seals) !== 0) throw systemError('fcntl(F_ADD_SEALS)');
}

/** The seals on a descriptor, or -1 for one that cannot be sealed (a file, a pipe, a device). */
export function getSeals(fd: number): number {
  return fcntl(fd, F_GET_SEALS, 0);
}

/**
 * Refuses memory smaller than stated. Memory that can still shrink passes: whoever maps it trusts its owner.
 * @throws ArgumentError with the reason.
 */
export function checkSize(fd: number, offset: number, length: number): void {
  const { size } = fstatSync(fd);
  if (!(offset >= 0 && length > 0 && offset + length <= size)) {
    throw new ArgumentError(`the memory holds ${size} bytes, less than ${offset} + ${length}`);
  }
}

/**
 * Refuses a descriptor that could end this process: memory that can still shrink kills whoever maps it with SIGBUS,
 * and so does memory smaller than stated, and a hole that its owner makes in huge pages when there are no more of them.
 * @throws ArgumentError with the reason.
 */
export function checkMappable(fd: number, offset: number, length: number): void {
  const seals = getSeals(fd);
  if (seals < 0) throw new ArgumentError('the descriptor is not a memfd, and so cannot be sealed');
  if ((seals & SEAL.shrink) === 0) throw new ArgumentError('the memory is not sealed against shrinking');
  if (statfsSync(`/proc/self/fd/${fd}`).type !== TMPFS_MAGIC) {
    throw new ArgumentError('the memory is not made of ordinary pages');
  }
  checkSize(fd, offset, length);
}
