import { getSystemErrorName } from 'node:util';
import { CQE, DEVICE_STATE, DOORBELL, LIMITS, SQE, STATUS_PAGE } from '../../abi/queue.js';
import {
  DEVICE_MAGIC,
  DEVICE_REGISTERS,
  DEVICE_VERSION,
  FEATURE,
  IRQ,
  PCI,
  QUEUE_COMMAND,
  QUEUE_COUNTERS,
  QUEUE_COUNTERS_OFFSET,
  QUEUE_SETUP,
  QUEUE_SETUP_OFFSET,
  QUEUE_STATE,
  REGION,
} from '../../abi/registers.js';
import type { DeviceDescription } from '../../device/device.js';
import { ArgumentError, DeviceLostError, MemoryError, ProtocolError, SystemError } from '../../errors.js';
import { QueuePair } from '../../queue/queue-pair.js';
import { closeFd, closeFds } from '../../sys/fd.js';
import type { Interrupt } from '../../sys/interrupt.js';
import { ERRNO } from '../../sys/libc.js';
import { createMemfd } from '../../sys/memfd.js';
import { Mapping, PAGE_BYTES } from '../../sys/memory.js';
import type { Transport } from '../../transport/transport.js';
import type { DeviceMemory, Driver, DriverDevice, QueueCounters, QueueOptions } from '../driver.js';
import { WvaMemory } from './wva-memory.js';
import { WvaQueue } from './wva-queue.js';

/** The driver of WarpDrive's own virtual accelerator (docs/device-spec.md). */
export const wva: Driver = {
  name: 'wva',
  matches: (vendorId, deviceId) => vendorId === PCI.vendorId && deviceId === PCI.deviceId,
  open: (transport) => WvaDevice.open(transport),
};

/** What `WvaDevice.open` has found out before there is a device object. */
interface Parts {
  transport: Transport;
  registers: Buffer;
  description: DeviceDescription;
  doorbells: Mapping;
  status: Mapping;
  fds: number[];
  wakeFd: number;
  error: Interrupt;
}

class WvaDevice implements DriverDevice {
  readonly name: string;
  readonly driver = wva.name;
  readonly description: DeviceDescription;
  readonly sva: boolean;
  readonly maxQueues: number;
  readonly maxDepth: number;
  readonly maxTransfer: number;
  readonly maxThreads: number;
  readonly #parts: Parts;
  readonly #queues = new Set<number>();
  /** Register access is several messages: one set-up at a time. */
  #setup: Promise<unknown> = Promise.resolve();
  #onLost: ((reason: string) => void) | undefined;
  #lost: string | undefined;
  /** The transport has ended. */
  #gone = false;
  #closed = false;

  private constructor(parts: Parts) {
    const register = (field: keyof typeof DEVICE_REGISTERS.offset): number =>
      parts.registers.readUInt32LE(DEVICE_REGISTERS.offset[field]);
    this.#parts = parts;
    this.name = parts.transport.name;
    this.description = parts.description;
    this.sva = (register('features') & FEATURE.sva) !== 0;
    this.maxQueues = register('maxQueues');
    this.maxDepth = register('maxDepth');
    this.maxTransfer = register('maxTransfer');
    this.maxThreads = register('maxThreads');
    parts.error.listen(
      () => this.#fail(),
      () => {
        this.#gone = true;
        this.#fail('the process that the device lives in has gone');
      },
    );
    parts.transport.onLost((reason) => {
      this.#gone = true;
      this.#fail(reason.message);
    });
  }

