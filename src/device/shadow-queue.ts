import { CQE, CQE_WORD_SHIFT, DOORBELL, SQE, SQE_WORD_SHIFT, STATUS } from '../abi/queue.js';
import { SystemError } from '../errors.js';
import { Interrupt } from '../sys/interrupt.js';
import { Mapping } from '../sys/memory.js';
import { SIGNAL_KIND, type Signaller } from '../sys/signal.js';
import type { ClientMemory } from './client-memory.js';
import type { ClientRegion } from './dma-regions.js';
import type { Route } from './interrupt-routes.js';
import type { Scratch } from './scratch.js';
import { type Stage, stageRequest } from './shadow-stage.js';

/*
 * A queue whose rings engine threads cannot reach, because the client shares no descriptor of that memory.
 *
 *   client's SQ --DMA_READ--> shadow SQ --> engine threads --> shadow CQ --DMA_WRITE--> client's CQ
 *   client's source --DMA_READ--> scratch                      scratch --DMA_WRITE--> client's destination
 *
 * The shadow has the same depth, indexes and token as the queue it stands for, and engine threads serve it as any other.
 * The control thread only moves: it judges nothing, so a slot that is stale or malformed goes through as it is, and is
 * refused and counted where all others are. What lies in a region that did come with a descriptor is left for the engine
 * threads to translate. Requests carry a tag in the shadow, and get their own id back on the way out.
 */

export interface ShadowQueueOptions {
  client: ClientMemory;
  scratch: Scratch;
  /** Wakes the engine threads. */
  wake: () => void;
  depth: number;
  startIndex: number;
  /** The client's addresses of its rings. */
  sq: number;
  cq: number;
  /** The doorbell page that the client writes. */
  page: Int32Array;
  /** What the client wants signalled, and what signals it. */
  route: Route;
  signaller: Signaller;
}

interface InFlight {
  requestId: number;
  stage: Stage | undefined;
  /** A region that a result belongs in was unmapped meanwhile. */
  lost: boolean;
}

const SEQUENCE = SQE.offset.sequence >> 2;
const REQUEST_ID = SQE.offset.requestId >> 2;
const SQE_WORDS = SQE.bytes >> 2;
const C_REQUEST_ID = CQE.offset.requestId >> 2;
const C_STATUS = CQE.offset.status >> 2;
const C_PRODUCED = CQE.offset.produced >> 2;
const C_PHASE = CQE.offset.phase >> 2;
const CQE_WORDS = CQE.bytes >> 2;

/** Submissions read at once. */
const MAX_BATCH = 32;

export class ShadowQueue {
  readonly #options: ShadowQueueOptions;
  /** Doorbell page, SQ and CQ, as engine threads see them. */
  readonly #memory: Mapping;
  readonly #page: Int32Array;
  readonly #sq: Int32Array;
  readonly #cq: Int32Array;
  readonly #interrupt = new Interrupt();
  readonly #inFlight: (InFlight | undefined)[];
  readonly #tags: number[];
  #token = 0;
  /** How far the client's SQ has been read, and its CQ written; and how far it is known to have consumed that. */
  #fetched: number;
  #delivered: number;
  #cqHead: number;
  #armSeen: number;
  #wrongWord: number | undefined;
  #wrongRings = 0;
  #isFetching = false;
  #isDelivering = false;
  #fetching: Promise<void> = Promise.resolve();
  #delivering: Promise<void> = Promise.resolve();
  #stopping = false;
  /** The client is gone: nothing can be moved any more. */
  #cut = false;

  constructor(options: ShadowQueueOptions) {
    const { depth, startIndex } = options;
    this.#options = options;
    this.#memory = Mapping.anonymous(ShadowQueue.bytes(depth));
    const { words } = this.#memory;
    const sqAt = DOORBELL.pageBytes >> 2;
    const cqAt = sqAt + depth * SQE_WORDS;
    this.#page = words.subarray(0, sqAt);
    this.#sq = words.subarray(sqAt, cqAt);
    this.#cq = words.subarray(cqAt, cqAt + depth * CQE_WORDS);
    this.#fetched = this.#delivered = this.#cqHead = this.#armSeen = startIndex | 0;
    for (let slot = 0; slot < depth; slot++) {
      this.#sq[(slot << SQE_WORD_SHIFT) + SEQUENCE] = startIndex;
      this.#cq[(slot << CQE_WORD_SHIFT) + C_PHASE] = startIndex;
    }
    this.#inFlight = new Array<InFlight | undefined>(depth).fill(undefined);
    this.#tags = Array.from({ length: depth }, (_, tag) => tag);
    this.#interrupt.listen(() => this.#deliverSoon());
    this.#interrupt.ref();
  }

