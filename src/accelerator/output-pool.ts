import { addressOf } from '../sys/memory.js';

/** Outputs up to this many bytes share a slab. */
const SMALL_BYTES = 8192;
/** Making a buffer costs microseconds, whatever its size; a slab makes one for many outputs. */
const SLAB_BYTES = 64 * 1024;

/**
 * Buffers that the calling thread's engines write results to, with their addresses. Small ones lie side by side in slabs
 * that the collector frees with the last of them; what is not kept is used again.
 */
export class OutputPool {
  #slab = Buffer.alloc(0);
  #slabAddress = 0;
  #used = 0;
  #large: Buffer | undefined;
  /** Where the room that was reserved last lies. */
  address = 0;

  /** Room for an output of up to `capacity` bytes. */
  reserve(capacity: number): void {
    this.#large = undefined;
    if (capacity > SMALL_BYTES) {
      this.#large = Buffer.allocUnsafeSlow(capacity);
      this.address = addressOf(this.#large);
      return;
    }
    if (this.#used + capacity > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#slabAddress = addressOf(this.#slab);
      this.#used = 0;
    }
    this.address = this.#slabAddress + this.#used;
  }

  /** The first `length` bytes of what was reserved, as the caller's from now on. */
  keep(length: number): Buffer {
    const large = this.#large;
    this.#large = undefined;
    if (large) return length === large.length ? large : large.subarray(0, length);
    const start = this.#used;
    // Outputs start on eight bytes, so that they can be viewed as anything.
    this.#used = (start + length + 7) & ~7;
    return this.#slab.subarray(start, start + length);
  }
}
