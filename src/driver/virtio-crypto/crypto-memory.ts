import { UnsupportedError } from '../../errors.js';
import type { Mapping } from '../../sys/memory.js';
import { DmaBuffer } from '../../transport/dma-buffer.js';
import type { Transport } from '../../transport/transport.js';
import type { DeviceMemory, KeptMemory } from '../driver.js';
import type { MemoryMap } from './memory-map.js';

/** Memory that the device reaches, and that its driver finds by the device's addresses. */
export class CryptoMemory implements DeviceMemory {
  readonly #buffer: DmaBuffer;
  readonly #map: MemoryMap;

  private constructor(buffer: DmaBuffer, map: MemoryMap) {
    this.#buffer = buffer;
    this.#map = map;
    map.add(buffer.iova, buffer.mapping.length, buffer.mapping.address);
  }

  static async allocate(transport: Transport, length: number, map: MemoryMap): Promise<CryptoMemory> {
    return new CryptoMemory(await DmaBuffer.allocate(transport, length), map);
  }

  get mapping(): Mapping {
    return this.#buffer.mapping;
  }

  get iova(): number {
    return this.#buffer.iova;
  }

  async free(): Promise<void> {
    this.#map.remove(this.iova);
    await this.#buffer.free();
  }

  surrender(): KeptMemory {
    const { iova } = this;
    const map = this.#map;
    const kept = this.#buffer.surrender();
    return {
      free: () => {
        map.remove(iova);
        return kept.free();
      },
      moveTo: async () => {
        throw new UnsupportedError('memory of a VFIO device cannot be moved to another one');
      },
    };
  }
}
