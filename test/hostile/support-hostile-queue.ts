import assert from 'node:assert/strict';
import { CQE, DOORBELL, LIMITS, SQE } from '../../src/abi/queue.js';
import {
  QUEUE_COMMAND,
  QUEUE_COUNTERS,
  QUEUE_COUNTERS_OFFSET,
  QUEUE_SETUP,
  QUEUE_SETUP_OFFSET,
  QUEUE_STATE,
  REGION,
} from '../../src/abi/registers.js';
import { closeFd, closeFds, signalEventfd } from '../../src/sys/fd.js';
import { createMemfd } from '../../src/sys/memfd.js';
import { Mapping } from '../../src/sys/memory.js';
import { connectUnix } from '../../src/sys/unix-socket.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';
import { fill, type RawSqe, until } from '../device/support-device.js';
import { rings, type SetupField, setUp } from '../device/support-setup.js';

const PHASE = CQE.offset.phase >> 2;

/** Memory of a hostile client, mapped for the device at an address of its choice. */
export interface HostileMemory {
  mapping: Mapping;
  iova: number;
}

/** How a request ended. */
export interface Done {
  requestId: number;
  status: number;
  produced: number;
  consumed: number;
  result: number;
}

/** A connection whose owner writes whatever it likes to all that it can reach. */
export class HostileDevice {
  readonly transport: VfioUserTransport;
  readonly doorbells: Mapping;
  readonly wakeFd: number;
  readonly #memories: HostileMemory[] = [];
  #nextIova = 0x10000000;

  private constructor(transport: VfioUserTransport, doorbells: Mapping, wakeFd: number) {
    this.transport = transport;
    this.doorbells = doorbells;
    this.wakeFd = wakeFd;
  }

  static async connect(socket: string): Promise<HostileDevice> {
    const transport = await VfioUserTransport.connect(connectUnix(socket), 'broker');
    const length = LIMITS.maxQueues * DOORBELL.pageBytes;
    const doorbells = await transport.mapRegion(REGION.doorbells, 0, length);
    const [wake] = await transport.wakeFds(REGION.doorbells);
    return new HostileDevice(transport, doorbells, wake!.fd);
  }

  async memory(length: number, writable = true, iova = this.#nextIova): Promise<HostileMemory> {
    const fd = createMemfd('hostile', length);
    const mapping = Mapping.shared(fd, 0, length, 'read-write');
    const memory = { mapping, iova };
    this.#memories.push(memory);
    if (iova === this.#nextIova) this.#nextIova += length;
    try {
      await this.transport.dmaMap({ fd, offset: 0, iova, length, writable });
    } finally {
      closeFd(fd);
    }
    return memory;
  }

  async queue(id: number, depth: number, startIndex = 0): Promise<HostileQueue> {
    const memory = await this.memory(Math.ceil((depth * (SQE.bytes + CQE.bytes)) / 4096) * 4096);
    const queue = new HostileQueue(this, id, depth, memory);
    await queue.enable(startIndex);
    return queue;
  }

  wake(): void {
    signalEventfd(this.wakeFd);
  }

  /** Dies, as far as the broker can tell. */
  async close(): Promise<void> {
    await this.transport.close();
    this.doorbells.unmap();
    closeFds([this.wakeFd]);
    for (const { mapping } of this.#memories) mapping.unmap();
  }
}

/** A queue all of whose words are its owner's to spoil. */
export class HostileQueue {
  readonly id: number;
  readonly depth: number;
  readonly sq: Int32Array;
  readonly cq: Int32Array;
  readonly page: Int32Array;
  token = 0;
  /** Index of the next slot; and of the next completion. */
  tail = 0;
  head = 0;
  readonly #device: HostileDevice;
  readonly #memory: HostileMemory;

  constructor(device: HostileDevice, id: number, depth: number, memory: HostileMemory) {
    this.#device = device;
    this.#memory = memory;
    this.id = id;
    this.depth = depth;
    const { words } = memory.mapping;
    this.sq = words.subarray(0, depth * 16);
    this.cq = words.subarray(depth * 16, depth * 24);
    this.page = device.doorbells.words.subarray(id * 1024, (id + 1) * 1024);
  }

  async enable(startIndex = 0): Promise<void> {
    this.sq.fill(startIndex);
    this.cq.fill(startIndex);
    const { iova } = this.#memory;
    const result = await setUp(this.#device.transport, {
      queue: this.id,
      depth: this.depth,
      startIndex,
      vector: this.id,
      ...rings(iova, iova + this.depth * SQE.bytes),
    });
    assert.equal(result.outcome, 0);
    this.token = result.token | 0;
    this.tail = startIndex | 0;
    this.head = startIndex | 0;
  }

  async disable(): Promise<void> {
    await setUp(this.#device.transport, { queue: this.id, command: QUEUE_COMMAND.disable });
  }

  /** Writes a request into the next slot, published but not rung for. */
  put(sqe: RawSqe): Int32Array {
    const at = (this.tail & (this.depth - 1)) * 16;
    this.tail = (this.tail + 1) | 0;
    fill(this.sq, at, { sequence: this.tail, ...sqe });
    return this.sq.subarray(at, at + 16);
  }

  /** Stores any word as the doorbell. */
  ringWord(word: number): void {
    Atomics.store(this.page, DOORBELL.tailWord, word | 0);
    this.#device.wake();
  }

  /** As an honest owner does. */
  ring(): void {
    Atomics.store(this.page, DOORBELL.cqHeadWord, this.head);
    this.ringWord(this.tail + this.token);
  }

  /** The next completion, if it is there. */
  take(): Done | undefined {
    const at = (this.head & (this.depth - 1)) * 8;
    const next = (this.head + 1) | 0;
    if (Atomics.load(this.cq, at + PHASE) !== next) return undefined;
    this.head = next;
    const word = (offset: number): number => this.cq[at + (offset >> 2)]!;
    return {
      requestId: word(CQE.offset.requestId),
      status: word(CQE.offset.status) & 0xff,
      produced: word(CQE.offset.produced) >>> 0,
      consumed: word(CQE.offset.consumed) >>> 0,
      result: word(CQE.offset.result),
    };
  }

  async next(): Promise<Done> {
    let done = this.take();
    if (!done) {
      await until(() => {
        done = this.take();
        return done !== undefined;
      }, 'a completion');
    }
    return done!;
  }

  async execute(sqe: RawSqe): Promise<Done> {
    this.put(sqe);
    this.ring();
    return this.next();
  }

  /** What the device says of this queue. */
  async counters(): Promise<{ wrongRings: number; completed: number; isolated: boolean }> {
    const { transport } = this.#device;
    const select = Buffer.alloc(4);
    select.writeUInt32LE(this.id);
    const setupAt = (field: SetupField): number => QUEUE_SETUP_OFFSET + QUEUE_SETUP.offset[field];
    await transport.writeRegion(REGION.registers, setupAt('queue'), select);
    const registers = await transport.readRegion(REGION.registers, 0, 4096);
    return {
      wrongRings: registers.readUInt32LE(QUEUE_COUNTERS_OFFSET + QUEUE_COUNTERS.offset.wrongRings),
      completed: registers.readUInt32LE(QUEUE_COUNTERS_OFFSET + QUEUE_COUNTERS.offset.completed),
      isolated: registers.readUInt32LE(setupAt('state')) === QUEUE_STATE.isolated,
    };
  }
}
