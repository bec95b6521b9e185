import { DOORBELL, LIMITS, STATUS_PAGE } from '../abi/queue.js';
import {
  DEVICE_MAGIC,
  DEVICE_REGISTERS,
  DEVICE_VERSION,
  FEATURE,
  IRQ_COUNT,
  PCI,
  QUEUE_SETUP,
  QUEUE_SETUP_OFFSET,
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
import type { Counters, QueueListing } from './client-counters.js';
import type { ClientDescriptors } from './descriptor-budget.js';
import type { Device } from './device.js';
import { DmaRegions } from './dma-regions.js';
import { FunctionQueues } from './function-queues.js';
import { InterruptRoutes } from './interrupt-routes.js';
import { pciConfig } from './pci-config.js';
import { ShadowQueues } from './shadow-queues.js';
import { SPACE, SPACE_MODE } from './state.js';

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
  /** What the client makes the process hold beyond its connection and its doorbells. */
  readonly descriptors: ClientDescriptors;
  readonly #doorbellFd: number;
  /** One page for each queue. */
  readonly doorbells: Mapping;
  readonly #queues: FunctionQueues;
  readonly interrupts: InterruptRoutes;
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
    this.descriptors = device.descriptors.client();
    this.interrupts = new InterruptRoutes(device.signaller, this.descriptors, (fd) =>
      this.#queues.signals(fd),
    );
    this.#memory = new DmaRegions(device, space, sva, this.account);
    this.shadows = new ShadowQueues(this.#memory, this.account, this.descriptors, () => this.#ring());
    [this.#doorbellFd, this.doorbells] = createDoorbells();
    // A client of a shared device gets a descriptor of its own: whoever else had it could take the signals out.
    try {
      this.wakeFd = device.isShared ? createWakeFd(device.sleepSet, space) : device.wakeFd;
    } catch (error) {
      this.doorbells.unmap();
      closeFd(this.#doorbellFd);
      throw error;
    }
    this.#queues = new FunctionQueues(device, space, this);
    const at = device.state.space(space);
    device.state.words[at + SPACE.mode] = sva ? SPACE_MODE.sva : SPACE_MODE.mapped;
    Atomics.store(device.state.words, at + SPACE.regions, 0);
    device.state.words[at + SPACE.weight] = client.weight ?? 1;
    device.state.words[at + SPACE.lowLatency] = client.lowLatency ? 1 : 0;
    // Where engine threads count for it; an account that lies elsewhere they cannot reach.
    const { account } = this;
    if (account.ledger?.words === device.state.ledger) device.state.words[at + SPACE.account] = account.at;
  }

  get regionCount(): number {
    return REGION_COUNT;
  }

  get irqCount(): number {
    return IRQ_COUNT;
  }

  /** What the client has been through since it came, and its open queues. */
  counters(): { total: Counters; queues: QueueListing[] } {
    return this.#queues.counters();
  }

  /** Whether all that the client has published is completed. */
  get idle(): boolean {
    return this.#queues.idle;
  }

  region(index: number): RegionDescription {
    switch (index) {
      case REGION.registers:
        return { length: REGISTERS_BYTES, read: true, write: true, fd: undefined };
      case REGION.doorbells:
        return { length: this.doorbells.length, read: true, write: true, fd: this.#doorbellFd };
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
        return Buffer.from(this.doorbells.bytes);
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
    put('maxThreads', this.#device.maxThreads);
    put('threads', this.#device.threads);
    put('descriptionBytes', this.#device.description.length);
    put('openQueues', this.#queues.count);
    this.#queues.fillIn(registers);
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
    await this.#queues.write(start, data);
  }

  /** A ring by message. Whole words are stored as one, the CQ head before the tail, as a client that maps the page does. */
  #writeDoorbells(offset: number, data: Buffer): void {
    if (offset % 4 === 0 && data.length % 4 === 0) {
      for (let at = data.length - 4; at >= 0; at -= 4) {
        Atomics.store(this.doorbells.words, (offset + at) >> 2, data.readInt32LE(at));
      }
    } else {
      this.doorbells.bytes.set(data, offset);
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
    if (regions.some((region) => this.#queues.lieIn(region))) {
      throw new SystemError('DMA_UNMAP', ERRNO.EBUSY, 'an enabled queue lies in this region');
    }
    for (const region of regions) {
      await this.#memory.unmap(region);
      await this.shadows.detach(region);
    }
  }

  /** DEVICE_RESET: no queue is enabled and no session open afterwards; DMA regions stay. */
  async reset(): Promise<void> {
    await this.#queues.reset();
    this.#device.sessions.endAll(this.space);
  }

  /** Tells the client that the device has failed. */
  signalError(): void {
    this.interrupts.signalError();
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
    this.doorbells.unmap();
    this.interrupts.close();
    closeFd(this.#doorbellFd);
    this.descriptors.close();
    const at = this.#device.state.space(this.space);
    this.#device.state.words.fill(0, at, at + this.#device.state.spaceWords);
  }
}

/** Doorbell pages for all queues of a function: their memfd, and where it is mapped. */
function createDoorbells(): [number, Mapping] {
  const length = LIMITS.maxQueues * DOORBELL.pageBytes;
  const fd = createMemfd('doorbells', length);
  try {
    return [fd, Mapping.shared(fd, 0, length, 'read-write')];
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** A wake descriptor, in the set that engine threads sleep on. */
function createWakeFd(sleepSet: number, space: number): number {
  const fd = createEventfd();
  try {
    addToEpoll(sleepSet, fd, space, true);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

function invalid(message: string): SystemError {
  return new SystemError('vfio-user', ERRNO.EINVAL, message);
}
