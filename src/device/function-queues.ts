import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CQE, DOORBELL, LIMITS, SQE } from '../abi/queue.js';
import {
  QUEUE_COMMAND,
  QUEUE_COUNTERS,
  QUEUE_COUNTERS_OFFSET,
  QUEUE_SETUP,
  QUEUE_SETUP_OFFSET,
  QUEUE_STATE,
} from '../abi/registers.js';
import { SystemError } from '../errors.js';
import { ERRNO } from '../sys/libc.js';
import type { Mapping } from '../sys/memory.js';
import type { Account } from './account.js';
import { translate } from './address-space.js';
import { addCounters, type Counters, listQueue, noCounters, type QueueListing } from './client-counters.js';
import type { Device } from './device.js';
import type { ClientRegion } from './dma-regions.js';
import type { InterruptRoutes } from './interrupt-routes.js';
import type { ShadowQueue } from './shadow-queue.js';
import type { ShadowQueues } from './shadow-queues.js';
import { QUEUE, SPACE } from './state.js';

/** Who holds a queue's lock when the control thread does. */
const CONTROL_LOCK = -1;

/** What queues need of the function that they belong to. */
interface QueueOwner {
  readonly account: Account;
  readonly doorbells: Mapping;
  readonly interrupts: InterruptRoutes;
  readonly shadows: ShadowQueues;
}

/** The queues of one function, behind its set-up registers. Throws SystemErrors for the client. */
export class FunctionQueues {
  readonly #device: Device;
  readonly #space: number;
  readonly #client: QueueOwner;
  /** Number of the shared queue block behind each queue, or -1. */
  readonly #blocks = new Int32Array(LIMITS.maxQueues).fill(-1);
  readonly #setup = Buffer.alloc(QUEUE_SETUP.bytes);
  /** What queues have counted that are disabled by now. */
  readonly #past = noCounters();

