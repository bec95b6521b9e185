import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CQE, DOORBELL, LIMITS, SQE, STATUS_PAGE } from '../abi/queue.js';
import {
  DEVICE_MAGIC,
  DEVICE_REGISTERS,
  DEVICE_VERSION,
  FEATURE,
  IRQ,
  IRQ_COUNT,
  PCI,
  QUEUE_COMMAND,
  QUEUE_COUNTERS,
  QUEUE_COUNTERS_OFFSET,
  QUEUE_SETUP,
  QUEUE_SETUP_OFFSET,
  QUEUE_STATE,
  REGION,
  REGION_COUNT,
  REGISTERS_BYTES,
} from '../abi/registers.js';
import { SystemError } from '../errors.js';
import { closeFds } from '../sys/fd.js';
import { ERRNO } from '../sys/libc.js';
import { createMemfd } from '../sys/memfd.js';
import { Mapping } from '../sys/memory.js';
import type { DmaRegion } from '../transport/transport.js';
import { Account } from './account.js';
import { translate } from './address-space.js';
import type { Device } from './device.js';
import { DmaRegions } from './dma-regions.js';
import { releaseSessions } from './executor.js';
import { QUEUE, SPACE, SPACE_MODE } from './state.js';

/** Who holds a queue's lock when the control thread does. */
const CONTROL_LOCK = -1;

/** What the server answers GET_REGION_INFO with. */
export interface RegionDescription {
  length: number;
  read: boolean;
  write: boolean;
  /** A sealed memfd, when the region can be mapped as a whole. */
  fd: number | undefined;
}

/** What a device is told of a client. */
export interface ClientOptions {
  /** Requests may name any address of this process: only for a client in this very process. */
  sva: boolean;
  /** What the client may hold; by default whatever the device has. */
  account?: Account;
  /** The client's share of the engines beside others, by default 1. */
  weight?: number;
  /** Served before others, as long as that takes no more than its share. */
  lowLatency?: boolean;
}

/**
 * One client's function of the device: its registers, its doorbell pages, its address space. Everything it is told
 * is untrusted. Methods throw a SystemError whose errno goes back to the client.
 */
export class DeviceFunction {
  readonly #device: Device;
  /** Number of the client's address space. */
  readonly space: number;
  readonly #sva: boolean;
  readonly account: Account;
  readonly #doorbellFd: number;
  readonly #doorbells: Mapping;
  /** Number of the shared queue block behind each queue of this function, or -1. */
  readonly #blocks = new Int32Array(LIMITS.maxQueues).fill(-1);
  readonly #setup = Buffer.alloc(QUEUE_SETUP.bytes);
  readonly #vectors: number[] = new Array(LIMITS.maxQueues).fill(-1);
  #errorFd = -1;
  readonly #memory: DmaRegions;
  #closed = false;

  constructor(device: Device, space: number, client: ClientOptions) {
    this.#device = device;
    this.space = space;
    const { sva } = client;
    this.#sva = sva;
    this.account = client.account ?? new Account();
    this.#memory = new DmaRegions(device, space, sva, this.account);
    const length = LIMITS.maxQueues * DOORBELL.pageBytes;
    this.#doorbellFd = createMemfd('doorbells', length);
    this.#doorbells = Mapping.shared(this.#doorbellFd, 0, length, 'read-write');
    const at = device.state.space(space);
    device.state.words[at + SPACE.mode] = sva ? SPACE_MODE.sva : SPACE_MODE.mapped;
    Atomics.store(device.state.words, at + SPACE.regions, 0);
  }

  get regionCount(): number {
    return REGION_COUNT;
  }

  get irqCount(): number {
    return IRQ_COUNT;
  }

