import type { DriverDevice, KeptMemory } from '../driver/driver.js';
import { ArgumentError } from '../errors.js';

/** Memory that the device reaches, as the application holds it. */
export interface DmaBuffer {
  buffer: Buffer;
  /** The address of its first byte, as requests name it. */
  address: number;
}

const MAX_BYTES = 2 ** 32;

/** Nobody can take a view back from an application: its memory is freed when no view is left. */
const collected = new FinalizationRegistry<{ memory: KeptMemory; kept: Set<KeptMemory> }>(
  ({ memory, kept }) => {
    kept.delete(memory);
    memory.free().catch(() => {
      // The device has gone, and let go of the memory, while the collector was at it.
    });
  },
);

/** The memory an accelerator has handed out for zero copy. Addresses in requests are checked against it. */
export class DmaMemory {
  #device: DriverDevice;
  readonly #kept = new Set<KeptMemory>();
  /** Where the device has each. */
  readonly #buffers = new WeakMap<ArrayBufferLike, number>();
  #ranges: { ref: WeakRef<ArrayBufferLike>; start: number; end: number }[] = [];

  constructor(device: DriverDevice) {
    this.#device = device;
  }

  /** Zeroed memory of this many bytes. It stays valid, even after the accelerator is closed, while it is referenced. */
  async allocate(length: number): Promise<DmaBuffer> {
    if (!Number.isInteger(length) || length <= 0 || length > MAX_BYTES) {
      throw new ArgumentError(`a length from 1 to ${MAX_BYTES} bytes is wanted`);
    }
    const memory = await this.#device.allocate(length);
    const arrayBuffer = memory.mapping.bytes.buffer;
    const bytes = memory.mapping.length;
    const kept = memory.surrender();
    this.#kept.add(kept);
    collected.register(arrayBuffer, { memory: kept, kept: this.#kept });
    this.#ranges = this.#ranges.filter((range) => range.ref.deref() !== undefined);
    const start = memory.iova;
    this.#buffers.set(arrayBuffer, start);
    this.#ranges.push({ ref: new WeakRef(arrayBuffer), start, end: start + bytes });
    return { buffer: Buffer.from(arrayBuffer as ArrayBuffer, 0, length), address: start };
  }

  /** Lets another device reach all of it, under the same addresses: the one before is gone. */
  async moveTo(device: DriverDevice): Promise<void> {
    this.#device = device;
    for (const memory of [...this.#kept]) await memory.moveTo(device);
  }

  /** The device's address of a view into handed-out memory, or 0 for any other. */
  addressOf(view: Uint8Array): number {
    const start = this.#buffers.get(view.buffer);
    return start === undefined ? 0 : start + view.byteOffset;
  }

  /** Whether a range lies within handed-out memory. */
  holds(address: number, length: number): boolean {
    for (const range of this.#ranges) {
      if (address >= range.start && address + length <= range.end) return true;
    }
    return false;
  }
}
