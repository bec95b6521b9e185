import { bind, ERRNO, errno, systemError } from './libc.js';

const epollCreate = bind<(flags: number) => number>('int epoll_create1(int flags)');
const epollCtl = bind<(set: number, operation: number, fd: number, event: Int32Array) => number>(
  'int epoll_ctl(int epfd, int op, int fd, void *event)',
);
const epollWait = bind<(set: number, events: Int32Array, max: number, timeoutMs: number) => number>(
  'int epoll_wait(int epfd, void *events, int maxevents, int timeout)',
);

/** Values of <sys/epoll.h>; the same on x64 and arm64. */
const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 1;
const EPOLLET = 1 << 31;

/** struct epoll_event: u32 events, u64 data; packed on x64 only. In words. */
const EVENT = process.arch === 'x64' ? { words: 3, data: 1 } : { words: 4, data: 2 };

/** A new epoll set. The caller closes it. */
export function createEpoll(): number {
  const set = epollCreate(EPOLL_CLOEXEC);
  if (set < 0) throw systemError('epoll_create1', 'raise the limit on open files (ulimit -n)');
  return set;
}

/**
 * Adds a descriptor, known by `tag` (31 bits). `once` reports each signal to one waiter, once, whether it is read or not;
 * otherwise it is reported as long as it is readable.
 */
export function addToEpoll(set: number, fd: number, tag: number, once: boolean): void {
  const event = new Int32Array(EVENT.words);
  event[0] = EPOLLIN | (once ? EPOLLET : 0);
  event[EVENT.data] = tag;
  if (epollCtl(set, EPOLL_CTL_ADD, fd, event) !== 0) throw systemError('epoll_ctl');
}

/** Takes a descriptor out, before it is closed. */
export function removeFromEpoll(set: number, fd: number): void {
  if (epollCtl(set, EPOLL_CTL_DEL, fd, new Int32Array(EVENT.words)) !== 0) throw systemError('epoll_ctl');
}

/** Room for what one wait reports; kept, so that waiting allocates nothing. */
export class EpollEvents {
  readonly #events: Int32Array;
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
    this.#events = new Int32Array(max * EVENT.words);
  }

  /** Blocks until something is readable, or for `timeoutMs`; how many events there are. */
  wait(set: number, timeoutMs: number): number {
    const count = epollWait(set, this.#events, this.#max, timeoutMs);
    if (count >= 0) return count;
    if (errno() === ERRNO.EINTR) return 0;
    throw systemError('epoll_wait');
  }

  /** The tag of an event. */
  tag(index: number): number {
    return this.#events[index * EVENT.words + EVENT.data]!;
  }
}
