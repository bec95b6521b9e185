/**
 * Registers of a device in a mapped BAR. Each access is one load or store of its width.
 *
 * A load is an Atomics one, which no optimiser removes or joins with another. A store is a plain one on x64, where stores
 * stay in order anyway: an Atomics store would be an exchange there, which reads the register, too, and locks the bus.
 * On arm64 it is an Atomics store, which waits for the memory that the device is told about.
 */
export class Registers {
  readonly #words: Int32Array;
  readonly #halves: Uint16Array;
  readonly #bytes: Uint8Array;
  readonly #storeBarrier = process.arch === 'arm64';

  /**
   * @param mapping of the BAR, or a part of it
   * @param offset where in it the registers begin: a multiple of 4
   */
  constructor(mapping: { bytes: Uint8Array }, offset = 0) {
    this.#bytes = mapping.bytes.subarray(offset);
    const { buffer, byteOffset, byteLength } = this.#bytes;
    this.#words = new Int32Array(buffer, byteOffset, byteLength >> 2);
    this.#halves = new Uint16Array(buffer, byteOffset, byteLength >> 1);
  }

  read8(offset: number): number {
    return Atomics.load(this.#bytes, offset);
  }

  read16(offset: number): number {
    return Atomics.load(this.#halves, offset >> 1);
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

  write8(offset: number, value: number): void {
    if (this.#storeBarrier) Atomics.store(this.#bytes, offset, value);
    else this.#bytes[offset] = value;
  }
}
