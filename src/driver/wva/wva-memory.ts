import { closeFd } from '../../sys/fd.js';
import { freeState, type Mapping } from '../../sys/memory.js';
import type { DeviceMemory, KeptMemory, MemoryOwner } from '../driver.js';

/**
 * Memory that a device names by its address in this process. What had to be mapped keeps its descriptor, so that
 * another device can be given it, too.
 */
export class WvaMemory implements DeviceMemory {
  readonly mapping: Mapping;
  readonly iova: number;
  readonly #fd: number;
  #owner: MemoryOwner;

  /** @param fd the memory's own descriptor, which this object closes; -1 where nothing has to be mapped */
  constructor(owner: MemoryOwner, mapping: Mapping, fd: number) {
    this.#owner = owner;
    this.mapping = mapping;
    this.iova = mapping.address;
    this.#fd = fd;
  }

  async free(): Promise<void> {
    await this.#release(this.mapping.length);
    this.mapping.unmap();
  }

  surrender(): KeptMemory {
    const { address, length } = this.mapping.disown();
    return {
      free: async () => {
        await this.#release(length);
        freeState(address, length);
      },
      moveTo: async (owner) => {
        await owner.mapMemory(this.#fd, address, length);
        this.#owner = owner;
      },
    };
  }

  async #release(length: number): Promise<void> {
    if (this.#fd < 0) return;
    await this.#owner.unmapMemory(this.iova, length);
    closeFd(this.#fd);
  }
}
