import { SystemError } from '../../errors.js';
import { openReadWrite } from '../../sys/fd.js';
import { ERRNO } from '../../sys/libc.js';

/** Opens a file of /dev by which VFIO gives `what` away. The caller closes it. */
export function openVfioFile(path: string, what: string): number {
  try {
    return openReadWrite(path);
  } catch (cause) {
    if (!(cause instanceof SystemError)) throw cause;
    const { syscall, errno } = cause;
    if (errno === ERRNO.EBUSY) throw taken(syscall, path, what, cause);
    if (errno !== ERRNO.EACCES && errno !== ERRNO.EPERM) throw cause;
    throw new SystemError(syscall, errno, `this user may not open ${what}`, {
      hint: `give it to a group with a udev rule: ${matchOf(path)}, GROUP="vfio", MODE="0660"`,
      cause,
    });
  }
}

/** What a udev rule knows the file by. */
function matchOf(path: string): string {
  if (path === '/dev/iommu') return 'KERNEL=="iommu"';
  return `SUBSYSTEM=="${path.startsWith('/dev/vfio/devices/') ? 'vfio-dev' : 'vfio'}"`;
}

/** Somebody else has it. */
export function taken(syscall: string, path: string, what: string, cause: unknown): SystemError {
  return new SystemError(syscall, ERRNO.EBUSY, `another process has ${what}`, {
    hint: `find it with: fuser -v ${path}`,
    cause,
  });
}
