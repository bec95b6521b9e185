import { CQE, SQE } from '../abi/queue.js';
import { SystemError } from '../errors.js';
import { ERRNO } from '../sys/libc.js';
import type { Account } from './account.js';
import { ClientMemory } from './client-memory.js';
import type { ClientDescriptors } from './descriptor-budget.js';
import type { DmaChannel } from './dma-channel.js';
import type { ClientRegion, DmaRegions } from './dma-regions.js';
import { SCRATCH_BYTES, Scratch } from './scratch.js';
import { ShadowQueue, type ShadowQueueOptions } from './shadow-queue.js';

export type Rings = Pick<ShadowQueueOptions, 'sq' | 'cq' | 'depth'>;
/** A shadow's interrupt is a pipe. */
const SHADOW_DESCRIPTORS = 2;

type QueueFacts = Omit<ShadowQueueOptions, 'client' | 'scratch' | 'wake'>;

/** The shadow queues of one client, and the scratch memory that they share. Throws SystemErrors for the client. */
export class ShadowQueues {
  readonly #regions: DmaRegions;
  readonly #account: Account;
  readonly #descriptors: ClientDescriptors;
  readonly #wake: () => void;
  readonly #queues = new Map<number, { queue: ShadowQueue; bytes: number }>();
  #channel: DmaChannel | undefined;
  #scratch: Scratch | undefined;

  constructor(regions: DmaRegions, account: Account, descriptors: ClientDescriptors, wake: () => void) {
    this.#descriptors = descriptors;
    this.#regions = regions;
    this.#account = account;
    this.#wake = wake;
  }

  /** From now on the client can be asked for its memory. */
  connect(channel: DmaChannel): void {
    this.#channel = channel;
  }

  /** Whether engine threads cannot reach the rings, and a shadow can. */
  needed({ sq, cq, depth }: Rings): boolean {
    const regions = [
      this.#regions.find(sq, depth * SQE.bytes, true),
      this.#regions.find(cq, depth * CQE.bytes, true),
    ];
    const aligned = sq % SQE.bytes === 0 && cq % SQE.bytes === 0;
    return aligned && regions.every((r) => r !== undefined) && regions.some((r) => r?.mapping === undefined);
  }

  create(id: number, facts: QueueFacts): ShadowQueue {
    const channel = this.#channel;
    if (!channel) throw new SystemError('queue set-up', ERRNO.EFAULT, 'the client cannot be asked');
    const bytes = ShadowQueue.bytes(facts.depth);
    this.#account.take('mappedBytes', bytes);
    let isCounted = false;
    try {
      this.#descriptors.need(SHADOW_DESCRIPTORS);
      isCounted = true;
      const scratch = this.#openScratch();
      const client = new ClientMemory(this.#regions, channel);
      const queue = new ShadowQueue({ ...facts, client, scratch, wake: this.#wake });
      this.#queues.set(id, { queue, bytes });
      return queue;
    } catch (error) {
      if (isCounted) this.#descriptors.give(SHADOW_DESCRIPTORS);
      this.#account.give('mappedBytes', bytes);
      throw error;
    }
  }

  #openScratch(): Scratch {
    if (this.#scratch) return this.#scratch;
    this.#account.take('mappedBytes', SCRATCH_BYTES);
    try {
      this.#scratch = new Scratch();
    } catch (error) {
      this.#account.give('mappedBytes', SCRATCH_BYTES);
      throw error;
    }
    this.#regions.publishScratch(this.#scratch.iova, this.#scratch.mapping);
    return this.#scratch;
  }

  get(id: number): ShadowQueue | undefined {
    return this.#queues.get(id)?.queue;
  }

  /** The client has written its doorbell pages, from one to another. */
  rung(first: number, last: number): void {
    for (const [id, { queue }] of this.#queues) {
      if (id >= first && id <= last) queue.rung();
    }
  }

  /** Whether an enabled queue signals this descriptor. */
  signals(fd: number): boolean {
    return [...this.#queues.values()].some(({ queue }) => queue.irqFd === fd);
  }

  /** Whether the rings of an enabled queue lie in a region. */
  lieIn(region: ClientRegion): boolean {
    return [...this.#queues.values()].some(({ queue }) => queue.liesIn(region));
  }

  /** A region is gone; done once nothing is moved to or from it any more. */
  async detach(region: ClientRegion): Promise<void> {
    await Promise.all([...this.#queues.values()].map(({ queue }) => queue.detach(region)));
  }

  /** Ends a shadow whose queue engine threads no longer see. The scratch memory goes with the last. */
  async retire(id: number): Promise<void> {
    const retired = this.#queues.get(id);
    if (!retired) return;
    await retired.queue.close();
    this.#queues.delete(id);
    this.#descriptors.give(SHADOW_DESCRIPTORS);
    this.#account.give('mappedBytes', retired.bytes);
    if (this.#queues.size === 0) await this.close();
  }

  /** Gives the scratch memory back; no shadow is left. */
  async close(): Promise<void> {
    const scratch = this.#scratch;
    if (!scratch) return;
    this.#scratch = undefined;
    await this.#regions.withdrawScratch();
    scratch.mapping.unmap();
    this.#account.give('mappedBytes', SCRATCH_BYTES);
  }
}
