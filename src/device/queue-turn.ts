import {
  CQE,
  CQE_WORD_SHIFT,
  DOORBELL,
  LIMITS,
  SQE,
  SQE_WORD_SHIFT,
  STATUS,
  STATUS_PAGE,
} from '../abi/queue.js';
import type { Signaller } from '../sys/signal.js';
import type { Executor } from './executor.js';
import { admit, leave, mayAdmit } from './ledger.js';
import type { ServedQueue } from './served-queue.js';
import {
  type DeviceState,
  HEADER,
  QUEUE,
  THREAD,
  THREAD_AWAY,
  THREAD_COUNTED,
  WORK_TICK_NS,
} from './state.js';

/*
 * One turn on one queue.
 *
 * A doorbell only says "look": nothing is executed that its owner has not published in a slot with the right
 * sequence. Each submission is copied once, and only the copy is looked at.
 *
 * Several threads may serve one queue. A thread that finds work takes the queue's lock for one turn. Requests that
 * touch no memory are answered within the turn; for all others the lock is given back while they are executed, so
 * a busy thread delays nobody else's queue, nor later requests of the same queue.
 *
 * Publication. Completions of a turn are written with plain stores, all but the phase of the first, which is stored
 * last, with Atomics. The owner consumes in order: it cannot look at the second before it has seen the first, and
 * seeing the first (an acquire) makes the others visible. So a batch costs one fence, not one per completion.
 */

const SEQUENCE = SQE.offset.sequence >> 2;
const REQUEST_ID = SQE.offset.requestId >> 2;
const ENTRY_WORDS = SQE.bytes >> 2;
const C_REQUEST_ID = CQE.offset.requestId >> 2;
const C_STATUS = CQE.offset.status >> 2;
const C_PRODUCED = CQE.offset.produced >> 2;
const C_CONSUMED = CQE.offset.consumed >> 2;
const C_RESULT = CQE.offset.result >> 2;
const C_NANOSECONDS = CQE.offset.nanoseconds >> 2;
const C_SQ_HEAD = CQE.offset.sqHead >> 2;
const C_PHASE = CQE.offset.phase >> 2;

/** Completions answered in one turn before their phase is published. */
const MAX_BATCH = 32;
/** Work in view, in microseconds, from which waking another thread pays. */
export const BACKLOG_US = 120;
/** A request longer than this takes its thread off the count of pollers. */
const LONG_US = 250;
/** A request longer than this has another thread polling meanwhile. */
const VERY_LONG_US = 5000;
/** Of requests longer than this, so many at once are executed that a thread is left for all others. */
export const HEAVY_US = 30_000;
/** How long to wait for another thread's turn to end before giving the processor away, in tries. */
const LOCK_TRIES = 2000;
/** What a request costs besides its data, in microseconds. */
const OVERHEAD_US = 2;
/** Time counts as work only beyond this many times the estimate: a thread that lost its processor is no client's doing. */
const PATIENCE = 4;
const TICKS_PER_US = 1000 / WORK_TICK_NS;

/** What a turn needs of the loop around it. */
export interface TurnHost {
  /** Work waits that this thread will not come to soon. */
  callHelp(estimateUs: number): void;
  /** Whether any polled queue has work. */
  anythingPending(): boolean;
  /** Version of the list of queues that this thread reads. */
  readonly version: number;
}

export interface TurnOptions {
  state: DeviceState;
  /** Number of this thread, from 0. */
  thread: number;
  executor: Executor;
  /** The status page, writable. */
  status: Int32Array;
  signaller: Signaller;
}

export class QueueTurn {
  readonly #words: Int32Array;
  readonly #number: number;
  readonly #threadAt: number;
  readonly #state: DeviceState;
  readonly #executor: Executor;
  readonly #status: Int32Array;
  readonly #signaller: Signaller;
  readonly #host: TurnHost;
  readonly #entry = new Int32Array(ENTRY_WORDS);
  /** Threads that may be in very long requests at once: one is left for all others. */
  readonly #maxHeavy: number;
  /** Work of the last turn, in ticks. */
  ticks = 0;
  /** Whether the last turn executed a request that touches memory. */
  executed = false;
  /** The time that turns are stamped with; kept by the loop. */
  nowMs = 0;

