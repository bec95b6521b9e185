import type { DeviceMemory } from '../driver/driver.js';

/** The smallest block, and what all blocks are powers of two of. */
const MIN_BYTES = 1024;
const MIN_SHIFT = 10;
/** The first view of the memory. */
const VIEW_BYTES = 1 << 20;
const NO_BYTES = new Uint8Array(0);

/**
 * Buffers in memory that the device reaches, for requests whose own buffers it cannot or should not touch: a binary
 * buddy allocator over one mapping. Blocks are named by their offset in it. When nothing is free, `take` says so and
 * the request waits: memory in flight never grows.
 */
export class Staging {
  readonly capacity: number;
  readonly #memory: Pick<DeviceMemory, 'mapping' | 'iova' | 'free'>;
  readonly #topOrder: number;
  /** Head of the list of free blocks of each order; links by block number. */
  readonly #free: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** Order of the block that starts here: free ones as they are, taken ones with the sign bit set, else 0x7f. */
  readonly #order: Int8Array;
  #view: Uint8Array = NO_BYTES;

  /** @param memory a power of two of bytes, at least 1024 */
  constructor(memory: Pick<DeviceMemory, 'mapping' | 'iova' | 'free'>) {
    this.#memory = memory;
    this.capacity = memory.mapping.length;
    const blocks = this.capacity >>> MIN_SHIFT;
    this.#topOrder = Math.log2(blocks);
    this.#free = new Int32Array(this.#topOrder + 1).fill(-1);
    this.#next = new Int32Array(blocks);
    this.#previous = new Int32Array(blocks);
    this.#order = new Int8Array(blocks).fill(NONE);
    this.#push(0, this.#topOrder);
  }

  /**
   * The memory, or as much from its start on as contains the bytes before `end`. Low blocks are taken first, so a view of
   * all is seldom wanted; making one at once would have JavaScript's whole heap collected.
   */
  viewTo(end: number): Uint8Array {
    if (end > this.#view.length) {
      let length = VIEW_BYTES;
      while (length < end) length *= 2;
      this.#view = this.#memory.mapping.prefix(Math.min(length, this.capacity));
    }
    return this.#view;
  }

  /** The device's address of an offset. */
  address(offset: number): number {
    return this.#memory.iova + offset;
  }

  /** Takes a block of at least `length` bytes; its offset, or -1 when there is none. */
  take(length: number): number {
    const order = length <= MIN_BYTES ? 0 : 32 - Math.clz32((length - 1) >>> MIN_SHIFT);
    let from = order;
    while (from <= this.#topOrder && this.#free[from]! < 0) from++;
    if (from > this.#topOrder) return -1;
    const block = this.#free[from]!;
    this.#unlink(block, from);
    while (from > order) {
      from--;
      this.#push(block + (1 << from), from);
    }
    this.#order[block] = order | TAKEN;
    return block << MIN_SHIFT;
  }

  /** Gives a block back, joined with its free neighbours. */
  give(offset: number): void {
    let block = offset >>> MIN_SHIFT;
    let order = this.#order[block]! & ~TAKEN;
    this.#order[block] = NONE;
    while (order < this.#topOrder) {
      const buddy = block ^ (1 << order);
      if (this.#order[buddy] !== order) break;
      this.#unlink(buddy, order);
      block &= ~(1 << order);
      order++;
    }
    this.#push(block, order);
  }

  #push(block: number, order: number): void {
    const head = this.#free[order]!;
    this.#order[block] = order;
    this.#next[block] = head;
    this.#previous[block] = -1;
    if (head >= 0) this.#previous[head] = block;
    this.#free[order] = block;
  }

  #unlink(block: number, order: number): void {
    const next = this.#next[block]!;
    const previous = this.#previous[block]!;
    if (previous >= 0) this.#next[previous] = next;
    else this.#free[order] = next;
    if (next >= 0) this.#previous[next] = previous;
    this.#order[block] = NONE;
  }

  async free(): Promise<void> {
    this.#view = NO_BYTES;
    await this.#memory.free();
  }
}

const NONE = 0x7f;
const TAKEN = -128;
