import { readFileSync } from 'node:fs';
import { MemoryError, SystemError } from '../../errors.js';
import { ERRNO } from '../../sys/libc.js';
import type { IovaRange } from '../iova-allocator.js';
import type { LocalDmaRegion } from '../transport.js';

/** An address space that the IOMMU gives to the devices in it. */
export interface Iommu {
  /** Which interface of the kernel it is. */
  readonly kind: 'type1v2' | 'iommufd' | 'noiommu';
  /** Addresses that it translates; none of those that it keeps for itself. */
  readonly usable: readonly IovaRange[];
  map(region: LocalDmaRegion): void;
  unmap(iova: number, length: number): void;
}

/** What the kernel's refusal to map memory means. */
export function explainMap(error: unknown, { iova, length }: LocalDmaRegion): unknown {
  if (!(error instanceof SystemError)) return error;
  const what = `${length} bytes at 0x${iova.toString(16)}`;
  switch (error.errno) {
    case ERRNO.ENOMEM: {
      const { limit, used } = lockedMemory();
      const wanted = Math.ceil((used + length) / 1024);
      return new MemoryError(
        `the limit on locked memory is ${limit}: ${used} bytes are locked, and ${length} more are wanted`,
        {
          hint: `allow at least ${wanted} KiB: ulimit -l ${wanted}, memlock in /etc/security/limits.conf, or LimitMEMLOCK=${wanted}K in a systemd unit`,
          cause: error,
        },
      );
    }
    case ERRNO.ENOSPC:
      return new MemoryError('the kernel lets a process map no more regions for devices', {
        hint: 'free memory of the device first, or use fewer and larger buffers',
        cause: error,
      });
    case ERRNO.EEXIST:
      return new SystemError(error.syscall, error.errno, `${what} overlap what is mapped already`, {
        cause: error,
      });
    case ERRNO.EINVAL:
      return new SystemError(error.syscall, error.errno, `${what} are no address that the IOMMU takes`, {
        hint: 'take addresses from reserveIova',
        cause: error,
      });
    default:
      return error;
  }
}

/** What this process may lock, and what it has locked, in bytes. */
function lockedMemory(): { limit: string; used: number } {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const status = readFileSync('/proc/self/status', 'utf8');
  const limit = /^Max locked memory\s+(\S+)/m.exec(limits)?.[1] ?? 'unknown';
  return {
    limit: limit === 'unlimited' || limit === 'unknown' ? limit : `${limit} bytes`,
    used: Number(/^VmLck:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024,
  };
}
