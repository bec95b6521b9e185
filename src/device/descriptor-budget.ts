import { SystemError } from '../errors.js';
import { ERRNO } from '../sys/libc.js';
import type { DescriptorShare } from '../transport/vfio-user/connection.js';

/**
 * The file descriptors of this process that clients may make it hold: what comes with their messages, where their
 * interrupts go, and what is opened for them. Each client is sure of a few. Beyond those all share one pool, by a dynamic
 * threshold (Choudhury and Hahne, 1998): a client may have borrowed no more than is left afterwards. So whoever comes
 * after n clients that take all they can still finds the (n + 1)th part of the pool, and none can empty it.
 */
export class DescriptorBudget {
  readonly #guaranteed: number;
  #free: number;

  /** @param guaranteed what each client is sure of; `shared`: what there is beyond, for all of them */
  constructor(guaranteed: number, shared: number) {
    this.#guaranteed = guaranteed;
    this.#free = shared;
  }

  /** What is left of the pool. */
  get free(): number {
    return this.#free;
  }

  /** A new client's share. */
  client(): ClientDescriptors {
    return new ClientDescriptors(this.#guaranteed, (count) => this.#borrow(count));
  }

  /** Takes from the pool, or gives back where the count is negative. */
  #borrow(count: number): number {
    this.#free -= count;
    return this.#free;
  }
}

/** The descriptors that one client makes the process hold. */
export class ClientDescriptors implements DescriptorShare {
  readonly #guaranteed: number;
  /** Moves so many between the pool and this client; what is left of the pool then. */
  readonly #borrow: (count: number) => number;
  #held = 0;
  #closed = false;

  constructor(guaranteed: number, borrow: (count: number) => number) {
    this.#guaranteed = guaranteed;
    this.#borrow = borrow;
  }

  get held(): number {
    return this.#held;
  }

  get #borrowed(): number {
    return Math.max(0, this.#held - this.#guaranteed);
  }

  take(count: number): boolean {
    if (this.#closed) return false;
    const before = this.#borrowed;
    this.#held += count;
    const more = this.#borrowed - before;
    if (more === 0 || this.#borrow(more) >= this.#borrowed) return true;
    this.give(count);
    return false;
  }

  /** @throws SystemError EMFILE where `take` says no. */
  need(count: number): void {
    if (!this.take(count)) throw noDescriptors();
  }

  give(count: number): void {
    if (this.#closed) return;
    const before = this.#borrowed;
    this.#held -= count;
    this.#borrow(this.#borrowed - before);
  }

  /** The client is gone, and all its descriptors are closed. */
  close(): void {
    this.give(this.#held);
    this.#closed = true;
  }
}

/** What a client is told whose descriptors there is no room for. */
export function noDescriptors(): SystemError {
  return new SystemError('vfio-user', ERRNO.EMFILE, 'no descriptors are left for this client');
}
