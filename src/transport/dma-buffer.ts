import { closeFd } from '../sys/fd.js';
import { createMemfd } from '../sys/memfd.js';
import { freeState, Mapping, PAGE_BYTES } from '../sys/memory.js';
import type { Transport } from './transport.js';

export interface DmaBufferOptions {
  /** Whether the device may write to it; by default it may. */
  writable?: boolean;
}

/** Zeroed memory that this process and a device share, over any transport. */
export class DmaBuffer {
  /** This process's views of it. */
  readonly mapping: Mapping;
  /** The address of its first byte, as the device knows it. */
  readonly iova: number;
  readonly #transport: Transport;
  readonly #fd: number;
  #released = false;

  private constructor(transport: Transport, fd: number, mapping: Mapping, iova: number) {
    this.#transport = transport;
    this.#fd = fd;
    this.mapping = mapping;
    this.iova = iova;
  }

  /**
   * Allocates whole pages, at least `length` bytes.
   * @throws MemoryError if there is no room, in memory, under the limit on locked memory, or among the device's addresses
   */
  static async allocate(
    transport: Transport,
    length: number,
    { writable = true }: DmaBufferOptions = {},
  ): Promise<DmaBuffer> {
    const bytes = Math.ceil(length / PAGE_BYTES) * PAGE_BYTES;
    const iova = transport.reserveIova(bytes);
    let fd = -1;
    let mapping: Mapping | undefined;
    try {
      fd = createMemfd('dma', bytes);
      mapping = Mapping.shared(fd, 0, bytes, 'read-write');
      await transport.dmaMap({ fd, offset: 0, address: mapping.address, iova, length: bytes, writable });
      return new DmaBuffer(transport, fd, mapping, iova);
    } catch (error) {
      mapping?.unmap();
      if (fd >= 0) closeFd(fd);
      transport.releaseIova(iova);
      throw error;
    }
  }

  /** Takes the memory from the device, and then from this process. */
  async free(): Promise<void> {
    await this.#release();
    this.mapping.unmap();
  }

  /** Leaves the memory to whoever holds its views; what this returns frees it, and keeps none of them alive. */
  surrender(): { free(): Promise<void> } {
    const { address, length } = this.mapping.disown();
    return {
      free: async () => {
        await this.#release(length);
        freeState(address, length);
      },
    };
  }

  async #release(length = this.mapping.length): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    await this.#transport.dmaUnmap(this.iova, length);
    this.#transport.releaseIova(this.iova);
    closeFd(this.#fd);
  }
}
