/** Results up to this many bytes share a slab. */
const SMALL_BYTES = 4096;
/** Making a buffer costs microseconds, whatever its size; a slab makes one for many results. */
const SLAB_BYTES = 32 * 1024;

/** Copies results into Buffers. Small ones lie side by side in slabs that the collector frees with the last of them. */
export class ResultPool {
  #slab = Buffer.alloc(0);
  #used = 0;

  /** A copy of `length` bytes of `source` from `at` on. */
  copy(source: Uint8Array, at: number, length: number): Buffer {
    const copy = length <= SMALL_BYTES ? this.#small(length) : Buffer.allocUnsafeSlow(length);
    copy.set(source.subarray(at, at + length));
    return copy;
  }

  #small(length: number): Buffer {
    if (this.#used + length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#used = 0;
    }
    const start = this.#used;
    // Results start on eight bytes, so that they can be viewed as anything.
    this.#used = (start + length + 7) & ~7;
    return this.#slab.subarray(start, start + length);
  }
}
