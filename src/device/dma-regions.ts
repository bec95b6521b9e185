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

const NO_SLOT = -1;

/** Memory that a client lets its requests name. */
export interface ClientRegion {
  iova: number;
  length: number;
  writable: boolean;
  /** Where it lies here; a region that came without a descriptor is reached by messages alone. */
  mapping: Mapping | undefined;
  /** Its entry in the address space that engine threads see; -1 for one that they cannot reach. */
  slot: number;
}

type RegionRequest = Omit<DmaRegion, 'fd' | 'offset'>;

/** The memory that one client has mapped: what its requests may touch. Throws SystemErrors for the client. */
export class DmaRegions {
  readonly #device: Device;
  readonly #space: number;
  readonly #sva: boolean;
  readonly #account: Account;
  readonly #regions: ClientRegion[] = [];
  #scratchSlot = NO_SLOT;

  constructor(device: Device, space: number, sva: boolean, account: Account) {
    this.#device = device;
    this.#space = space;
    this.#sva = sva;
    this.#account = account;
  }

  /** Lets requests name `length` bytes at `iova`: a sealed memfd's, mapped here. */
  map(region: DmaRegion): void {
    const { iova, length, offset, fd, writable } = region;
    if (offset % PAGE_BYTES !== 0 || length > MAX_MAPPING_BYTES) {
      throw new SystemError(
        'DMA_MAP',
        ERRNO.EINVAL,
        'memory is mapped in whole pages, at most 4 GiB at once',
      );
    }
    this.#check(region);
    try {
      const check = this.#device.unsealedMemory ? checkSize : checkMappable;
      check(fd, offset, length);
    } catch (error) {
      throw new SystemError('DMA_MAP', ERRNO.EINVAL, (error as Error).message);
    }
    const mapping = this.#mapShared(region);
    const slot = this.#publish(iova, mapping, writable);
    this.#regions.push({ slot, iova, length, writable, mapping });
  }

  /** Lets requests of shadow queues name memory that came without a descriptor. */
  mapRemote(region: RegionRequest): void {
    this.#check(region);
    this.#account.take('regions', 1);
    this.#regions.push({ ...region, slot: NO_SLOT, mapping: undefined });
  }

  #check({ iova, length }: RegionRequest): void {
    if (this.#sva) throw new SystemError('DMA_MAP', ERRNO.EOPNOTSUPP, 'under SVA nothing has to be mapped');
    const whole = (value: number): boolean => value % PAGE_BYTES === 0;
    if (!(length > 0 && whole(length) && whole(iova) && iova + length <= LIMITS.addressEnd)) {
      throw new SystemError('DMA_MAP', ERRNO.EINVAL, 'a DMA region must be whole pages, below 2^47');
    }
    if (this.#regions.some((r) => iova < r.iova + r.length && r.iova < iova + length)) {
      throw new SystemError('DMA_MAP', ERRNO.EEXIST, 'the region overlaps another');
    }
    if (this.#regions.length >= LIMITS.maxRegions) {
      throw new SystemError('DMA_MAP', ERRNO.ENOSPC, 'too many DMA regions');
    }
  }

  /** Lets engine threads translate addresses of a region; returns its entry. */
  #publish(iova: number, mapping: Mapping, writable: boolean): number {
    const { state } = this.#device;
    const at = state.space(this.#space);
    let slot = 0;
    while (slot === this.#scratchSlot || this.#regions.some((r) => r.slot === slot)) slot++;
    const entry = at + SPACE_HEADER_WORDS + slot * SPACE_REGION_WORDS;
    state.words[entry + SPACE_REGION.writable] = writable ? 1 : 0;
    state.setWide(entry + SPACE_REGION.iovaLow, iova);
    state.setWide(entry + SPACE_REGION.lengthLow, mapping.length);
    state.setWide(entry + SPACE_REGION.addressLow, mapping.address);
    Atomics.store(state.words, entry + SPACE_REGION.valid, 1);
    const count = Atomics.load(state.words, at + SPACE.regions);
    Atomics.store(state.words, at + SPACE.regions, Math.max(count, slot + 1));
    return slot;
  }

  /** Takes a region from the engine threads' sight; done once none can still be using it. */
  async #withdraw(slot: number): Promise<void> {
    const entry = this.#device.state.space(this.#space) + SPACE_HEADER_WORDS + slot * SPACE_REGION_WORDS;
    Atomics.store(this.#device.state.words, entry + SPACE_REGION.valid, 0);
    await this.threadsPassed();
  }

  /** Lets requests name memory of the device's own; once at a time, and where no client can map anything. */
  publishScratch(iova: number, mapping: Mapping): void {
    this.#scratchSlot = this.#publish(iova, mapping, true);
  }

  async withdrawScratch(): Promise<void> {
    await this.#withdraw(this.#scratchSlot);
    this.#scratchSlot = NO_SLOT;
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

  #unmap({ mapping, length }: ClientRegion): void {
    if (mapping) {
      mapping.unmap();
      this.#account.give('mappedBytes', length);
    }
    this.#account.give('regions', 1);
  }

  /** The region that a range lies in, if it may be read, or also written. */
  find(address: number, length: number, write: boolean): ClientRegion | undefined {
    return this.#regions.find(
      (r) => address >= r.iova && address + length <= r.iova + r.length && (r.writable || !write),
    );
  }

  /** The region that was mapped so. */
  exact(iova: number, length: number): ClientRegion {
    const region = this.#regions.find((r) => r.iova === iova && r.length === length);
    if (!region) throw new SystemError('DMA_UNMAP', ERRNO.ENOENT, 'no such DMA region');
    return region;
  }

  get all(): readonly ClientRegion[] {
    return this.#regions;
  }

  /** Takes a region away; done once no thread can still be using it. */
  async unmap(region: ClientRegion): Promise<void> {
    if (region.slot !== NO_SLOT) await this.#withdraw(region.slot);
    const index = this.#regions.indexOf(region);
    if (index < 0) return;
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
