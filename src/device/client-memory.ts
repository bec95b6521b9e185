import { SystemError } from '../errors.js';
import type { DmaChannel } from './dma-channel.js';
import type { ClientRegion, DmaRegions } from './dma-regions.js';

/** A DMA command that is on its way. */
interface Transfer {
  address: number;
  done: Promise<void>;
}

/** A client's memory as the control thread reaches it for one shadow queue: mapped here, or by messages. */
export class ClientMemory {
  readonly #regions: DmaRegions;
  readonly #channel: DmaChannel;
  readonly #transfers = new Set<Transfer>();

  constructor(regions: DmaRegions, channel: DmaChannel) {
    this.#regions = regions;
    this.#channel = channel;
  }

  /** Whether a range lies in memory that engine threads cannot reach. */
  isRemote(address: number, length: number, write: boolean): boolean {
    const region = this.#regions.find(address, length, write);
    return region !== undefined && region.mapping === undefined;
  }

  /** Reads data that is remote; false if the client refused. */
  read(address: number, target: Uint8Array): Promise<boolean> {
    return this.#transfer(address, () => this.#channel.read(address, target));
  }

  /** Writes data that is remote; false if the client refused. */
  write(address: number, data: Uint8Array): Promise<boolean> {
    return this.#transfer(address, () => this.#channel.write(address, data));
  }

  async #transfer(address: number, move: () => Promise<void>): Promise<boolean> {
    let finish: () => void = () => {};
    const done = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const transfer: Transfer = { address, done };
    this.#transfers.add(transfer);
    try {
      await move();
      return true;
    } catch (error) {
      if (error instanceof SystemError) return false;
      throw error;
    } finally {
      this.#transfers.delete(transfer);
      finish();
    }
  }

  /** Resolves when no data is on its way to or from a region that was taken away. */
  async settled(inside: (address: number) => boolean): Promise<void> {
    await Promise.all([...this.#transfers].filter((each) => inside(each.address)).map((each) => each.done));
  }

  /** Reads submissions, once. */
  async readRing(address: number, target: Int32Array): Promise<void> {
    const bytes = new Uint8Array(target.buffer);
    const { mapping, iova } = this.#ringRegion(address, bytes.length);
    if (mapping) bytes.set(mapping.bytes.subarray(address - iova, address - iova + bytes.length));
    else await this.#channel.read(address, bytes);
  }

  /** Writes words of a completion. */
  async writeRing(address: number, words: Int32Array): Promise<void> {
    const { mapping, iova } = this.#ringRegion(address, words.byteLength);
    if (!mapping) {
      const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
      await this.#channel.write(address, bytes);
      return;
    }
    const at = (address - iova) >> 2;
    for (let word = 0; word < words.length; word++) Atomics.store(mapping.words, at + word, words[word]!);
  }

  /** The rings of an enabled queue stay mapped. */
  #ringRegion(address: number, length: number): ClientRegion {
    return this.#regions.find(address, length, true)!;
  }

  /** The client cannot be helped. */
  giveUp(reason: string): void {
    this.#channel.fail(reason);
  }
}
