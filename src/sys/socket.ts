import { ArgumentError, ProtocolError } from '../errors.js';
import { closeFd } from './fd.js';
import { bind, ERRNO, errno, systemError } from './libc.js';
import { addressOf } from './memory.js';

const socketpairNative = bind<(domain: number, type: number, protocol: number, sv: Int32Array) => number>(
  'int socketpair(int domain, int type, int protocol, void *sv)',
);
const sendmsg = bind<(fd: number, message: Uint8Array, flags: number) => number>(
  'int64_t sendmsg(int fd, void *msg, int flags)',
);
const recvmsg = bind<(fd: number, message: Uint8Array, flags: number) => number>(
  'int64_t recvmsg(int fd, void *msg, int flags)',
);

const ioctl = bind<(fd: number, request: number, value: Int32Array) => number>(
  'int ioctl(int fd, uint64_t request, void *value)',
);

/** Values of <sys/socket.h>; the same on x64 and arm64. */
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** <linux/sockios.h>. */
const SIOCOUTQ = 0x5411;
const MSG_CTRUNC = 0x08;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** struct msghdr, struct iovec and struct cmsghdr of <sys/socket.h> on LP64. */
const MSGHDR = { bytes: 56, iov: 16, iovlen: 24, control: 32, controllen: 40, flags: 48 } as const;
const IOVEC_BYTES = 16;
const CMSGHDR = { bytes: 16, len: 0, level: 8, type: 12 } as const;

/** The most descriptors one message may carry here. */
export const MAX_FDS = 16;
const CONTROL_BYTES = CMSGHDR.bytes + MAX_FDS * 4;

const header = Buffer.alloc(MSGHDR.bytes);
const iovec = Buffer.alloc(IOVEC_BYTES);
const control = Buffer.alloc(CONTROL_BYTES);

function prepare(data: Uint8Array, controlBytes: number): void {
  iovec.writeBigUInt64LE(BigInt(addressOf(data)), 0);
  iovec.writeBigUInt64LE(BigInt(data.byteLength), 8);
  header.fill(0);
  header.writeBigUInt64LE(BigInt(addressOf(iovec)), MSGHDR.iov);
  header.writeBigUInt64LE(1n, MSGHDR.iovlen);
  if (controlBytes > 0) {
    header.writeBigUInt64LE(BigInt(addressOf(control)), MSGHDR.control);
    header.writeBigUInt64LE(BigInt(controlBytes), MSGHDR.controllen);
  }
}

/** Two connected, non-blocking UNIX stream sockets. The caller closes both. */
export function createSocketPair(): [number, number] {
  const pair = new Int32Array(2);
  if (socketpairNative(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) !== 0) {
    throw systemError('socketpair', 'raise the limit on open files (ulimit -n)');
  }
  return [pair[0]!, pair[1]!];
}

/**
 * Sends bytes, with descriptors attached to the first of them.
 * @returns how many bytes went, or -1 when the socket is full.
 */
export function sendBytes(fd: number, data: Uint8Array, fds: readonly number[]): number {
  if (fds.length > MAX_FDS) throw new ArgumentError(`a message carries at most ${MAX_FDS} descriptors`);
  const controlBytes = fds.length > 0 ? CMSGHDR.bytes + fds.length * 4 : 0;
  if (fds.length > 0) {
    control.fill(0);
    control.writeBigUInt64LE(BigInt(controlBytes), CMSGHDR.len);
    control.writeInt32LE(SOL_SOCKET, CMSGHDR.level);
    control.writeInt32LE(SCM_RIGHTS, CMSGHDR.type);
    fds.forEach((value, index) => {
      control.writeInt32LE(value, CMSGHDR.bytes + index * 4);
    });
  }
  // CMSG_SPACE rounds up to the alignment of size_t.
  prepare(data, (controlBytes + 7) & ~7);
  const sent = sendmsg(fd, header, MSG_NOSIGNAL);
  if (sent >= 0) return sent;
  if (errno() === ERRNO.EAGAIN) return -1;
  throw systemError('sendmsg');
}

/** Whether something that was sent on a UNIX socket has not been received yet. */
export function isUnread(fd: number): boolean {
  const bytes = new Int32Array(1);
  return ioctl(fd, SIOCOUTQ, bytes) === 0 && bytes[0]! > 0;
}

/**
 * Receives up to `data.byteLength` bytes; descriptors that came along are appended to `fds`, closed on exec.
 * @returns how many bytes came, 0 at the end of the stream, -1 when nothing waits.
 */
export function receiveBytes(fd: number, data: Uint8Array, fds: number[]): number {
  prepare(data, CONTROL_BYTES);
  const received = recvmsg(fd, header, MSG_CMSG_CLOEXEC);
  if (received < 0) {
    if (errno() === ERRNO.EAGAIN) return -1;
    throw systemError('recvmsg');
  }
  const controlBytes = Number(header.readBigUInt64LE(MSGHDR.controllen));
  if (controlBytes >= CMSGHDR.bytes && control.readInt32LE(CMSGHDR.type) === SCM_RIGHTS) {
    const end = Number(control.readBigUInt64LE(CMSGHDR.len));
    for (let at = CMSGHDR.bytes; at + 4 <= end; at += 4) fds.push(control.readInt32LE(at));
  }
  if ((header.readInt32LE(MSGHDR.flags) & MSG_CTRUNC) !== 0) {
    for (const extra of fds.splice(0)) closeFd(extra);
    throw new ProtocolError('a message carries more descriptors than the protocol allows');
  }
  return received;
}
