import { bind, systemError } from './libc.js';

const ioctlNumber = bind<(fd: number, request: number, argument: number) => number>(
  'int ioctl(int fd, unsigned long request, uint64_t argument)',
);
const ioctlMemory = bind<(fd: number, request: number, argument: Uint8Array) => number>(
  'int ioctl(int fd, unsigned long request, void *argument)',
);

/**
 * ioctl(2) with a number, or with memory that the kernel reads and writes; `name` is the request's, for the error.
 * @returns what the request returns, which is never negative
 */
export function ioctl(fd: number, name: string, request: number, argument: number | Uint8Array = 0): number {
  const result =
    typeof argument === 'number' ? ioctlNumber(fd, request, argument) : ioctlMemory(fd, request, argument);
  if (result < 0) throw systemError(name);
  return result;
}