  constructor(device: Device, space: number, client: QueueOwner) {
    this.#device = device;
    this.#space = space;
    this.#client = client;
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

  /** How many are enabled. */
  get count(): number {
    return this.#blocks.filter((block) => block >= 0).length;
  }

  /** Puts the set-up block, and the selected queue's counters, into the registers. */
  fillIn(registers: Buffer): void {
    const { state } = this.#device;
    const block = this.#blocks[this.#setup.readUInt32LE(QUEUE_SETUP.offset.queue)] ?? -1;
    const at = block < 0 ? -1 : state.queue(block);
    let queueState: number = QUEUE_STATE.disabled;
    if (at >= 0) {
      queueState = state.words[at + QUEUE.isolated] === 0 ? QUEUE_STATE.enabled : QUEUE_STATE.isolated;
    }
    this.#setup.writeUInt32LE(queueState, QUEUE_SETUP.offset.state);
    this.#setup.copy(registers, QUEUE_SETUP_OFFSET);
    if (at < 0) return;
    for (const [field, offset] of Object.entries(QUEUE_COUNTERS.offset)) {
      const word = state.words[at + QUEUE[field as keyof typeof QUEUE_COUNTERS.offset]]!;
      registers.writeInt32LE(word, QUEUE_COUNTERS_OFFSET + offset);
    }
  }

  /** A write to the set-up block; one that covers the command carries it out before it returns. */
  async write(start: number, data: Buffer): Promise<void> {
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
    const rings = {
      depth,
      sq: field('sqLow') + field('sqHigh') * 4294967296,
      cq: field('cqLow') + field('cqHigh') * 4294967296,
    };
    const isShadowed = this.#client.shadows.needed(rings);
    const sq = isShadowed ? 0 : this.#ringAddress(rings.sq, depth * SQE.bytes);
    const cq = isShadowed ? 0 : this.#ringAddress(rings.cq, depth * CQE.bytes);
    if (depth > this.#client.account.limit('depth')) {
      throw new SystemError('queue set-up', ERRNO.EDQUOT, 'the queue is deeper than this client may have');
    }
    this.#client.account.take('queues', 1);
    const start = field('startIndex') | 0;
    const page = this.#client.doorbells.words.subarray((queue * DOORBELL.pageBytes) >> 2);
    let block = -1;
    let shadow: ShadowQueue | undefined;
    try {
      block = this.#device.takeQueueBlock();
      if (isShadowed) {
        const route = this.#client.interrupts.vector(vector);
        const { signaller } = this.#device;
        shadow = this.#client.shadows.create(queue, { ...rings, startIndex: start, page, route, signaller });
      }
    } catch (error) {
      if (block >= 0) this.#device.returnQueueBlock(block);
      this.#client.account.give('queues', 1);
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
    set(QUEUE.space, this.#space);
    const route = shadow?.interrupt ?? this.#client.interrupts.vector(vector);
    set(QUEUE.irqFd, route.fd);
    set(QUEUE.irqKind, route.kind);
    set(QUEUE.lastServed, Date.now() & 0x3fffffff);
    state.setWide(at + QUEUE.sqLow, shadow?.sqAddress ?? sq);
    state.setWide(at + QUEUE.cqLow, shadow?.cqAddress ?? cq);
    const doorbell = this.#client.doorbells.address + queue * DOORBELL.pageBytes;
    state.setWide(at + QUEUE.doorbellLow, shadow?.doorbellAddress ?? doorbell);
    shadow?.start(token);
    this.#blocks[queue] = block;
    Atomics.store(state.words, state.space(this.#space) + SPACE.blocks + queue, block + 1);
    this.#setup.writeInt32LE(token, QUEUE_SETUP.offset.token);
    this.#device.publishQueue(block);
  }

  #ringAddress(address: number, length: number): number {
    const here =
      address % SQE.bytes === 0 ? translate(this.#device.state, this.#space, address, length, true) : 0;
    if (here === 0) throw new SystemError('queue set-up', ERRNO.EFAULT, 'a ring is not in the address space');
    return here;
  }

  /** Disables a queue; done once no thread holds it and what it had taken has been completed. */
  async #disable(queue: number): Promise<void> {
    const block = this.#blocks[queue]!;
    if (block < 0) return;
    const { state } = this.#device;
    const at = state.queue(block);
    await this.#client.shadows.get(queue)?.stop();
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
    await this.#client.shadows.retire(queue);
    addCounters(this.#past, listQueue(state, queue, block));
    this.#blocks[queue] = -1;
    Atomics.store(state.words, state.space(this.#space) + SPACE.blocks + queue, 0);
    this.#device.retireQueueBlock(block);
    this.#client.account.give('queues', 1);
  }

  /** Whether an enabled queue signals a descriptor. */
  signals(fd: number): boolean {
    const { state } = this.#device;
    return (
      this.#client.shadows.signals(fd) ||
      this.#blocks.some((block) => block >= 0 && state.words[state.queue(block) + QUEUE.irqFd] === fd)
    );
  }

  /** Whether the rings of an enabled queue lie in a region. */
  lieIn(region: ClientRegion): boolean {
    if (this.#client.shadows.lieIn(region)) return true;
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

  /** Disables every queue. */
  async reset(): Promise<void> {
    for (let queue = 0; queue < LIMITS.maxQueues; queue++) await this.#disable(queue);
    this.#setup.fill(0);
  }

  /** Whether all that the client has published is completed. */
  get idle(): boolean {
    const { state } = this.#device;
    return this.#blocks.every((block, queue) => {
      if (block < 0) return true;
      const at = state.queue(block);
      if (state.words[at + QUEUE.isolated] !== 0) return true;
      const word = Atomics.load(
        this.#client.doorbells.words,
        ((queue * DOORBELL.pageBytes) >> 2) + DOORBELL.tailWord,
      );
      const published = (word - state.words[at + QUEUE.token]!) | 0;
      return (
        published === Atomics.load(state.words, at + QUEUE.head) && state.words[at + QUEUE.inFlight] === 0
      );
    });
  }
}

function invalid(message: string): SystemError {
  return new SystemError('vfio-user', ERRNO.EINVAL, message);
}