  /** Memory that a shadow of this depth takes, without its scratch. */
  static bytes(depth: number): number {
    return DOORBELL.pageBytes + depth * (SQE.bytes + CQE.bytes);
  }

  get doorbellAddress(): number {
    return this.#memory.address;
  }

  get sqAddress(): number {
    return this.#memory.address + DOORBELL.pageBytes;
  }

  get cqAddress(): number {
    return this.sqAddress + this.#options.depth * SQE.bytes;
  }

  /** What engine threads signal. */
  get interrupt(): Route {
    return { fd: this.#interrupt.deviceFd, kind: SIGNAL_KIND.pipe };
  }

  /** What the client wants signalled. */
  get irqFd(): number {
    return this.#options.route.fd;
  }

  /** Rings the shadow's doorbell for the first time; the client's page is filled in already. */
  start(token: number): void {
    this.#token = token;
    this.#store(DOORBELL.cqHeadWord, this.#delivered);
    this.#store(DOORBELL.armWord, (this.#delivered + 1) | 0);
    this.#store(DOORBELL.tailWord, (this.#fetched + token) | 0);
  }

  #store(word: number, value: number): void {
    Atomics.store(this.#page, word, value);
  }

  /** The client has written its doorbell page. */
  rung(): void {
    if (this.#isFetching || this.#stopping || this.#cut) return;
    this.#isFetching = true;
    this.#fetching = this.#fetch().catch((error) => this.#lose(error));
  }

  async #fetch(): Promise<void> {
    try {
      while (!this.#stopping) {
        // Nothing is awaited between this look and the end: a ring after it finds that nobody is fetching.
        const count = this.#pending();
        if (count <= 0) return;
        const entries = new Int32Array(count * SQE_WORDS);
        const slot = this.#fetched & (this.#options.depth - 1);
        await this.#options.client.readRing(this.#options.sq + slot * SQE.bytes, entries);
        for (let i = 0; i < count && !this.#stopping; i++) {
          await this.#submit(entries.subarray(i * SQE_WORDS, (i + 1) * SQE_WORDS));
        }
      }
    } finally {
      this.#isFetching = false;
    }
  }

  /** How many submissions to read now: what an engine thread would find at the client's own doorbell. */
  #pending(): number {
    const { depth, page } = this.#options;
    const word = Atomics.load(page, DOORBELL.tailWord);
    const pending = (word - this.#token - this.#fetched) | 0;
    if (pending < 0 || pending > depth) {
      this.#passWrongRing(word);
      return 0;
    }
    if (this.#wrongWord !== undefined) {
      this.#wrongWord = undefined;
      this.#ring();
    }
    const cqHead = Atomics.load(page, DOORBELL.cqHeadWord);
    const unread = (this.#delivered - cqHead) | 0;
    if (unread >= 0 && unread <= depth) this.#cqHead = cqHead;
    const room = this.#tags.length - ((this.#delivered - this.#cqHead) | 0);
    return Math.min(pending, room, MAX_BATCH, depth - (this.#fetched & (depth - 1)));
  }

  /** A wrong ring is passed on as another wrong one, which engine threads count: never as one that could be right. */
  #passWrongRing(word: number): void {
    if (word === this.#wrongWord) return;
    this.#wrongWord = word;
    this.#wrongRings = (this.#wrongRings + 1) & 0xffff;
    this.#store(DOORBELL.tailWord, (this.#fetched + this.#token + 0x80000000 + this.#wrongRings) | 0);
    this.#options.wake();
  }

  #ring(): void {
    this.#store(DOORBELL.tailWord, (this.#fetched + this.#token) | 0);
    this.#options.wake();
  }

  /** Brings a submission's source here, puts it into the shadow and rings. */
  async #submit(entry: Int32Array): Promise<void> {
    const request: InFlight = { requestId: entry[REQUEST_ID]!, stage: undefined, lost: false };
    const tag = this.#tags.pop()!;
    this.#inFlight[tag] = request;
    // Of another sequence it is stale, and moves nothing.
    if (entry[SEQUENCE] === ((this.#fetched + 1) | 0)) {
      const { client, scratch } = this.#options;
      await stageRequest(entry, client, scratch, this, (stage) => {
        request.stage = stage;
      });
    }
    if (this.#stopping) return;
    entry[REQUEST_ID] = tag;
    this.#sq.set(entry, (this.#fetched & (this.#options.depth - 1)) << SQE_WORD_SHIFT);
    this.#fetched = (this.#fetched + 1) | 0;
    this.#ring();
  }

  #deliverSoon(): void {
    if (this.#isDelivering || this.#cut) return;
    this.#isDelivering = true;
    this.#delivering = this.#deliver().catch((error) => this.#lose(error));
  }

  async #deliver(): Promise<void> {
    const mask = this.#options.depth - 1;
    try {
      for (;;) {
        const at = (this.#delivered & mask) << CQE_WORD_SHIFT;
        const next = (this.#delivered + 1) | 0;
        // Armed before the look: what comes after it interrupts.
        this.#store(DOORBELL.armWord, next);
        if (Atomics.load(this.#cq, at + C_PHASE) !== next) return;
        await this.#complete(this.#cq.slice(at, at + CQE_WORDS));
      }
    } finally {
      this.#isDelivering = false;
    }
  }

  /** Brings one result and its completion to the client. */
  async #complete(completion: Int32Array): Promise<void> {
    const { client, scratch, depth, cq, page } = this.#options;
    const tag = completion[C_REQUEST_ID]!;
    const request = this.#inFlight[tag]!;
    const produced = completion[C_PRODUCED]! >>> 0;
    for (const { destination, at, capacity } of request.stage?.results ?? []) {
      const length = Math.min(produced, capacity);
      if (length === 0) continue;
      const result = scratch.mapping.bytes.subarray(at, at + length);
      if (!request.lost && (await client.write(destination, result))) continue;
      completion[C_STATUS] = (completion[C_STATUS]! & ~0xff) | STATUS.badAddress;
      completion[C_PRODUCED] = 0;
      break;
    }
    this.#free(tag, request);
    completion[C_REQUEST_ID] = request.requestId;
    const slot = cq + (this.#delivered & (depth - 1)) * CQE.bytes;
    await client.writeRing(slot, completion.subarray(0, C_PHASE));
    // Last, and by itself: whoever sees it sees the rest.
    await client.writeRing(slot + CQE.offset.phase, completion.subarray(C_PHASE));
    this.#delivered = (this.#delivered + 1) | 0;
    this.#tags.push(tag);
    this.#store(DOORBELL.cqHeadWord, this.#delivered);
    const arm = Atomics.load(page, DOORBELL.armWord);
    if (arm === this.#armSeen || ((this.#delivered - arm) | 0) < 0) return;
    this.#armSeen = arm;
    const { route, signaller } = this.#options;
    if (route.fd >= 0) signaller.signal(route.fd, route.kind);
  }

  #free(tag: number, request: InFlight): void {
    this.#inFlight[tag] = undefined;
    const { scratch } = this.#options;
    const { stage } = request;
    if (!stage) return;
    if (stage.secret) scratch.mapping.bytes.fill(0, stage.at, stage.at + stage.bytes);
    scratch.give(stage.at, stage.bytes);
  }

  /** Whether one of the rings lies in a region. */
  liesIn({ iova, length }: ClientRegion): boolean {
    const { sq, cq } = this.#options;
    return [sq, cq].some((ring) => ring >= iova && ring < iova + length);
  }

  /** A region is gone: results that belong there are lost. Resolves when no command about it is on its way. */
  async detach({ iova, length }: ClientRegion): Promise<void> {
    const inside = (address: number): boolean => address >= iova && address < iova + length;
    for (const request of this.#inFlight) {
      if (request?.stage?.results.some(({ destination }) => inside(destination))) request.lost = true;
    }
    await this.#options.client.settled(inside);
  }

  /** Something could not be moved. A client that refuses its own rings cannot be helped. */
  #lose(error: unknown): void {
    this.#cut = true;
    if (error instanceof SystemError) this.#options.client.giveUp('the client refuses access to its rings');
  }

  /** Reads no more submissions; done once what was on its way is in the shadow, or dropped. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#options.scratch.cancel(this);
    await this.#fetching;
  }

  /** Brings the last completions home and frees everything; the queue is withdrawn from the engine threads. */
  async close(): Promise<void> {
    await this.#delivering;
    this.#deliverSoon();
    await this.#delivering;
    this.#inFlight.forEach((request, tag) => {
      if (request) this.#free(tag, request);
    });
    this.#interrupt.close();
    this.#memory.unmap();
  }
}
