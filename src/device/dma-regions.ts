import { setTimeout as sleep } from 'node:timers/promises';
import { LIMITS } from '../abi/queue.js';
import { SystemError } from '../errors.js';
import { ERRNO } from '../sys/libc.js';
import { checkMappable, checkSize } from '../sys/memfd.js';
import { MAX_MAPPING_BYTES, Mapping, PAGE_BYTES } from '../sys/memory.js';
import type { DmaRegion } from '../transport/transport.js';
import type { Account } from './account.js';
import type { Device } from './device.js';
import { SPACE, SPACE_HEADER_WORDS, SPACE_REGION, SPACE_REGION_WORDS, THREAD } from './state.js';

interface MappedRegion {
  slot: number;
  iova: number;
  length: number;
  mapping: Mapping;
}

/** The memory that one client has mapped: what its requests may touch. Throws SystemErrors for the client. */
export class DmaRegions {
  readonly #device: Device;
  readonly #space: number;
  readonly #sva: boolean;
  readonly #account: Account;
  readonly #regions: MappedRegion[] = [];

  constructor(device: Device, space: number, sva: boolean, account: Account) {
    this.#device = device;
    this.#space = space;
    this.#sva = sva;
    this.#account = account;
  }

  /** Lets requests name `length` bytes at `iova`: a sealed memfd's, mapped here. */
  map(region: DmaRegion): void {
    if (this.#sva) throw new SystemError('DMA_MAP', ERRNO.EOPNOTSUPP, 'under SVA nothing has to be mapped');
    const { iova, length, offset, fd } = region;
    const whole = (value: number): boolean => value % PAGE_BYTES === 0;
    if (
      !(
        length > 0 &&
        length <= MAX_MAPPING_BYTES &&
        whole(length) &&
        whole(iova) &&
        whole(offset) &&
        iova + length <= LIMITS.addressEnd
      )
    ) {
      throw new SystemError(
        'DMA_MAP',
        ERRNO.EINVAL,
        'a DMA region must be whole pages, at most 4 GiB, below 2^47',
      );
    }
    if (this.#regions.some((r) => iova < r.iova + r.length && r.iova < iova + length)) {
      throw new SystemError('DMA_MAP', ERRNO.EEXIST, 'the region overlaps another');
    }
    const { state } = this.#device;
    const at = state.space(this.#space);
    let slot = 0;
    while (this.#regions.some((r) => r.slot === slot)) slot++;
    if (slot >= state.shape.regionsPerSpace) {
      throw new SystemError('DMA_MAP', ERRNO.ENOSPC, 'too many DMA regions');
    }
    try {
      const check = this.#device.unsealedMemory ? checkSize : checkMappable;
      check(fd, offset, length);
    } catch (error) {
      throw new SystemError('DMA_MAP', ERRNO.EINVAL, (error as Error).message);
    }
    const mapping = this.#mapShared(region);
    this.#regions.push({ slot, iova, length, mapping });
    const entry = at + SPACE_HEADER_WORDS + slot * SPACE_REGION_WORDS;
    state.words[entry + SPACE_REGION.writable] = region.writable ? 1 : 0;
    state.setWide(entry + SPACE_REGION.iovaLow, iova);
    state.setWide(entry + SPACE_REGION.lengthLow, length);
    state.setWide(entry + SPACE_REGION.addressLow, mapping.address);
    Atomics.store(state.words, entry + SPACE_REGION.valid, 1);
    const count = Atomics.load(state.words, at + SPACE.regions);
    Atomics.store(state.words, at + SPACE.regions, Math.max(count, slot + 1));
  }

  #mapShared({ fd, offset, length, writable }: DmaRegion): Mapping {
    this.#account.take('regions', 1);
    try {
      this.#account.take('mappedBytes', length);
      try {
        return Mapping.shared(fd, offset, length, writable ? 'read-write' : 'read');
      } catch (error) {
        this.#account.give('mappedBytes', length);
        throw error;
      }
    } catch (error) {
      this.#account.give('regions', 1);
      throw error;
    }
  }

  #unmap({ mapping, length }: MappedRegion): void {
    mapping.unmap();
    this.#account.give('mappedBytes', length);
    this.#account.give('regions', 1);
  }

  /** Takes a region away; done once no thread can still be using it. `inUse` tells whether a queue lies in it. */
  async unmap(
    iova: number,
    length: number,
    inUse: (inside: (address: number) => boolean) => boolean,
  ): Promise<void> {
    const index = this.#regions.findIndex((r) => r.iova === iova && r.length === length);
    const region = this.#regions[index];
    if (!region) throw new SystemError('DMA_UNMAP', ERRNO.ENOENT, 'no such DMA region');
    const { state } = this.#device;
    const inside = (address: number): boolean =>
      address >= region.mapping.address && address < region.mapping.address + region.length;
    if (inUse(inside)) {
      throw new SystemError('DMA_UNMAP', ERRNO.EBUSY, 'an enabled queue lies in this region');
    }
    const entry = state.space(this.#space) + SPACE_HEADER_WORDS + region.slot * SPACE_REGION_WORDS;
    Atomics.store(state.words, entry + SPACE_REGION.valid, 0);
    await this.threadsPassed();
    this.#regions.splice(index, 1);
    this.#unmap(region);
  }

  /** Resolves when every thread that was using a client's memory has stopped doing so once. */
  async threadsPassed(): Promise<void> {
    const { state } = this.#device;
    for (let thread = 0; thread < state.shape.threads; thread++) {
      const at = state.thread(thread) + THREAD.epoch;
      const epoch = Atomics.load(state.words, at);
      while ((epoch & 1) === 1 && Atomics.load(state.words, at) === epoch) {
        if (this.#device.failed) {
          await this.#device.stopThreads();
          return;
        }
        await sleep(1);
      }
    }
  }

  /** Unmaps everything; no queue of the client is enabled any more. */
  async close(): Promise<void> {
    await this.threadsPassed();
    for (const region of this.#regions.splice(0)) this.#unmap(region);
  }
}
