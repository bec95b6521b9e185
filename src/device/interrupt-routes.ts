import { LIMITS } from '../abi/queue.js';
import { IRQ, IRQ_COUNT } from '../abi/registers.js';
import { SystemError } from '../errors.js';
import { closeFds, trySignal } from '../sys/fd.js';
import { ERRNO } from '../sys/libc.js';

/** Where a client wants its interrupts delivered. Throws SystemErrors for the client. */
export class InterruptRoutes {
  readonly #vectors: number[] = new Array(LIMITS.maxQueues).fill(-1);
  readonly #isUsed: (fd: number) => boolean;
  #errorFd = -1;

  /** @param isUsed tells whether an enabled queue signals a descriptor. */
  constructor(isUsed: (fd: number) => boolean) {
    this.#isUsed = isUsed;
  }

  /** Interrupts of one index: as many message-signalled ones as queues, and one for errors. */
  count(index: number): number {
    if (index >= IRQ_COUNT) throw invalid(`there is no interrupt index ${index}`);
    if (index === IRQ.msix) return LIMITS.maxQueues;
    return index === IRQ.error ? 1 : 0;
  }

  /** The descriptor of a queue's vector, or -1. */
  vector(vector: number): number {
    return this.#vectors[vector]!;
  }

  get errorFd(): number {
    return this.#errorFd;
  }

  /** Routes interrupts to descriptors, which are taken from `fds` and owned from then on; where there are none left, nowhere. */
  route(index: number, start: number, count: number, fds: number[]): void {
    if (start + count > this.count(index)) throw invalid('interrupts out of range');
    if (count === 0) return;
    if (index === IRQ.error) {
      closeFds([this.#errorFd].filter((fd) => fd >= 0));
      this.#errorFd = fds.shift() ?? -1;
      return;
    }
    const old = this.#vectors.slice(start, start + count).filter((fd) => fd >= 0);
    if (old.some(this.#isUsed)) {
      throw new SystemError('SET_IRQS', ERRNO.EBUSY, 'a queue in use has this vector');
    }
    closeFds(old);
    for (let vector = start; vector < start + count; vector++) this.#vectors[vector] = fds.shift() ?? -1;
  }

  /** Signals interrupts on the client's own behalf; those without a route stay silent. */
  trigger(index: number, which: readonly number[]): void {
    const count = this.count(index);
    if (which.some((each) => each >= count)) throw invalid('interrupts out of range');
    for (const each of which) {
      const fd = index === IRQ.error ? this.#errorFd : this.#vectors[each]!;
      if (fd >= 0) trySignal(fd);
    }
  }

  close(): void {
    closeFds([this.#errorFd, ...this.#vectors].filter((fd) => fd >= 0));
  }
}

function invalid(message: string): SystemError {
  return new SystemError('vfio-user', ERRNO.EINVAL, message);
}
