import { LIMITS } from '../abi/queue.js';
import { IRQ, IRQ_COUNT } from '../abi/registers.js';
import { SystemError } from '../errors.js';
import { closeFds } from '../sys/fd.js';
import { ERRNO } from '../sys/libc.js';
import { SIGNAL_KIND, type SignalKind, type Signaller, signalKind } from '../sys/signal.js';

/** Where one interrupt goes. */
export interface Route {
  /** -1 for nowhere. */
  fd: number;
  kind: SignalKind;
}

const NOWHERE: Route = { fd: -1, kind: SIGNAL_KIND.none };

/** The interrupts of one client: message-signalled ones by vector, and one for errors. Owns their descriptors. */
export class InterruptRoutes {
  readonly #vectors: Route[] = new Array(LIMITS.maxQueues).fill(NOWHERE);
  #error = NOWHERE;

  /** Interrupts of one index: as many message-signalled ones as queues, and one for errors. */
  count(index: number): number {
    if (index >= IRQ_COUNT) throw invalid(`there is no interrupt index ${index}`);
    if (index === IRQ.msix) return LIMITS.maxQueues;
    return index === IRQ.error ? 1 : 0;
  }

  vector(index: number): Route {
    return this.#vectors[index]!;
  }

  /**
   * Routes interrupts to descriptors, which it takes from the list; where there is none, to nowhere.
   * @param inUse tells whether a queue signals this descriptor
   */
  set(index: number, start: number, count: number, fds: number[], inUse: (fd: number) => boolean): void {
    if (start + count > this.count(index)) throw invalid('interrupts out of range');
    const kinds = fds.map((fd) => signalKind(fd));
    if (kinds.includes(SIGNAL_KIND.none)) {
      throw invalid('an interrupt goes to an eventfd, the write end of a pipe, or a socket');
    }
    const next = (): Route => {
      const fd = fds.shift();
      return fd === undefined ? NOWHERE : { fd, kind: kinds.shift()! };
    };
    if (index === IRQ.error) {
      this.#drop(this.#error);
      this.#error = next();
      return;
    }
    for (let vector = start; vector < start + count; vector++) {
      const { fd } = this.#vectors[vector]!;
      if (fd >= 0 && inUse(fd)) {
        throw new SystemError('SET_IRQS', ERRNO.EBUSY, 'a queue in use has this vector');
      }
      this.#drop(this.#vectors[vector]!);
      this.#vectors[vector] = next();
    }
  }

  signalError(signaller: Signaller): void {
    if (this.#error.fd >= 0) signaller.signal(this.#error.fd, this.#error.kind);
  }

  #drop({ fd }: Route): void {
    if (fd >= 0) closeFds([fd]);
  }

  close(): void {
    for (const route of [this.#error, ...this.#vectors.splice(0)]) this.#drop(route);
    this.#error = NOWHERE;
  }
}

function invalid(message: string): SystemError {
  return new SystemError('vfio-user', ERRNO.EINVAL, message);
}