  static async open(transport: Transport): Promise<WvaDevice> {
    const fds: number[] = [];
    const mappings: Mapping[] = [];
    const error = transport.createInterrupt();
    try {
      const registers = await transport.readRegion(REGION.registers, 0, DEVICE_REGISTERS.bytes);
      const magic = registers.readUInt32LE(DEVICE_REGISTERS.offset.magic);
      const version = registers.readUInt32LE(DEVICE_REGISTERS.offset.version);
      if (magic !== DEVICE_MAGIC || version >>> 16 !== DEVICE_VERSION >>> 16) {
        throw new ProtocolError(`${transport.name} is not a WarpDrive accelerator of version 1`);
      }
      const bytes = registers.readUInt32LE(DEVICE_REGISTERS.offset.descriptionBytes);
      const text = await transport.readRegion(REGION.description, 0, bytes);
      const maxQueues = registers.readUInt32LE(DEVICE_REGISTERS.offset.maxQueues);
      const doorbells = await transport.mapRegion(REGION.doorbells, 0, maxQueues * DOORBELL.pageBytes);
      mappings.push(doorbells);
      const status = await transport.mapRegion(REGION.status, 0, STATUS_PAGE.pageBytes);
      mappings.push(status);
      const wakeFds = await transport.wakeFds(REGION.doorbells);
      fds.push(...wakeFds.map((wake) => wake.fd));
      if (wakeFds.length !== 1)
        throw new ProtocolError(`${transport.name} has ${wakeFds.length} wake descriptors`);
      await transport.setIrqs(IRQ.error, 0, [error.deviceFd]);
      error.handOver();
      const description = JSON.parse(text.toString()) as DeviceDescription;
      const wakeFd = fds[0]!;
      return new WvaDevice({ transport, registers, description, doorbells, status, fds, wakeFd, error });
    } catch (reason) {
      for (const mapping of mappings) mapping.unmap();
      closeFds(fds);
      error.close();
      throw reason;
    }
  }

