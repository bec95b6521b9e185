import { DmaError } from '../errors.js';
import type { DmaRegion } from './transport.js';

function dmaError(access: string, address: number, reason: string): DmaError {
  return new DmaError(
    `the device could not ${access} memory: address 0x${address.toString(16)} ${reason}`,
    address,
    {
      hint: 'the IOMMU stopped it, and the kernel log tells of it as a DMAR or AMD-Vi fault',
    },
  );
}

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
  whyUnreachable(iova: number, length: number, access: 'read' | 'write'): DmaError | undefined {
    const end = iova + length;
    for (let at = iova; at < end; ) {
      const region = this.#holding(at);
      if (!region) return dmaError(access, at, 'is not mapped for it');
      if (access === 'write' && !region.writable) return dmaError(access, at, 'is mapped for reading only');
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
