import { LIMITS } from '../abi/queue.js';
import { IRQ, IRQ_COUNT } from '../abi/registers.js';
import { SystemError } from '../errors.js';
import { closeFds } from '../sys/fd.js';
import { ERRNO } from '../sys/libc.js';
import { SIGNAL_KIND, type SignalKind, type Signaller, signalKind } from '../sys/signal.js';
import type { ClientDescriptors } from './descriptor-budget.js';

/** Where one interrupt goes. */
export interface Route {
  /** -1 for nowhere. */
  fd: number;
  kind: SignalKind;
}

const NOWHERE: Route = { fd: -1, kind: SIGNAL_KIND.none };

/**
 * Where a client wants its interrupts delivered: message-signalled ones by vector, and one for errors. Owns their
 * descriptors. Throws SystemErrors for the client.
 */
export class InterruptRoutes {
  readonly #vectors: Route[] = new Array(LIMITS.maxQueues).fill(NOWHERE);
  readonly #signaller: Signaller;
  readonly #isUsed: (fd: number) => boolean;
  readonly #descriptors: ClientDescriptors;
  #error = NOWHERE;

  /**
   * @param isUsed tells whether an enabled queue signals a descriptor.
   * @param descriptors where the client's descriptors are counted, before they come here
   */
  constructor(signaller: Signaller, descriptors: ClientDescriptors, isUsed: (fd: number) => boolean) {
    this.#descriptors = descriptors;
    this.#signaller = signaller;
    this.#isUsed = isUsed;
  }

  /** Interrupts of one index: as many message-signalled ones as queues, and one for errors. */
  count(index: number): number {
    if (index >= IRQ_COUNT) throw invalid(`there is no interrupt index ${index}`);
    if (index === IRQ.msix) return LIMITS.maxQueues;
    return index === IRQ.error ? 1 : 0;
  }

  /** The route of a queue's vector. */
  vector(vector: number): Route {
    return this.#vectors[vector]!;
  }

  /** Routes interrupts to descriptors, which are taken from `fds` and owned from then on; where there are none left, nowhere. */
  route(index: number, start: number, count: number, fds: number[]): void {
    if (start + count > this.count(index)) throw invalid('interrupts out of range');
    if (count === 0) return;
    const kinds = fds.map((fd) => signalKind(fd));
    if (kinds.includes(SIGNAL_KIND.none)) {
      throw invalid('an interrupt goes to an eventfd, the write end of a pipe, or a socket');
    }
    const next = (): Route => {
      const fd = fds.shift();
      return fd === undefined ? NOWHERE : { fd, kind: kinds.shift()! };
    };
    if (index === IRQ.error) {
      this.#drop([this.#error]);
      this.#error = next();
      return;
    }
    const old = this.#vectors.slice(start, start + count);
    if (old.some(({ fd }) => fd >= 0 && this.#isUsed(fd))) {
      throw new SystemError('SET_IRQS', ERRNO.EBUSY, 'a queue in use has this vector');
    }
    this.#drop(old);
    for (let vector = start; vector < start + count; vector++) this.#vectors[vector] = next();
  }

  /** Signals interrupts on the client's own behalf; those without a route stay silent. */
  trigger(index: number, which: readonly number[]): void {
    const count = this.count(index);
    if (which.some((each) => each >= count)) throw invalid('interrupts out of range');
    for (const each of which) this.#signal(index === IRQ.error ? this.#error : this.#vectors[each]!);
  }

  /** Tells the client that the device has failed. */
  signalError(): void {
    this.#signal(this.#error);
  }

  #signal({ fd, kind }: Route): void {
    if (fd >= 0) this.#signaller.signal(fd, kind);
  }

  close(): void {
    this.#drop([this.#error, ...this.#vectors]);
    this.#error = NOWHERE;
    this.#vectors.fill(NOWHERE);
  }

  #drop(routes: Route[]): void {
    const fds = routes.map(({ fd }) => fd).filter((fd) => fd >= 0);
    this.#descriptors.give(fds.length);
    closeFds(fds);
  }
}

function invalid(message: string): SystemError {
  return new SystemError('vfio-user', ERRNO.EINVAL, message);
}