  async createQueue(options: QueueOptions): Promise<WvaQueue> {
    if (this.#lost !== undefined) throw new DeviceLostError(this.#lost, { device: this.name });
    const { depth, startIndex = 0 } = options;
    if (!Number.isInteger(depth) || depth < LIMITS.minDepth || depth > this.maxDepth || depth & (depth - 1)) {
      throw new ArgumentError(
        `a queue's depth is a power of two from ${LIMITS.minDepth} to ${this.maxDepth}`,
      );
    }
    let id = 0;
    while (this.#queues.has(id)) id++;
    if (id >= this.maxQueues) {
      throw new ArgumentError(`${this.name} has no more than ${this.maxQueues} queues`, {
        hint: 'release a queue first',
      });
    }
    this.#queues.add(id);
    const interrupt = this.#parts.transport.createInterrupt();
    let memory: DeviceMemory | undefined;
    try {
      memory = await this.allocate(depth * (SQE.bytes + CQE.bytes));
      const token = await this.#exclusively(() =>
        this.#enable(id, depth, startIndex, memory!.iova, interrupt),
      );
      const { words } = memory.mapping;
      const sqWords = (depth * SQE.bytes) >> 2;
      const doorbellAt = (id * DOORBELL.pageBytes) >> 2;
      const pair = new QueuePair({
        depth,
        startIndex,
        token,
        sq: words.subarray(0, sqWords),
        cq: words.subarray(sqWords, sqWords + ((depth * CQE.bytes) >> 2)),
        doorbell: this.#parts.doorbells.words.subarray(doorbellAt, doorbellAt + (DOORBELL.pageBytes >> 2)),
        status: this.#parts.status.words,
        wakeFd: this.#parts.wakeFd,
      });
      return new WvaQueue(id, pair, interrupt, () => this.#release(id, memory!, interrupt));
    } catch (error) {
      await memory?.free();
      interrupt.close();
      this.#queues.delete(id);
      throw error;
    }
  }

  /** Fills in the set-up registers and enables the queue; returns its token. */
  async #enable(
    id: number,
    depth: number,
    startIndex: number,
    rings: number,
    interrupt: Interrupt,
  ): Promise<number> {
    const { transport } = this.#parts;
    await transport.setIrqs(IRQ.msix, id, [interrupt.deviceFd]);
    interrupt.handOver();
    const cq = rings + depth * SQE.bytes;
    const setup = Buffer.alloc(QUEUE_SETUP.bytes);
    const put = (field: keyof typeof QUEUE_SETUP.offset, value: number): void => {
      setup.writeUInt32LE(value >>> 0, QUEUE_SETUP.offset[field]);
    };
    put('queue', id);
    put('depth', depth);
    put('startIndex', startIndex);
    put('vector', id);
    put('sqLow', rings % 4294967296);
    put('sqHigh', rings / 4294967296);
    put('cqLow', cq % 4294967296);
    put('cqHigh', cq / 4294967296);
    put('command', QUEUE_COMMAND.enable);
    await transport.writeRegion(REGION.registers, QUEUE_SETUP_OFFSET, setup);
    const result = await transport.readRegion(REGION.registers, QUEUE_SETUP_OFFSET, QUEUE_SETUP.bytes);
    const outcome = result.readUInt32LE(QUEUE_SETUP.offset.outcome);
    if (outcome !== 0) {
      throw new SystemError('queue set-up', outcome, getSystemErrorName(-outcome), { device: this.name });
    }
    return result.readInt32LE(QUEUE_SETUP.offset.token);
  }

  async #release(id: number, memory: DeviceMemory, interrupt: Interrupt): Promise<void> {
    const { transport } = this.#parts;
    try {
      await this.#exclusively(async () => {
        const setup = Buffer.alloc(QUEUE_SETUP.bytes);
        setup.writeUInt32LE(id, QUEUE_SETUP.offset.queue);
        setup.writeUInt32LE(QUEUE_COMMAND.disable, QUEUE_SETUP.offset.command);
        await transport.writeRegion(REGION.registers, QUEUE_SETUP_OFFSET, setup);
      });
    } catch (error) {
      // A device that has failed still answers, once its threads are at rest; one that is gone uses no memory.
      if (!this.#gone) throw error;
    } finally {
      await memory.free();
      interrupt.close();
      this.#queues.delete(id);
    }
  }

  async counters(queue: number): Promise<QueueCounters> {
    const registers = await this.#exclusively(async () => {
      const select = Buffer.alloc(4);
      select.writeUInt32LE(queue);
      const { transport } = this.#parts;
      await transport.writeRegion(REGION.registers, QUEUE_SETUP_OFFSET + QUEUE_SETUP.offset.queue, select);
      return transport.readRegion(REGION.registers, 0, QUEUE_COUNTERS_OFFSET + QUEUE_COUNTERS.bytes);
    });
    const count = (field: keyof typeof QUEUE_COUNTERS.offset): number =>
      registers.readUInt32LE(QUEUE_COUNTERS_OFFSET + QUEUE_COUNTERS.offset[field]);
    const state = registers.readUInt32LE(QUEUE_SETUP_OFFSET + QUEUE_SETUP.offset.state);
    return {
      completed: count('completed'),
      wrongRings: count('wrongRings'),
      staleSlots: count('staleSlots'),
      refused: count('refused'),
      isolated: state === QUEUE_STATE.isolated,
    };
  }

  async allocate(length: number): Promise<DeviceMemory> {
    const bytes = Math.ceil(length / PAGE_BYTES) * PAGE_BYTES;
    if (this.sva) return new WvaMemory(this, Mapping.anonymous(bytes), -1);
    const fd = createMemfd('dma', bytes);
    let mapping: Mapping | undefined;
    try {
      mapping = Mapping.shared(fd, 0, bytes, 'read-write');
      await this.mapMemory(fd, mapping.address, bytes);
      return new WvaMemory(this, mapping, fd);
    } catch (error) {
      mapping?.unmap();
      closeFd(fd);
      throw error;
    }
  }

  async mapMemory(fd: number, iova: number, length: number): Promise<void> {
    try {
      await this.#parts.transport.dmaMap({ fd, offset: 0, address: iova, iova, length, writable: true });
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      const hint = 'release queues or buffers first, or open with a smaller memoryBytes';
      if (error.errno === ERRNO.ENOSPC) {
        throw new MemoryError(`${this.name} cannot map more regions of memory`, { hint, cause: error });
      }
      if (error.errno !== ERRNO.EDQUOT) throw error;
      const message = `${this.name} lets this client, or its user, map no ${length} bytes more`;
      throw new SystemError('DMA_MAP', error.errno, message, { hint, device: this.name, cause: error });
    }
  }

  async unmapMemory(iova: number, length: number): Promise<void> {
    if (!this.#gone) await this.#parts.transport.dmaUnmap(iova, length);
  }

  onLost(listener: (reason: string) => void): void {
    this.#onLost = listener;
  }

  /** Runs register accesses that must not be mixed with others. */
  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#setup.then(work);
    this.#setup = result.catch(() => {});
    return result;
  }

  #fail(reason?: string): void {
    if (this.#closed || this.#lost !== undefined) return;
    const failed = Atomics.load(this.#parts.status.words, STATUS_PAGE.stateWord) === DEVICE_STATE.failed;
    this.#lost = failed ? 'an engine thread of the device died' : (reason ?? 'the device failed');
    this.#onLost?.(this.#lost);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#gone = true;
    await this.#parts.transport.close();
    this.#parts.doorbells.unmap();
    this.#parts.status.unmap();
    closeFds(this.#parts.fds);
    this.#parts.error.close();
  }
}
