import { randomInt } from 'node:crypto';
import { LIMITS } from '../abi/queue.js';
import { Mapping, PAGE_BYTES } from '../sys/memory.js';

interface Waiter {
  bytes: number;
  owner: object;
  resolve: (offset: number | undefined) => void;
}

/** Pieces begin on cache lines of their own. */
const ALIGNMENT = 64;
/** Enough for the largest request there is, with three ranges: whoever waits gets room once the others are done. */
export const SCRATCH_BYTES = 3 * LIMITS.maxTransfer;

/**
 * Memory of the device in which one client's data lies while engines work on it, because they cannot reach the client's
 * own. Engine threads see it as a region of the client's address space, at a random address beyond those that a client
 * can map: a request that names it by chance would find data of the same client.
 */
export class Scratch {
  readonly mapping = Mapping.anonymous(SCRATCH_BYTES);
  readonly iova = LIMITS.addressEnd + randomInt(0, 2 ** 38) * PAGE_BYTES;
  /** What is free, by offset. */
  #free = [{ offset: 0, bytes: SCRATCH_BYTES }];
  #waiters: Waiter[] = [];

  static rounded(bytes: number): number {
    return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
  }

  /** The offset of a piece, once there is room and those who came before have theirs; undefined if cancelled. */
  take(bytes: number, owner: object): Promise<number | undefined> {
    return new Promise((resolve) => {
      this.#waiters.push({ bytes: Scratch.rounded(bytes), owner, resolve });
      this.#serve();
    });
  }

  #serve(): void {
    for (let first = this.#waiters[0]; first; first = this.#waiters[0]) {
      const { bytes } = first;
      const hole = this.#free.find((each) => each.bytes >= bytes);
      if (!hole) return;
      this.#waiters.shift();
      first.resolve(hole.offset);
      hole.offset += bytes;
      hole.bytes -= bytes;
    }
  }

  /** Gives a piece back. */
  give(offset: number, bytes: number): void {
    const holes = [...this.#free, { offset, bytes: Scratch.rounded(bytes) }].filter((each) => each.bytes > 0);
    holes.sort((a, b) => a.offset - b.offset);
    this.#free = [];
    for (const hole of holes) {
      const last = this.#free.at(-1);
      if (last && last.offset + last.bytes === hole.offset) last.bytes += hole.bytes;
      else this.#free.push(hole);
    }
    this.#serve();
  }

  /** Nothing more will be taken for this owner. */
  cancel(owner: object): void {
    const cancelled = this.#waiters.filter((each) => each.owner === owner);
    this.#waiters = this.#waiters.filter((each) => each.owner !== owner);
    for (const each of cancelled) each.resolve(undefined);
    this.#serve();
  }
}
