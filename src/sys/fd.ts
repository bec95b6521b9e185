import { bind, ERRNO, errno, systemError } from './libc.js';

const eventfdCreate = bind<(init: number, flags: number) => number>(
  'int eventfd(unsigned int initval, int flags)',
);
const readNative = bind<(fd: number, buffer: Uint8Array, n: number) => number>(
  'int64_t read(int fd, void *buf, uint64_t count)',
);
const writeNative = bind<(fd: number, buffer: Uint8Array, n: number) => number>(
  'int64_t write(int fd, void *buf, uint64_t count)',
);
const preadNative = bind<(fd: number, buffer: Uint8Array, n: number, offset: number) => number>(
  'int64_t pread(int fd, void *buf, uint64_t count, int64_t offset)',
);
const pwriteNative = bind<(fd: number, buffer: Uint8Array, n: number, offset: number) => number>(
  'int64_t pwrite(int fd, void *buf, uint64_t count, int64_t offset)',
);
const openNative = bind<(path: string, flags: number) => number>('int open(const char *path, int flags)');
const pollNative = bind<(fds: Int32Array, n: number, timeout: number) => number>(
  'int poll(void *fds, uint64_t nfds, int timeout)',
);
const fcntlInt = bind<(fd: number, command: number, argument: number) => number>(
  'int fcntl(int fd, int cmd, int arg)',
);

const dup3 = bind<(from: number, to: number, flags: number) => number>(
  'int dup3(int oldfd, int newfd, int flags)',
);
const pipe2 = bind<(ends: Int32Array, flags: number) => number>('int pipe2(void *fds, int flags)');

/** Values of <sys/eventfd.h>, <poll.h> and <fcntl.h>; the same on x64 and arm64. */
const O_RDWR = 2;
const O_CLOEXEC = 0o2000000;
const O_NONBLOCK = 0o4000;
const POLLIN = 1;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;

const SINK = new Uint8Array(4096);
const closeNative = bind<(fd: number) => number>('int close(int fd)');

const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);
const SCRATCH = new Uint8Array(8);

/** Opens a file or device for reading and writing. The caller closes it. */
export function openReadWrite(path: string): number {
  const fd = openNative(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) throw systemError(`open ${path}`);
  return fd;
}

/** Reads at an offset into the whole of a buffer; how many bytes there were. */
export function readAt(fd: number, buffer: Uint8Array, offset: number): number {
  const count = preadNative(fd, buffer, buffer.byteLength, offset);
  if (count < 0) throw systemError('pread');
  return count;
}

/** Writes a buffer at an offset; how many bytes were taken. */
export function writeAt(fd: number, data: Uint8Array, offset: number): number {
  const count = pwriteNative(fd, data, data.byteLength, offset);
  if (count < 0) throw systemError('pwrite');
  return count;
}

/** A new non-blocking eventfd. The caller closes it. */
export function createEventfd(): number {
  const fd = eventfdCreate(0, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw systemError('eventfd', 'raise the limit on open files (ulimit -n)');
  return fd;
}

/** Adds one to an eventfd of our own. A full one is as good as a signalled one, so EAGAIN is no error. */
export function signalEventfd(fd: number): void {
  if (writeNative(fd, ONE, 8) < 0 && errno() !== ERRNO.EAGAIN) throw systemError('write');
}

/** Resets an eventfd to zero; true if it had been signalled. */
export function drainEventfd(fd: number): boolean {
  return readNative(fd, SCRATCH, 8) === 8;
}

/** Blocks this thread until `fd` is readable, or for `timeoutMs`; true if it became readable. */
export function waitReadable(fd: number, timeoutMs: number): boolean {
  // struct pollfd of <poll.h>: int fd, short events, short revents.
  const entry = new Int32Array([fd, POLLIN]);
  return pollNative(entry, 1, timeoutMs) > 0;
}

/** A new non-blocking pipe: its read end and its write end. The caller closes both. */
export function createPipe(): [number, number] {
  const ends = new Int32Array(2);
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) !== 0) {
    throw systemError('pipe2', 'raise the limit on open files (ulimit -n)');
  }
  return [ends[0]!, ends[1]!];
}

/** Throws away what a pipe holds; false if nothing will ever come again, since nobody can write to it any more. */
export function drainPipe(fd: number): boolean {
  let count: number;
  do count = readNative(fd, SINK, SINK.length);
  while (count === SINK.length);
  return count !== 0;
}

/** A second descriptor of the same open file, closed on exec. */
export function duplicateFd(fd: number): number {
  const copy = fcntlInt(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) throw systemError('fcntl', 'raise the limit on open files (ulimit -n)');
  return copy;
}

/** Makes a descriptor that is in use stand for the open file of another one. */
export function replaceFd(fd: number, by: number): void {
  if (dup3(by, fd, O_CLOEXEC) < 0) throw systemError('dup3');
}

/** Lets calls on a socket wait: for one that is handed to another process, which expects nothing else. */
export function makeBlocking(fd: number): void {
  if (fcntlInt(fd, F_SETFL, 0) !== 0) throw systemError('fcntl');
}

/** Makes reads, writes and accepts on a descriptor return at once; it holds for all who share the open file. */
export function setNonBlocking(fd: number): void {
  const flags = fcntlInt(fd, F_GETFL, 0);
  if (flags < 0 || fcntlInt(fd, F_SETFL, flags | O_NONBLOCK) < 0) throw systemError('fcntl');
}

/**
 * Closes a descriptor that native code opened. (In a worker thread, node:fs warns of descriptors that it did not open.)
 * Closing is the last use: an error has nobody to tell.
 */
export function closeFd(fd: number): void {
  closeNative(fd);
}

/** Closes descriptors and forgets them. */
export function closeFds(fds: number[]): void {
  for (const fd of fds.splice(0)) closeNative(fd);
}
