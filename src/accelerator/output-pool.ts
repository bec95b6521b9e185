import { addressOf } from '../sys/memory.js';

/** Outputs up to this many bytes are copied: a digest that is kept for long must not keep a slab. */
const TINY_BYTES = 256;
/** Outputs up to this many bytes share a slab. */
const SMALL_BYTES = 8192;
/**
 * Making a buffer costs microseconds, whatever its size; a slab makes one for many outputs. Newer versions of Node take
 * memory from the system for each: there, larger slabs are cheaper (1.1 us for 4 KiB of 64, 0.6 us of 256 KiB).
 */
const SLAB_BYTES = Number(process.versions.node.split('.')[0]) >= 22 ? 256 * 1024 : 64 * 1024;

/** Room up to this many bytes is used again, where outputs are copied out of it. */
const SCRATCH_BYTES = 1024 * 1024;

/**
 * Buffers that the calling thread's engines write results to, with their addresses. Small ones lie side by side in slabs
 * that the collector frees with the last of them; what is not kept is used again. Larger ones that fill less than half of
 * their room are copied out of it: whoever has a result is not to hold several times its memory, which would also make the
 * collector work more often. The next ones are expected to be like the last.
 */
export class OutputPool {
  readonly #tiny = Buffer.allocUnsafeSlow(TINY_BYTES);
  readonly #tinyAddress = addressOf(this.#tiny);
  readonly #views: (Buffer | undefined)[] = new Array(TINY_BYTES + 1).fill(undefined);
  #slab = Buffer.alloc(0);
  #slabAddress = 0;
  #used = 0;
  #large: Buffer | undefined;
  #scratch = Buffer.alloc(0);
  #fillRooms = true;
  #isTiny = false;
  /** Where the room that was reserved last lies. */
  address = 0;

  /** Room for an output of up to `capacity` bytes. */
  reserve(capacity: number): void {
    this.#large = undefined;
    this.#isTiny = capacity <= TINY_BYTES;
    if (this.#isTiny) {
      this.address = this.#tinyAddress;
      return;
    }
    if (capacity > SMALL_BYTES) {
      this.#large = this.#roomFor(capacity);
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

  #roomFor(capacity: number): Buffer {
    if (this.#fillRooms || capacity > SCRATCH_BYTES) return Buffer.allocUnsafeSlow(capacity);
    if (capacity > this.#scratch.length) this.#scratch = Buffer.allocUnsafeSlow(capacity);
    return this.#scratch.subarray(0, capacity);
  }

  /** Views are kept: making one takes as long as copying what is in it. */
  #tinyView(length: number): Buffer {
    this.#views[length] ??= this.#tiny.subarray(0, length);
    return this.#views[length];
  }

  /** The first `length` bytes of what was reserved, which are written over by what comes next. */
  look(length: number): Buffer {
    if (this.#isTiny) return this.#tinyView(length);
    const { buffer, start } = this.#large
      ? { buffer: this.#large, start: 0 }
      : { buffer: this.#slab, start: this.#used };
    return buffer.subarray(start, start + length);
  }

  /** The first `length` bytes of what was reserved, as the caller's from now on. */
  keep(length: number): Buffer {
    if (this.#isTiny) {
      const copy = Buffer.allocUnsafe(length);
      copy.set(this.#tinyView(length));
      return copy;
    }
    const large = this.#large;
    this.#large = undefined;
    if (large) return this.#keepLarge(large, length);
    const start = this.#used;
    // Outputs start on eight bytes, so that they can be viewed as anything.
    this.#used = (start + length + 7) & ~7;
    return this.#slab.subarray(start, start + length);
  }

  #keepLarge(large: Buffer, length: number): Buffer {
    this.#fillRooms = length >= large.length / 2;
    if (this.#fillRooms && large.buffer !== this.#scratch.buffer) {
      return length === large.length ? large : large.subarray(0, length);
    }
    const copy = Buffer.allocUnsafe(length);
    copy.set(large.subarray(0, length));
    return copy;
  }
}
