import type { Mapping } from './memory.js';

/**
 * Registers of a device in a mapped BAR. Each access is one load or store of its width.
 *
 * A load is an Atomics one, which no optimiser removes or joins with another. A store is a plain one on x64, where stores
 * stay in order anyway: an Atomics store would be an exchange there, which reads the register, too, and locks the bus.
 * On arm64 it is an Atomics store, which waits for the memory that the device is told about.
 */
export class Registers {
  readonly #words: Int32Array;
  readonly #halves: Int16Array;
  readonly #storeBarrier = process.arch === 'arm64';

  constructor(mapping: Mapping) {
    this.#words = mapping.words;
    this.#halves = new Int16Array(this.#words.buffer, this.#words.byteOffset, this.#words.length * 2);
  }

  /** Reads the 32-bit register at a byte offset. */
  read32(offset: number): number {
    return Atomics.load(this.#words, offset >> 2) >>> 0;
  }

  write32(offset: number, value: number): void {
    if (this.#storeBarrier) Atomics.store(this.#words, offset >> 2, value);
    else this.#words[offset >> 2] = value;
  }

  write16(offset: number, value: number): void {
    if (this.#storeBarrier) Atomics.store(this.#halves, offset >> 1, value);
    else this.#halves[offset >> 1] = value;
  }
}