  region(index: number): RegionDescription {
    switch (index) {
      case REGION.registers:
        return { length: REGISTERS_BYTES, read: true, write: true, fd: undefined };
      case REGION.doorbells:
        return { length: this.#doorbells.length, read: true, write: true, fd: this.#doorbellFd };
      case REGION.status:
        return { length: STATUS_PAGE.pageBytes, read: true, write: false, fd: this.#device.statusFd };
      case REGION.description:
        return { length: this.#device.description.length, read: true, write: false, fd: undefined };
      case REGION.config:
        return { length: PCI.configBytes, read: true, write: true, fd: undefined };
      default:
        if (index >= REGION_COUNT) throw invalid(`there is no region ${index}`);
        return { length: 0, read: false, write: false, fd: undefined };
    }
  }

  /** Interrupts of one index: as many message-signalled ones as queues, and one for errors. */
  irqs(index: number): number {
    if (index >= IRQ_COUNT) throw invalid(`there is no interrupt index ${index}`);
    if (index === IRQ.msix) return LIMITS.maxQueues;
    return index === IRQ.error ? 1 : 0;
  }

  read(index: number, offset: number, length: number): Buffer {
    const region = this.region(index);
    if (!region.read || offset + length > region.length)
      throw invalid(`read of region ${index} at ${offset}`);
    return this.#content(index).subarray(offset, offset + length);
  }

  #content(index: number): Buffer {
    switch (index) {
      case REGION.registers:
        return this.#registers();
      case REGION.description:
        return this.#device.description;
      case REGION.config:
        return pciConfig();
      case REGION.doorbells:
        return Buffer.from(this.#doorbells.bytes);
      default:
        return Buffer.from(this.#device.status.bytes);
    }
  }

  #registers(): Buffer {
    const registers = Buffer.alloc(REGISTERS_BYTES);
    const put = (field: keyof typeof DEVICE_REGISTERS.offset, value: number): void => {
      registers.writeUInt32LE(value, DEVICE_REGISTERS.offset[field]);
    };
    put('magic', DEVICE_MAGIC);
    put('version', DEVICE_VERSION);
    put('features', this.#sva ? FEATURE.sva : 0);
    put('state', Atomics.load(this.#device.status.words, STATUS_PAGE.stateWord));
    put('maxQueues', LIMITS.maxQueues);
    put('maxDepth', LIMITS.maxDepth);
    put('maxTransfer', LIMITS.maxTransfer);
    put('maxSessions', this.#device.state.shape.sessions);
    put('maxThreads', this.#device.state.shape.threads);
    put('threads', this.#device.threads);
    put('descriptionBytes', this.#device.description.length);
    put('openQueues', this.#blocks.filter((block) => block >= 0).length);
    const queue = this.#setup.readUInt32LE(QUEUE_SETUP.offset.queue);
    const block = this.#blocks[queue] ?? -1;
    const at = block < 0 ? -1 : this.#device.state.queue(block);
    const words = this.#device.state.words;
    let queueState: number = QUEUE_STATE.disabled;
    if (at >= 0) queueState = words[at + QUEUE.isolated] === 0 ? QUEUE_STATE.enabled : QUEUE_STATE.isolated;
    this.#setup.writeUInt32LE(queueState, QUEUE_SETUP.offset.state);
    this.#setup.copy(registers, QUEUE_SETUP_OFFSET);
    if (at >= 0) {
      for (const [field, offset] of Object.entries(QUEUE_COUNTERS.offset)) {
        const word = words[at + QUEUE[field as keyof typeof QUEUE_COUNTERS.offset]]!;
        registers.writeInt32LE(word, QUEUE_COUNTERS_OFFSET + offset);
      }
    }
    return registers;
  }

  /** A register write; one that covers the queue command carries it out before it returns. */
  async write(index: number, offset: number, data: Buffer): Promise<void> {
    const region = this.region(index);
    if (!region.write || offset + data.length > region.length) throw invalid(`write to region ${index}`);
    if (index === REGION.doorbells) {
      this.#doorbells.bytes.set(data, offset);
      this.#device.wake();
      return;
    }
    if (index !== REGION.registers) return;
    const start = offset - QUEUE_SETUP_OFFSET;
    if (start < 0 || start + data.length > QUEUE_SETUP.bytes) {
      throw invalid('only the queue set-up registers can be written');
    }
    data.copy(this.#setup, start);
    const commandAt = QUEUE_SETUP.offset.command;
    if (start > commandAt || start + data.length < commandAt + 4) return;
    const command = this.#setup.readUInt32LE(commandAt);
    this.#setup.writeUInt32LE(QUEUE_COMMAND.none, commandAt);
    let outcome = 0;
    try {
      if (command === QUEUE_COMMAND.enable) this.#enable();
      else if (command === QUEUE_COMMAND.disable) await this.#disable(this.#selected());
      else if (command !== QUEUE_COMMAND.none) throw invalid(`queue command ${command}`);
    } catch (error) {
      outcome = error instanceof SystemError ? error.errno : ERRNO.EIO;
    }
    this.#setup.writeUInt32LE(outcome, QUEUE_SETUP.offset.outcome);
  }

  #selected(): number {
    const queue = this.#setup.readUInt32LE(QUEUE_SETUP.offset.queue);
    if (queue >= LIMITS.maxQueues) throw invalid(`there is no queue ${queue}`);
    return queue;
  }

  #enable(): void {
    const field = (name: keyof typeof QUEUE_SETUP.offset): number =>
      this.#setup.readUInt32LE(QUEUE_SETUP.offset[name]);
    const queue = this.#selected();
    const depth = field('depth');
    const vector = field('vector');
    if (this.#blocks[queue]! >= 0) throw new SystemError('queue set-up', ERRNO.EBUSY, 'the queue is enabled');
    if (depth < LIMITS.minDepth || depth > LIMITS.maxDepth || (depth & (depth - 1)) !== 0) {
      throw invalid(`a queue cannot be ${depth} deep`);
    }
    if (vector >= LIMITS.maxQueues) throw invalid(`there is no vector ${vector}`);
    const sq = this.#ringAddress(field('sqLow') + field('sqHigh') * 4294967296, depth * SQE.bytes);
    const cq = this.#ringAddress(field('cqLow') + field('cqHigh') * 4294967296, depth * CQE.bytes);
    if (depth > this.account.limit('depth')) {
      throw new SystemError('queue set-up', ERRNO.EDQUOT, 'the queue is deeper than this client may have');
    }
    this.account.take('queues', 1);
    let block: number;
    try {
      block = this.#device.takeQueueBlock();
    } catch (error) {
      this.account.give('queues', 1);
      throw error;
    }
    const { state } = this.#device;
    const at = state.queue(block);
    const start = field('startIndex') | 0;
    // randomInt's range is limited to 2^48, so the whole of a 32-bit token is in reach.
    const token = randomInt(0, 2 ** 32) | 0;
    const page = this.#doorbells.words.subarray((queue * DOORBELL.pageBytes) >> 2);
    page.fill(0, 0, DOORBELL.pageBytes >> 2);
    Atomics.store(page, DOORBELL.tailWord, (start + token) | 0);
    Atomics.store(page, DOORBELL.cqHeadWord, start);
    Atomics.store(page, DOORBELL.armWord, start);
    const set = (word: number, value: number): void => {
      state.words[at + word] = value;
    };
    for (const word of [QUEUE.inFlight, QUEUE.badStreak, QUEUE.isolated]) set(word, 0);
    for (const word of [QUEUE.head, QUEUE.cqTail, QUEUE.cqHead, QUEUE.armSeen]) set(word, start);
    for (let word = QUEUE.completed; word <= QUEUE.lastFaultIndex; word++) set(word, 0);
    set(QUEUE.depth, depth);
    set(QUEUE.token, token);
    set(QUEUE.space, this.space);
    set(QUEUE.irqFd, this.#vectors[vector]!);
    state.setWide(at + QUEUE.sqLow, sq);
    state.setWide(at + QUEUE.cqLow, cq);
    state.setWide(at + QUEUE.doorbellLow, this.#doorbells.address + queue * DOORBELL.pageBytes);
    this.#blocks[queue] = block;
    this.#setup.writeInt32LE(token, QUEUE_SETUP.offset.token);
    this.#device.publishQueue(block);
  }

  #ringAddress(address: number, length: number): number {
    const here =
      address % SQE.bytes === 0 ? translate(this.#device.state, this.space, address, length, true) : 0;
    if (here === 0) throw new SystemError('queue set-up', ERRNO.EFAULT, 'a ring is not in the address space');
    return here;
  }

  /** Disables a queue; done once no thread holds it and what it had taken has been completed. */
  async #disable(queue: number): Promise<void> {
    const block = this.#blocks[queue]!;
    if (block < 0) return;
    const { state } = this.#device;
    const at = state.queue(block);
    await this.#device.withdrawQueue(block);
    while (!this.#device.failed) {
      if (Atomics.compareExchange(state.words, at + QUEUE.lock, 0, CONTROL_LOCK) === 0) {
        const busy = state.words[at + QUEUE.inFlight] !== 0;
        Atomics.store(state.words, at + QUEUE.lock, 0);
        if (!busy) break;
      }
      await sleep(1);
    }
    // The threads of a failed device are stopped, and the one that died lets go of nothing.
    if (this.#device.failed) await this.#device.stopThreads();
    this.#blocks[queue] = -1;
    this.#device.returnQueueBlock(block);
    this.account.give('queues', 1);
  }

  /** Routes interrupts to eventfds, which this function now owns; -1 or none removes the route. */
  async setIrqs(index: number, start: number, count: number, fds: number[]): Promise<void> {
    if (start + count > this.irqs(index)) throw invalid('interrupts out of range');
    if (index === IRQ.error) {
      closeFds([this.#errorFd].filter((fd) => fd >= 0));
      this.#errorFd = fds.shift() ?? -1;
      return;
    }
    for (let vector = start; vector < start + count; vector++) {
      if (this.#vectorInUse(vector)) {
        throw new SystemError('SET_IRQS', ERRNO.EBUSY, 'a queue in use has this vector');
      }
      closeFds([this.#vectors[vector]!].filter((fd) => fd >= 0));
      this.#vectors[vector] = fds.shift() ?? -1;
    }
  }

  #vectorInUse(vector: number): boolean {
    const fd = this.#vectors[vector]!;
    const { state } = this.#device;
    return (
      fd >= 0 &&
      this.#blocks.some((block) => block >= 0 && state.words[state.queue(block) + QUEUE.irqFd] === fd)
    );
  }

  /** Lets requests name `length` bytes at `iova`: a sealed memfd's, mapped here. */
  dmaMap(region: DmaRegion): void {
    this.#memory.map(region);
  }

  /** Takes a region away; done once no thread can still be using it. */
  async dmaUnmap(iova: number, length: number): Promise<void> {
    const { state } = this.#device;
    await this.#memory.unmap(iova, length, (inside) =>
      this.#blocks.some((block) => {
        if (block < 0) return false;
        const at = state.queue(block);
        return inside(state.wide(at + QUEUE.sqLow)) || inside(state.wide(at + QUEUE.cqLow));
      }),
    );
  }

  /** DEVICE_RESET: no queue is enabled and no session open afterwards; DMA regions stay. */
  async reset(): Promise<void> {
    for (let queue = 0; queue < LIMITS.maxQueues; queue++) await this.#disable(queue);
    releaseSessions(this.#device.state, this.space, this.#device.streamer);
    this.#setup.fill(0);
  }

  /** Tells the client that the device has failed. */
  get errorFd(): number {
    return this.#errorFd;
  }

  /** Whether all that the client has published is completed. */
  get idle(): boolean {
    const { state } = this.#device;
    return this.#blocks.every((block, queue) => {
      if (block < 0) return true;
      const at = state.queue(block);
      if (state.words[at + QUEUE.isolated] !== 0) return true;
      const word = Atomics.load(
        this.#doorbells.words,
        ((queue * DOORBELL.pageBytes) >> 2) + DOORBELL.tailWord,
      );
      const published = (word - state.words[at + QUEUE.token]!) | 0;
      return (
        published === Atomics.load(state.words, at + QUEUE.head) && state.words[at + QUEUE.inFlight] === 0
      );
    });
  }

  /** The client is gone: everything it had is let go, once the engines have let go of it. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.reset();
    await this.#memory.close();
    this.#doorbells.unmap();
    closeFds([this.#doorbellFd, this.#errorFd, ...this.#vectors].filter((fd) => fd >= 0));
    const at = this.#device.state.space(this.space);
    this.#device.state.words.fill(0, at, at + this.#device.state.spaceWords);
  }
}

function invalid(message: string): SystemError {
  return new SystemError('vfio-user', ERRNO.EINVAL, message);
}

function pciConfig(): Buffer {
  const config = Buffer.alloc(PCI.configBytes);
  config.writeUInt16LE(PCI.vendorId, PCI.offset.vendorId);
  config.writeUInt16LE(PCI.deviceId, PCI.offset.deviceId);
  config.writeUInt8(PCI.revision, PCI.offset.revision);
  config.writeUIntLE(PCI.classCode, PCI.offset.classCode, 3);
  return config;
}
