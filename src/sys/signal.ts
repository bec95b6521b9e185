import { fstatSync, readlinkSync } from 'node:fs';
import { bind, ERRNO, errno } from './libc.js';
import { Mapping, PAGE_BYTES } from './memory.js';

/*
 * Signals into descriptors that somebody else provided.
 *
 * The other end shares the open file: it can fill it, and take O_NONBLOCK away, at any moment. A write(2) could so be
 * made to block, however carefully its room was looked at before. Each kind therefore gets a call that cannot block
 * whatever the file's flags say:
 *
 *   pipe     vmsplice(2) with SPLICE_F_NONBLOCK
 *   socket   send(2) with MSG_DONTWAIT
 *   eventfd  the completion of an asynchronous read (io_submit(2), IOCB_FLAG_RESFD): the kernel adds to the counter
 *            itself, and never waits
 *
 * No other kind is signalled.
 */

const vmsplice = bind<(fd: number, iov: number, count: number, flags: number) => number>(
  'int64_t vmsplice(int fd, uint64_t iov, uint64_t nr_segs, unsigned int flags)',
);
const send = bind<(fd: number, data: number, length: number, flags: number) => number>(
  'int64_t send(int fd, uint64_t buf, uint64_t len, int flags)',
);
const syscall = bind<(number: number, a: number, b: number, c: number, d: number, e: number) => number>(
  'int64_t syscall(int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)',
);
const getFlags = bind<(fd: number, command: number, argument: number) => number>(
  'int fcntl(int fd, int cmd, int arg)',
);

const F_GETFL = 3;
const O_ACCMODE = 3;
const O_RDONLY = 0;

const SPLICE_F_NONBLOCK = 2;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Numbers of <asm/unistd.h>. */
const SYS =
  process.arch === 'x64'
    ? { ioSetup: 206, ioDestroy: 207, ioGetevents: 208, ioSubmit: 209 }
    : { ioSetup: 0, ioDestroy: 1, ioGetevents: 4, ioSubmit: 2 };
/** struct iocb of <linux/aio_abi.h>. */
const IOCB = { opcode: 16, fd: 20, buffer: 24, bytes: 32, flags: 56, resultFd: 60, size: 64 } as const;
const IOCB_CMD_PREAD = 0;
const IOCB_FLAG_RESFD = 1;
const AIO_EVENTS = 8;

/** What a descriptor is, as far as it can be signalled; `none` cannot. */
export const SIGNAL_KIND = { none: 0, eventfd: 1, pipe: 2, socket: 3 } as const;

export type SignalKind = (typeof SIGNAL_KIND)[keyof typeof SIGNAL_KIND];

/** Finds out how a descriptor can be signalled. What it finds cannot change any more. */
export function signalKind(fd: number): SignalKind {
  const stats = fstatSync(fd);
  // From the read end of a pipe, vmsplice would read.
  if (stats.isFIFO()) {
    return (getFlags(fd, F_GETFL, 0) & O_ACCMODE) === O_RDONLY ? SIGNAL_KIND.none : SIGNAL_KIND.pipe;
  }
  if (stats.isSocket()) return SIGNAL_KIND.socket;
  return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[eventfd]'
    ? SIGNAL_KIND.eventfd
    : SIGNAL_KIND.none;
}

/** Layout of a signaller's page: what is sent, the iovec that names it, and what asynchronous reads need. */
const AT = {
  data: 0,
  iovec: 64,
  iocb: 128,
  iocbList: 256,
  context: 272,
  scratch: 280,
  timeout: 288,
  events: 320,
};

/** Signals from one thread. */
export class Signaller {
  readonly #page = Mapping.anonymous(PAGE_BYTES);
  readonly #words = this.#page.words;
  readonly #wide: BigUint64Array;
  /** The asynchronous context; -1 where the kernel has none, and eventfds are not signalled. */
  #context = -1;

  /** @param source a file of at least one byte, open for reading for as long as this is used */
  constructor(source: number) {
    const { address, bytes } = this.#page;
    this.#wide = new BigUint64Array(bytes.buffer, bytes.byteOffset, PAGE_BYTES / 8);
    this.#wide[AT.data / 8] = 1n;
    this.#wide[AT.iovec / 8] = BigInt(address + AT.data);
    this.#wide[AT.iovec / 8 + 1] = 8n;
    this.#setUp(source);
  }

  /**
   * Signals a descriptor of a known kind, without ever blocking. A full one is as good as signalled.
   * @returns false if it cannot be signalled, now or ever
   */
  signal(fd: number, kind: number): boolean {
    const { address } = this.#page;
    switch (kind) {
      case SIGNAL_KIND.pipe:
        return vmsplice(fd, address + AT.iovec, 1, SPLICE_F_NONBLOCK) === 8 || errno() === ERRNO.EAGAIN;
      case SIGNAL_KIND.socket:
        return send(fd, address + AT.data, 8, MSG_DONTWAIT | MSG_NOSIGNAL) === 8 || errno() === ERRNO.EAGAIN;
      case SIGNAL_KIND.eventfd:
        return this.#signalEventfd(fd);
      default:
        return false;
    }
  }

  #signalEventfd(fd: number): boolean {
    if (this.#context < 0) return false;
    const { address } = this.#page;
    this.#words[(AT.iocb + IOCB.resultFd) >> 2] = fd;
    if (syscall(SYS.ioSubmit, this.#context, 1, address + AT.iocbList, 0, 0) !== 1) return false;
    // The read is done by now; its event is taken out of the ring so that the ring never fills.
    syscall(SYS.ioGetevents, this.#context, 0, AIO_EVENTS, address + AT.events, address + AT.timeout);
    return true;
  }

  #setUp(source: number): void {
    const { address } = this.#page;
    if (syscall(SYS.ioSetup, AIO_EVENTS, address + AT.context, 0, 0, 0) !== 0) return;
    const context = Number(this.#wide[AT.context / 8]);
    const words = this.#words;
    words[(AT.iocb + IOCB.opcode) >> 2] = IOCB_CMD_PREAD;
    words[(AT.iocb + IOCB.fd) >> 2] = source;
    this.#wide[(AT.iocb + IOCB.buffer) / 8] = BigInt(address + AT.scratch);
    this.#wide[(AT.iocb + IOCB.bytes) / 8] = 1n;
    words[(AT.iocb + IOCB.flags) >> 2] = IOCB_FLAG_RESFD;
    this.#wide[AT.iocbList / 8] = BigInt(address + AT.iocb);
    this.#context = context;
  }

  close(): void {
    if (this.#context >= 0) syscall(SYS.ioDestroy, this.#context, 0, 0, 0, 0);
    this.#context = -1;
    this.#page.unmap();
  }
}
