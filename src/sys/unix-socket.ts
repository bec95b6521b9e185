import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { ArgumentError, SystemError } from '../errors.js';
import { closeFd } from './fd.js';
import { bind, ERRNO, errno, systemError } from './libc.js';

const socketNative = bind<(domain: number, type: number, protocol: number) => number>(
  'int socket(int domain, int type, int protocol)',
);
const bindNative = bind<(fd: number, address: Uint8Array, length: number) => number>(
  'int bind(int fd, void *addr, unsigned int len)',
);
const listenNative = bind<(fd: number, backlog: number) => number>('int listen(int fd, int backlog)');
const acceptNative = bind<(fd: number, address: number, length: number, flags: number) => number>(
  'int accept4(int fd, uint64_t addr, uint64_t len, int flags)',
);
const connectNative = bind<(fd: number, address: Uint8Array, length: number) => number>(
  'int connect(int fd, void *addr, unsigned int len)',
);
const getsockopt = bind<
  (fd: number, level: number, name: number, value: Uint8Array, length: Uint32Array) => number
>('int getsockopt(int fd, int level, int name, void *value, void *len)');

const sendtoNative = bind<
  (fd: number, data: Uint8Array, n: number, flags: number, address: Uint8Array, length: number) => number
>('int64_t sendto(int fd, void *data, uint64_t n, int flags, void *addr, unsigned int len)');

/** Values of <sys/socket.h>; the same on x64 and arm64. */
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_ACCEPTCONN = 30;
const SO_PEERGROUPS = 59;
const MSG_NOSIGNAL = 0x4000;
/** struct sockaddr_un of <sys/un.h>: sa_family_t, then the path and its NUL. */
const SUN_PATH_BYTES = 108;
const BACKLOG = 1024;
const GROUPS_ROOM = 64;
/** NGROUPS_MAX of <linux/limits.h>. */
const MAX_GROUPS = 65536;

/** Who is at the other end of a UNIX socket (struct ucred of <sys/socket.h>), as the kernel recorded it at connect(2). */
export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
}

function socketAddress(path: string): Uint8Array {
  const name = Buffer.from(path);
  if (name.length === 0 || name.length >= SUN_PATH_BYTES || name.includes(0)) {
    throw new ArgumentError(`a socket's path has 1 to ${SUN_PATH_BYTES - 1} bytes, and ${path} has not`);
  }
  const address = Buffer.alloc(2 + name.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  address.set(name, 2);
  return address;
}

function newSocket(type = SOCK_STREAM): number {
  const fd = socketNative(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw systemError('socket', 'raise the limit on open files (ulimit -n)');
  return fd;
}

/**
 * Connects to a UNIX stream socket. The caller closes it.
 * @throws SystemError: ENOENT where there is none, ECONNREFUSED where nobody listens, EACCES, EAGAIN where too many wait.
 */
export function connectUnix(path: string): number {
  const address = socketAddress(path);
  const fd = newSocket();
  if (connectNative(fd, address, address.byteLength) === 0) return fd;
  const error = systemError('connect');
  closeFd(fd);
  throw error;
}

/**
 * Listens on a UNIX stream socket that only `mode` may connect to. A socket that nobody listens on any more is replaced;
 * anything else at that path is left alone. The caller closes the descriptor and removes the path.
 * @throws SystemError EADDRINUSE where somebody listens there, or the path is no socket.
 */
export function listenUnix(path: string, mode: number): number {
  const address = socketAddress(path);
  removeStale(path);
  const fd = newSocket();
  // Between bind(2) and chmod(2) nobody but the owner may connect, whatever the mode is to be.
  const umask = process.umask(0o177);
  try {
    if (bindNative(fd, address, address.byteLength) !== 0) throw systemError('bind');
    process.umask(umask);
    chmodSync(path, mode);
    if (listenNative(fd, BACKLOG) !== 0) throw systemError('listen');
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  } finally {
    process.umask(umask);
  }
}

function removeStale(path: string): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (!stats?.isSocket()) return;
  try {
    closeFd(connectUnix(path));
  } catch (error) {
    if (error instanceof SystemError && error.errno === ERRNO.ECONNREFUSED) unlinkSync(path);
  }
}

/** Whether a descriptor is a listening UNIX socket: what socket activation hands over. */
export function isListening(fd: number): boolean {
  const value = new Uint32Array(1);
  const length = new Uint32Array([4]);
  return (
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, new Uint8Array(value.buffer), length) === 0 && value[0] === 1
  );
}

/** The next connection, non-blocking and closed on exec; -1 when nobody waits. The caller closes it. */
export function acceptUnix(fd: number): number {
  const connection = acceptNative(fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (connection >= 0) return connection;
  const number = errno();
  // A client that has gone again while it waited is nobody's error.
  if (number === ERRNO.EAGAIN || number === ERRNO.ECONNABORTED || number === ERRNO.EINTR) return -1;
  throw systemError('accept4', 'raise the limit on open files (ulimit -n)');
}

/** Who connected. @throws SystemError for what is no UNIX socket. */
export function peerCredentials(fd: number): PeerCredentials {
  const credentials = new Int32Array(3);
  const length = new Uint32Array([12]);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, new Uint8Array(credentials.buffer), length) !== 0) {
    throw systemError('getsockopt(SO_PEERCRED)');
  }
  return { pid: credentials[0]!, uid: credentials[1]! >>> 0, gid: credentials[2]! >>> 0 };
}

/** The supplementary groups of whoever connected, as the kernel recorded them at connect(2). */
export function peerGroups(fd: number): number[] {
  for (const room of [GROUPS_ROOM, MAX_GROUPS]) {
    const groups = new Uint32Array(room);
    const length = new Uint32Array([groups.byteLength]);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, new Uint8Array(groups.buffer), length) === 0) {
      return [...groups.subarray(0, length[0]! / 4)];
    }
    if (errno() !== ERRNO.ERANGE) break;
  }
  throw systemError('getsockopt(SO_PEERGROUPS)');
}

/**
 * Sends one datagram to a UNIX socket; a name that starts with "@" is an abstract one.
 * @throws SystemError when nobody receives there.
 */
export function sendDatagram(path: string, data: Uint8Array): void {
  const named = socketAddress(path);
  const abstract = path.startsWith('@');
  if (abstract) named[2] = 0;
  const fd = newSocket(SOCK_DGRAM);
  try {
    // The length of an abstract name says where it ends; a path has its NUL.
    const length = named.byteLength - (abstract ? 1 : 0);
    if (sendtoNative(fd, data, data.byteLength, MSG_NOSIGNAL, named, length) < 0) throw systemError('sendto');
  } finally {
    closeFd(fd);
  }
}
