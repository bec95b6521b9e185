import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CQE, DOORBELL, LIMITS, SQE, STATUS_PAGE } from '../abi/queue.js';
import {
  DEVICE_MAGIC,
  DEVICE_REGISTERS,
  DEVICE_VERSION,
  FEATURE,
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
import { addToEpoll, removeFromEpoll } from '../sys/epoll.js';
import { closeFd, createEventfd } from '../sys/fd.js';
import { ERRNO } from '../sys/libc.js';
import { createMemfd } from '../sys/memfd.js';
import { Mapping } from '../sys/memory.js';
import { SIGNAL_KIND } from '../sys/signal.js';
import type { DmaRegion } from '../transport/transport.js';
import { Account } from './account.js';
import { translate } from './address-space.js';
import { addCounters, type Counters, listQueue, noCounters, type QueueListing } from './client-counters.js';
import type { Device } from './device.js';
import { type ClientRegion, DmaRegions } from './dma-regions.js';
import { releaseSessions } from './executor.js';
import { InterruptRoutes } from './interrupt-routes.js';
import { pciConfig } from './pci-config.js';
import type { ShadowQueue } from './shadow-queue.js';
import { ShadowQueues } from './shadow-queues.js';
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
  readonly interrupts: InterruptRoutes;
  /** What queues have counted that are disabled by now. */
  readonly #past = noCounters();
  /** Wakes engine threads when the client writes to it. */
  readonly wakeFd: number;
  readonly #memory: DmaRegions;
  /** Queues in memory that came without a descriptor. */
  readonly shadows: ShadowQueues;
  #closed = false;

  constructor(device: Device, space: number, client: ClientOptions) {
    this.#device = device;
    this.space = space;
    const { sva } = client;
    this.#sva = sva;
    this.account = client.account ?? new Account();
    this.interrupts = new InterruptRoutes(device.signaller, (fd) => this.#signals(fd));
    this.#memory = new DmaRegions(device, space, sva, this.account);
    this.shadows = new ShadowQueues(this.#memory, this.account, () => this.#ring());
    const length = LIMITS.maxQueues * DOORBELL.pageBytes;
    this.#doorbellFd = createMemfd('doorbells', length);
    this.#doorbells = Mapping.shared(this.#doorbellFd, 0, length, 'read-write');
    const at = device.state.space(space);
    device.state.words[at + SPACE.mode] = sva ? SPACE_MODE.sva : SPACE_MODE.mapped;
    Atomics.store(device.state.words, at + SPACE.regions, 0);
    device.state.words[at + SPACE.weight] = client.weight ?? 1;
    device.state.words[at + SPACE.lowLatency] = client.lowLatency ? 1 : 0;
    // A client of a shared device gets a descriptor of its own: whoever else had it could take the signals out.
    this.wakeFd = device.isShared ? createEventfd() : device.wakeFd;
    if (device.isShared) addToEpoll(device.sleepSet, this.wakeFd, space, true);
    this.limitsChanged();
  }

  get regionCount(): number {
    return REGION_COUNT;
  }

  get irqCount(): number {
    return IRQ_COUNT;
  }

  /** Tells the engines of limits in the account that they apply. */
  limitsChanged(): void {
    const { words } = this.#device.state;
    const at = this.#device.state.space(this.space);
    const bounded = (value: number): number => (value < 0x3fffffff ? Math.floor(value) : 0);
    words[at + SPACE.maxSessions] = bounded(this.account.limit('sessions'));
    words[at + SPACE.maxInFlightKib] = bounded(this.account.limit('inFlightBytes') / 1024);
  }

  /** What engines count of the client's holdings, as far as accounts do not. */
  held(): { sessions: number; inFlightBytes: number } {
    const { words } = this.#device.state;
    const at = this.#device.state.space(this.space);
    return {
      sessions: Atomics.load(words, at + SPACE.sessions),
      inFlightBytes: Atomics.load(words, at + SPACE.inFlightKib) * 1024,
    };
  }

  /** What the client has been through since it came, and its open queues. */
  counters(): { total: Counters; queues: QueueListing[] } {
    const queues: QueueListing[] = [];
    this.#blocks.forEach((block, queue) => {
      if (block >= 0) queues.push(listQueue(this.#device.state, queue, block));
    });
    const total = { ...this.#past };
    for (const each of queues) addCounters(total, each);
    return { total, queues };
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
    if (index === REGION.doorbells) return this.#writeDoorbells(offset, data);
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

  /** A ring by message. Whole words are stored as one, the CQ head before the tail, as a client that maps the page does. */
  #writeDoorbells(offset: number, data: Buffer): void {
    if (offset % 4 === 0 && data.length % 4 === 0) {
      for (let at = data.length - 4; at >= 0; at -= 4) {
        Atomics.store(this.#doorbells.words, (offset + at) >> 2, data.readInt32LE(at));
      }
    } else {
      this.#doorbells.bytes.set(data, offset);
    }
    this.#ring();
    const page = (at: number): number => Math.floor(at / DOORBELL.pageBytes);
    this.shadows.rung(page(offset), page(offset + data.length - 1));
  }

  /**
   * Wakes the engines for this client. It holds the descriptor, too, so that it must not be written to in a way that
   * could block.
   */
  #ring(): void {
    this.#device.signaller.signal(this.wakeFd, SIGNAL_KIND.eventfd);
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
    const rings = {
      depth,
      sq: field('sqLow') + field('sqHigh') * 4294967296,
      cq: field('cqLow') + field('cqHigh') * 4294967296,
    };
    const isShadowed = this.shadows.needed(rings);
    const sq = isShadowed ? 0 : this.#ringAddress(rings.sq, depth * SQE.bytes);
    const cq = isShadowed ? 0 : this.#ringAddress(rings.cq, depth * CQE.bytes);
    if (depth > this.account.limit('depth')) {
      throw new SystemError('queue set-up', ERRNO.EDQUOT, 'the queue is deeper than this client may have');
    }
    this.account.take('queues', 1);
    const start = field('startIndex') | 0;
    const page = this.#doorbells.words.subarray((queue * DOORBELL.pageBytes) >> 2);
    let block = -1;
    let shadow: ShadowQueue | undefined;
    try {
      block = this.#device.takeQueueBlock();
      if (isShadowed) {
        const route = this.interrupts.vector(vector);
        const { signaller } = this.#device;
        shadow = this.shadows.create(queue, { ...rings, startIndex: start, page, route, signaller });
      }
    } catch (error) {
      if (block >= 0) this.#device.returnQueueBlock(block);
      this.account.give('queues', 1);
      throw error;
    }
    const { state } = this.#device;
    const at = state.queue(block);
    // randomInt's range is limited to 2^48, so the whole of a 32-bit token is in reach.
    const token = randomInt(0, 2 ** 32) | 0;
    page.fill(0, 0, DOORBELL.pageBytes >> 2);
    Atomics.store(page, DOORBELL.tailWord, (start + token) | 0);
    Atomics.store(page, DOORBELL.cqHeadWord, start);
    Atomics.store(page, DOORBELL.armWord, start);
    Atomics.store(page, DOORBELL.polledWord, 1);
    const set = (word: number, value: number): void => {
      state.words[at + word] = value;
    };
    for (const word of [QUEUE.inFlight, QUEUE.badStreak, QUEUE.isolated]) set(word, 0);
    for (const word of [QUEUE.head, QUEUE.cqTail, QUEUE.cqHead, QUEUE.armSeen]) set(word, start);
    for (let word = QUEUE.completed; word <= QUEUE.microsecondsHigh; word++) set(word, 0);
    set(QUEUE.depth, depth);
    set(QUEUE.token, token);
    set(QUEUE.space, this.space);
    const route = shadow?.interrupt ?? this.interrupts.vector(vector);
    set(QUEUE.irqFd, route.fd);
    set(QUEUE.irqKind, route.kind);
    set(QUEUE.lastServed, Date.now() & 0x3fffffff);
    state.setWide(at + QUEUE.sqLow, shadow?.sqAddress ?? sq);
    state.setWide(at + QUEUE.cqLow, shadow?.cqAddress ?? cq);
    const doorbell = this.#doorbells.address + queue * DOORBELL.pageBytes;
    state.setWide(at + QUEUE.doorbellLow, shadow?.doorbellAddress ?? doorbell);
    shadow?.start(token);
    this.#blocks[queue] = block;
    Atomics.store(state.words, state.space(this.space) + SPACE.blocks + queue, block + 1);
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
    await this.shadows.get(queue)?.stop();
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
    await this.shadows.retire(queue);
    addCounters(this.#past, listQueue(state, queue, block));
    this.#blocks[queue] = -1;
    Atomics.store(state.words, state.space(this.space) + SPACE.blocks + queue, 0);
    this.#device.retireQueueBlock(block);
    this.account.give('queues', 1);
  }

  #signals(fd: number): boolean {
    const { state } = this.#device;
    return (
      this.shadows.signals(fd) ||
      this.#blocks.some((block) => block >= 0 && state.words[state.queue(block) + QUEUE.irqFd] === fd)
    );
  }

  /** Lets requests name `length` bytes at `iova`: a sealed memfd's, mapped here. */
  dmaMap(region: DmaRegion): void {
    this.#memory.map(region);
  }

  /** Lets requests of shadow queues name memory that only messages reach. */
  dmaMapRemote(region: Omit<DmaRegion, 'fd' | 'offset'>): void {
    this.#memory.mapRemote(region);
  }

  /** Takes a region away, or all of them; done once no thread can still be using it. */
  async dmaUnmap(which: 'all' | { iova: number; length: number }): Promise<void> {
    const regions = which === 'all' ? [...this.#memory.all] : [this.#memory.exact(which.iova, which.length)];
    if (regions.some((region) => this.#holdsRing(region))) {
      throw new SystemError('DMA_UNMAP', ERRNO.EBUSY, 'an enabled queue lies in this region');
    }
    for (const region of regions) {
      await this.#memory.unmap(region);
      await this.shadows.detach(region);
    }
  }

  /** Whether the rings of an enabled queue lie in a region. */
  #holdsRing(region: ClientRegion): boolean {
    if (this.shadows.lieIn(region)) return true;
    const { mapping } = region;
    if (!mapping) return false;
    const { state } = this.#device;
    const inside = (at: number): boolean => {
      const address = state.wide(at);
      return address >= mapping.address && address < mapping.address + mapping.length;
    };
    return this.#blocks.some((block) => {
      const at = block < 0 ? -1 : state.queue(block);
      return at >= 0 && (inside(at + QUEUE.sqLow) || inside(at + QUEUE.cqLow));
    });
  }

  /** DEVICE_RESET: no queue is enabled and no session open afterwards; DMA regions stay. */
  async reset(): Promise<void> {
    for (let queue = 0; queue < LIMITS.maxQueues; queue++) await this.#disable(queue);
    releaseSessions(this.#device.state, this.space, this.#device.streamer);
    this.#setup.fill(0);
  }

  /** Tells the client that the device has failed. */
  signalError(): void {
    this.interrupts.signalError();
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
    await this.shadows.close();
    await this.#memory.close();
    if (this.#device.isShared) {
      removeFromEpoll(this.#device.sleepSet, this.wakeFd);
      closeFd(this.wakeFd);
    }
    this.#doorbells.unmap();
    this.interrupts.close();
    closeFd(this.#doorbellFd);
    const at = this.#device.state.space(this.space);
    this.#device.state.words.fill(0, at, at + this.#device.state.spaceWords);
  }
}

function invalid(message: string): SystemError {
  return new SystemError('vfio-user', ERRNO.EINVAL, message);
}