  constructor(options: TurnOptions, host: TurnHost) {
    this.#state = options.state;
    this.#words = options.state.words;
    this.#number = options.thread;
    this.#threadAt = options.state.thread(options.thread);
    this.#executor = options.executor;
    this.#status = options.status;
    this.#signaller = options.signaller;
    this.#host = host;
    this.#maxHeavy = Math.max(1, options.state.shape.threads - 1);
  }

  /** Looks at one doorbell and takes a turn if it has moved; returns how many requests were served. */
  serve(queue: ServedQueue): number {
    const words = this.#words;
    const base = queue.base;
    // Looked at before the doorbell: the page of a queue that was disabled may be gone.
    if (Atomics.load(words, base + QUEUE.generation) !== queue.generation) return 0;
    const word = Atomics.load(queue.doorbell, DOORBELL.tailWord);
    if (((word - queue.token - words[base + QUEUE.head]!) | 0) === 0) return 0;
    if (this.#isRefused(base, word)) return 0;
    if (Atomics.compareExchange(words, base + QUEUE.lock, 0, this.#number + 1) !== 0) return 0;
    let served = 0;
    if (Atomics.load(words, base + QUEUE.generation) === queue.generation) served = this.#turn(queue);
    if (served > 0) words[base + QUEUE.lastServed] = this.nowMs;
    Atomics.store(words, base + QUEUE.lock, 0);
    return served;
  }

  /** Whether a queue has something that a turn would take now. */
  isPending(queue: ServedQueue): boolean {
    if (!this.hasWork(queue)) return false;
    const kib = this.#words[queue.base + QUEUE.heldKib]!;
    if (kib < 0) return Atomics.load(this.#words, HEADER.heavy) < this.#maxHeavy;
    return kib === 0 || mayAdmit(this.#state.ledger, this.#state.account(queue.space), kib);
  }

  /** Whether a queue has something that waits for others of its client, or its user, to be completed. */
  isHeldBack(queue: ServedQueue): boolean {
    return this.#words[queue.base + QUEUE.heldKib] !== 0 && this.hasWork(queue);
  }

  /** Whether a queue has something that a turn would take, now or once there is room for it in flight. */
  hasWork(queue: ServedQueue): boolean {
    const words = this.#words;
    if (Atomics.load(words, queue.base + QUEUE.generation) !== queue.generation) return false;
    const word = Atomics.load(queue.doorbell, DOORBELL.tailWord);
    const pending = (word - queue.token - words[queue.base + QUEUE.head]!) | 0;
    // A queue without room for completions has to wait for its owner, who rings again once it has taken some.
    return pending !== 0 && !this.#isRefused(queue.base, word) && this.#roomFor(queue) > 0;
  }

  /** Whether a doorbell has been found wrong already, and says nothing new. */
  #isRefused(base: number, word: number): boolean {
    const words = this.#words;
    if (words[base + QUEUE.isolated] !== 0) return true;
    return words[base + QUEUE.badStreak] !== 0 && word === words[base + QUEUE.badWord];
  }

  /** One turn on a queue whose lock is held. */
  #turn(queue: ServedQueue): number {
    const words = this.#words;
    const { base, mask, sq, cq, depth } = queue;
    const entry = this.#entry;
    const executor = this.#executor;
    this.executed = false;
    // Read again: before the lock was taken, another thread may have moved the head.
    const word = Atomics.load(queue.doorbell, DOORBELL.tailWord);
    let head = words[base + QUEUE.head]!;
    let pending = (word - queue.token - head) | 0;
    if (pending <= 0 || pending > depth) {
      // Another thread may have counted it meanwhile, too: it is one ring.
      if (pending !== 0 && !this.#isRefused(base, word)) this.#wrongRing(base, word);
      return 0;
    }
    if (words[base + QUEUE.badStreak] !== 0) words[base + QUEUE.badStreak] = 0;
    let cqTail = words[base + QUEUE.cqTail]!;
    const first = cqTail;
    const room = this.#roomFor(queue);
    if (pending > MAX_BATCH) pending = MAX_BATCH;
    if (pending > room) pending = room;
    let served = 0;
    for (; served < pending; served++) {
      const slot = (head & mask) << SQE_WORD_SHIFT;
      entry[0] = sq[slot]!;
      entry[1] = sq[slot + 1]!;
      entry[2] = sq[slot + 2]!;
      entry[3] = sq[slot + 3]!;
      entry[4] = sq[slot + 4]!;
      entry[5] = sq[slot + 5]!;
      entry[6] = sq[slot + 6]!;
      entry[7] = sq[slot + 7]!;
      entry[8] = sq[slot + 8]!;
      entry[9] = sq[slot + 9]!;
      entry[10] = sq[slot + 10]!;
      entry[11] = sq[slot + 11]!;
      entry[12] = sq[slot + 12]!;
      entry[13] = sq[slot + 13]!;
      entry[14] = sq[slot + 14]!;
      entry[15] = sq[slot + 15]!;
      head = (head + 1) | 0;
      const stale = entry[SEQUENCE] !== head;
      if (!stale && !executor.isTrivial(entry)) {
        // Refused for now, it stays in its slot, and is copied and checked again later.
        const estimate = executor.estimate(entry);
        const admitted = this.#admit(queue, estimate > HEAVY_US);
        if (!admitted) head = (head - 1) | 0;
        this.#publish(queue, first, cqTail);
        words[base + QUEUE.head] = head;
        words[base + QUEUE.cqTail] = cqTail;
        this.ticks = served;
        if (!admitted) return served;
        this.#execute(queue, (word - queue.token - head) | 0, estimate);
        return served + 1;
      }
      const status = stale ? STATUS.staleSlot : executor.run(entry, queue.space);
      if (status !== STATUS.ok) this.#fault(base, status, head);
      this.#complete(cq, (cqTail & mask) << CQE_WORD_SHIFT, status, head, stale);
      cqTail = (cqTail + 1) | 0;
      if (served > 0) cq[(((cqTail - 1) & mask) << CQE_WORD_SHIFT) + C_PHASE] = cqTail;
    }
    words[base + QUEUE.head] = head;
    words[base + QUEUE.cqTail] = cqTail;
    this.#publish(queue, first, cqTail);
    this.ticks = served;
    // The next completion will go to a line that the owner has read: asking for it now hides that transfer.
    if ((cqTail & 1) === 0 && room > served) cq[((cqTail & mask) << CQE_WORD_SHIFT) + C_SQ_HEAD] = 0;
    return served;
  }

  /** How many completions the owner has room for. Its CQ head is untrusted: one that cannot be is not believed. */
  #roomFor(queue: ServedQueue): number {
    const words = this.#words;
    const { base, depth } = queue;
    const cqTail = words[base + QUEUE.cqTail]!;
    const used = cqTail + words[base + QUEUE.inFlight]!;
    const room = depth - ((used - words[base + QUEUE.cqHead]!) | 0);
    if (room > MAX_BATCH) return room;
    const cqHead = Atomics.load(queue.doorbell, DOORBELL.cqHeadWord);
    const unread = (cqTail - cqHead) | 0;
    if (unread >= 0 && unread <= depth) words[base + QUEUE.cqHead] = cqHead;
    return depth - ((used - words[base + QUEUE.cqHead]!) | 0);
  }

  /** Counts the request in hand among what its client has in flight; false if it has to wait for others of them. */
  #admit(queue: ServedQueue, isHeavy: boolean): boolean {
    if (isHeavy && !this.#becomeHeavy()) {
      this.#words[queue.base + QUEUE.heldKib] = -1;
      return false;
    }
    const isIn = this.#admitBytes(queue);
    if (isHeavy && !isIn) this.#endHeavy();
    return isIn;
  }

  /** Counts this thread among those in very long requests; false if no other would be left for short ones. */
  #becomeHeavy(): boolean {
    const words = this.#words;
    if (Atomics.add(words, HEADER.heavy, 1) >= this.#maxHeavy) {
      Atomics.sub(words, HEADER.heavy, 1);
      return false;
    }
    words[this.#threadAt + THREAD.counted]! |= THREAD_COUNTED.heavy;
    return true;
  }

  #endHeavy(): void {
    this.#words[this.#threadAt + THREAD.counted]! &= ~THREAD_COUNTED.heavy;
    Atomics.sub(this.#words, HEADER.heavy, 1);
  }

  #admitBytes(queue: ServedQueue): boolean {
    const account = this.#state.account(queue.space);
    if (account === 0) {
      this.#words[queue.base + QUEUE.heldKib] = 0;
      return true;
    }
    const kib = this.#executor.footprintKib(this.#entry);
    const isIn = admit(this.#state.ledger, account, kib);
    this.#words[queue.base + QUEUE.heldKib] = isIn ? 0 : kib;
    if (isIn) this.#words[this.#threadAt + THREAD.inFlightKib] = kib;
    return isIn;
  }

  /** Executes the request in hand with the queue's lock given back; takes the lock again to complete it. */
  #execute(queue: ServedQueue, behind: number, estimate: number): void {
    const words = this.#words;
    const { base, mask, cq } = queue;
    const executor = this.#executor;
    const threadAt = this.#threadAt;
    const entry = this.#entry;
    words[base + QUEUE.inFlight]!++;
    words[threadAt + THREAD.generation] = queue.generation;
    words[threadAt + THREAD.requestId] = entry[REQUEST_ID]!;
    words[threadAt + THREAD.block] = queue.block + 1;
    Atomics.store(words, base + QUEUE.lock, 0);

    if (behind > 0 && estimate * behind > BACKLOG_US) this.#host.callHelp(estimate);
    const isLong = estimate > LONG_US;
    if (isLong) {
      this.#countAsPoller(false);
      // Somebody may ring while this thread is away: for very long, another one must be there by then.
      if (estimate > VERY_LONG_US || (behind === 0 && this.#host.anythingPending())) {
        this.#host.callHelp(estimate);
      }
    }
    Atomics.store(words, threadAt + THREAD.reading, THREAD_AWAY);
    const started = performance.now();
    const status = executor.run(entry, queue.space);
    const elapsedUs = (performance.now() - started) * 1000;
    // Back to reading doorbells, of a list that may be old by now: a queue's generation is looked at before its doorbell.
    Atomics.store(words, threadAt + THREAD.reading, this.#host.version);
    if (isLong) this.#countAsPoller(true);
    if (estimate > HEAVY_US) this.#endHeavy();
    const workUs = executor.workUs;
    const chargedUs = OVERHEAD_US + Math.max(workUs, elapsedUs / PATIENCE);
    this.ticks += Math.min(0x3fffffff, chargedUs * TICKS_PER_US) | 0;
    this.executed = true;
    const kib = words[threadAt + THREAD.inFlightKib]!;
    if (kib !== 0) {
      leave(this.#state.ledger, this.#state.account(queue.space), kib);
      words[threadAt + THREAD.inFlightKib] = 0;
    }

    this.lock(base);
    const cqTail = words[base + QUEUE.cqTail]!;
    if (status !== STATUS.ok) this.#fault(base, status, words[base + QUEUE.head]!);
    this.#complete(cq, (cqTail & mask) << CQE_WORD_SHIFT, status, words[base + QUEUE.head]!, false);
    words[base + QUEUE.cqTail] = (cqTail + 1) | 0;
    words[base + QUEUE.inFlight]!--;
    this.#state.addWide(base + QUEUE.bytesInLow, executor.consumed);
    this.#state.addWide(base + QUEUE.bytesOutLow, executor.produced);
    this.#state.addWide(base + QUEUE.microsecondsLow, elapsedUs);
    words[threadAt + THREAD.block] = 0;
    this.#publish(queue, cqTail, (cqTail + 1) | 0);
    // Somebody may have rung while the thread was away: with nobody else polling, this thread looks next anyway.
    if (isLong && this.#host.anythingPending()) this.#host.callHelp(estimate);
  }

  #countAsPoller(polls: boolean): void {
    Atomics.add(this.#status, STATUS_PAGE.pollersWord, polls ? 1 : -1);
    this.#words[this.#threadAt + THREAD.counted]! ^= THREAD_COUNTED.poller;
  }

  /** Writes a completion, all but its phase. */
  #complete(cq: Int32Array, at: number, status: number, sqHead: number, stale: boolean): void {
    const executor = this.#executor;
    cq[at + C_REQUEST_ID] = this.#entry[REQUEST_ID]!;
    cq[at + C_SQ_HEAD] = sqHead;
    if (stale) {
      cq[at + C_STATUS] = status | (this.#number << 16);
      cq[at + C_PRODUCED] = 0;
      cq[at + C_CONSUMED] = 0;
      cq[at + C_RESULT] = 0;
      cq[at + C_NANOSECONDS] = 0;
      return;
    }
    cq[at + C_STATUS] = status | (executor.engine << 8) | (this.#number << 16) | (executor.flags << 24);
    cq[at + C_PRODUCED] = executor.produced;
    cq[at + C_CONSUMED] = executor.consumed;
    cq[at + C_RESULT] = executor.result;
    cq[at + C_NANOSECONDS] = executor.nanoseconds;
  }

  /** Makes the completions from `first` on visible, and interrupts an owner that sleeps until one of them. */
  #publish(queue: ServedQueue, first: number, cqTail: number): void {
    const count = (cqTail - first) | 0;
    if (count === 0) return;
    const words = this.#words;
    const base = queue.base;
    Atomics.store(queue.cq, ((first & queue.mask) << CQE_WORD_SHIFT) + C_PHASE, (first + 1) | 0);
    words[base + QUEUE.completed] = (words[base + QUEUE.completed]! + count) | 0;
    words[this.#threadAt + THREAD.served] = (words[this.#threadAt + THREAD.served]! + count) | 0;
    const arm = Atomics.load(queue.doorbell, DOORBELL.armWord);
    if (arm === words[base + QUEUE.armSeen] || ((cqTail - arm) | 0) < 0) return;
    words[base + QUEUE.armSeen] = arm;
    const irqFd = words[base + QUEUE.irqFd]!;
    // A route that leads nowhere is dropped: its owner has gone, or never meant to be told.
    if (irqFd >= 0 && !this.#signaller.signal(irqFd, words[base + QUEUE.irqKind]!)) {
      words[base + QUEUE.irqFd] = -1;
    }
  }

  /** The doorbell does not carry the token and an index within the ring: count it, and act on none of it. */
  #wrongRing(base: number, word: number): void {
    const words = this.#words;
    words[base + QUEUE.badWord] = word;
    words[base + QUEUE.wrongRings]!++;
    const streak = words[base + QUEUE.badStreak]! + 1;
    words[base + QUEUE.badStreak] = streak;
    if (streak >= LIMITS.wrongRings) words[base + QUEUE.isolated] = 1;
  }

  /** Counts a request that was refused for what it is; what its data held is no fault. */
  #fault(base: number, status: number, head: number): void {
    if (status >= STATUS.noSpace) return;
    const words = this.#words;
    if (status === STATUS.staleSlot) words[base + QUEUE.staleSlots]!++;
    else words[base + QUEUE.refused]!++;
    words[base + QUEUE.lastFaultReason] = status;
    words[base + QUEUE.lastFaultIndex] = (head - 1) | 0;
  }

  /** Takes a queue's lock. Holders keep it for a turn at most; one that lost its processor is waited for asleep. */
  lock(base: number): void {
    const words = this.#words;
    for (let tries = 0; ; tries++) {
      const holder = Atomics.compareExchange(words, base + QUEUE.lock, 0, this.#number + 1);
      if (holder === 0) return;
      if (tries > LOCK_TRIES) Atomics.wait(words, base + QUEUE.lock, holder, 0.05);
    }
  }
}
