import type { DmaRegion } from './transport.js';

const hex = (value: number): string => `0x${value.toString(16)}`;

/** What is mapped for a device: what tells why a DMA did not arrive, which the kernel writes to its own log alone. */
export class DmaMappings {
  readonly #regions = new Map<number, DmaRegion>();

  add(region: DmaRegion): void {
    this.#regions.set(region.iova, { ...region });
  }

  remove(iova: number): void {
    this.#regions.delete(iova);
  }

  [Symbol.iterator](): Iterator<DmaRegion> {
    return this.#regions.values();
  }

  /**
   * Why a device cannot read or write (`access`) these addresses, naming the first that it cannot; undefined if it can.
   */
  whyUnreachable(iova: number, length: number, access: 'read' | 'write'): string | undefined {
    const end = iova + length;
    for (let at = iova; at < end; ) {
      const region = this.#holding(at);
      if (!region) return `address ${hex(at)} is not mapped for the device`;
      if (access === 'write' && !region.writable) return `address ${hex(at)} is mapped for reading only`;
      at = region.iova + region.length;
    }
    return undefined;
  }

  #holding(iova: number): DmaRegion | undefined {
    for (const region of this.#regions.values()) {
      if (iova >= region.iova && iova < region.iova + region.length) return region;
    }
    return undefined;
  }
}
