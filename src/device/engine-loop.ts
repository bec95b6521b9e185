import { availableParallelism } from 'node:os';
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
import { signalEventfd, trySignal } from '../sys/fd.js';
import { yieldProcessor } from '../sys/thread.js';
import type { Executor } from './executor.js';
import { type ServedQueue, viewQueue } from './served-queue.js';
import { type DeviceState, HEADER, QUEUE, THREAD, THREAD_AWAY } from './state.js';

/*
 * The engine loop: what a device's hardware would do.
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
 *
 * Sleeping. A thread that is about to sleep first takes itself off the count of pollers, then looks at every doorbell
 * once more; a client first rings, then looks at the count. Both are sequentially consistent, so at least one of
 * them sees the other, and no ring is lost.
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
const BACKLOG_US = 120;
/** Requests shorter than this are worth another thread only where a processor is idle. */
const SHORT_US = 40;
/** A request longer than this takes its thread off the count of pollers. */
const LONG_US = 250;
/** How long a thread polls when another one does, too. */
const SPARE_SPIN_MS = 0.02;
/** A request longer than this has another thread polling meanwhile. */
const VERY_LONG_US = 5000;
/** An idle thread polls this long before it lets others have the processor between two looks. */
const YIELD_MS = 0.03;
/** Polls between two looks at the clock. */
const POLLS_PER_LOOK = 64;
/** How long to wait for another thread's turn to end before giving the processor away, in tries. */
const LOCK_TRIES = 2000;

export interface EngineLoopOptions {
  state: DeviceState;
  /** Number of this thread, from 0. */
  thread: number;
  executor: Executor;
  /** The status page, writable. */
  status: Int32Array;
  /** Woken by this eventfd; other sleeping threads listen to it, too. */
  wakeFd: number;
  /** How long an idle thread polls before it sleeps. */
  spinMicroseconds: number;
  /** Asks the control thread for one more engine thread. */
  requestThread: () => void;
}

export class EngineLoop {
  readonly #state: DeviceState;
  readonly #words: Int32Array;
  readonly #number: number;
  readonly #threadAt: number;
  readonly #executor: Executor;
  readonly #status: Int32Array;
  readonly #wakeFd: number;
  readonly #spinMs: number;
  readonly #requestThread: () => void;
  readonly #processors = availableParallelism();
  readonly #entry = new Int32Array(ENTRY_WORDS);
  #queues: ServedQueue[] = [];
  #version = -1;

  constructor(options: EngineLoopOptions) {
    this.#state = options.state;
    this.#words = options.state.words;
    this.#number = options.thread;
    this.#threadAt = options.state.thread(options.thread);
    this.#executor = options.executor;
    this.#status = options.status;
    this.#wakeFd = options.wakeFd;
    this.#spinMs = options.spinMicroseconds / 1000;
    this.#requestThread = options.requestThread;
  }

  /** Serves queues until there has been nothing to do for a while; returns when the thread should sleep. */
  run(): void {
    const words = this.#words;
    Atomics.store(words, HEADER.wakePending, 0);
    Atomics.add(this.#status, STATUS_PAGE.awakeWord, 1);
    Atomics.add(this.#status, STATUS_PAGE.pollersWord, 1);
    // Said before the list is read: from now on a page that it names stays mapped until this thread has moved on.
    Atomics.store(words, this.#threadAt + THREAD.reading, this.#version);
    let cursor = 0;
    let emptyPolls = 0;
    let looks = 0;
    let idleSince = 0;
    for (;;) {
      if (Atomics.load(words, HEADER.queueVersion) !== this.#version) {
        if (Atomics.load(words, HEADER.stop) !== 0) break;
        this.#refresh();
      }
      const queues = this.#queues;
      if (cursor >= queues.length) cursor = 0;
      if (queues.length > 0 && this.#serve(queues[cursor++]!) > 0) {
        emptyPolls = 0;
        looks = 0;
        continue;
      }
      emptyPolls++;
      if (emptyPolls < queues.length || emptyPolls % POLLS_PER_LOOK !== 0) continue;
      if (looks++ === 0) {
        idleSince = performance.now();
        continue;
      }
      // One thread polls for all: a second one that finds nothing to do soon sleeps.
      const spare = Atomics.load(this.#status, STATUS_PAGE.pollersWord) > 1;
      const patience = spare ? Math.min(SPARE_SPIN_MS, this.#spinMs) : this.#spinMs;
      const idleMs = performance.now() - idleSince;
      if (idleMs < patience) {
        if (idleMs > YIELD_MS) yieldProcessor();
        continue;
      }
      Atomics.sub(this.#status, STATUS_PAGE.pollersWord, 1);
      if (!this.#anythingPending() || Atomics.load(this.#status, STATUS_PAGE.pollersWord) > 0) {
        Atomics.store(words, this.#threadAt + THREAD.reading, THREAD_AWAY);
        Atomics.sub(this.#status, STATUS_PAGE.awakeWord, 1);
        return;
      }
      Atomics.add(this.#status, STATUS_PAGE.pollersWord, 1);
      looks = 0;
    }
    Atomics.sub(this.#status, STATUS_PAGE.pollersWord, 1);
    Atomics.store(words, this.#threadAt + THREAD.reading, THREAD_AWAY);
    Atomics.sub(this.#status, STATUS_PAGE.awakeWord, 1);
  }

  /** The list of queues has changed: view those that are new, forget those that are gone. */
  #refresh(): void {
    this.#version = Atomics.load(this.#words, HEADER.queueVersion);
    const known = new Map(this.#queues.map((queue) => [queue.generation, queue]));
    const queues: ServedQueue[] = [];
    for (let i = 0; i < this.#state.shape.queues; i++) {
      const base = this.#state.queue(i);
      const generation = Atomics.load(this.#words, base + QUEUE.generation);
      if (generation === 0) continue;
      const same = known.get(generation);
      if (same) {
        queues.push(same);
        continue;
      }
      // The control thread disables a queue only while nobody holds its lock: hold it while viewing its memory.
      this.#lock(base);
      if (Atomics.load(this.#words, base + QUEUE.generation) === generation) {
        queues.push(viewQueue(this.#state, base, generation));
      }
      Atomics.store(this.#words, base + QUEUE.lock, 0);
    }
    this.#queues = queues;
    Atomics.store(this.#words, this.#threadAt + THREAD.reading, this.#version);
  }

  #anythingPending(): boolean {
    if (Atomics.load(this.#words, HEADER.queueVersion) !== this.#version) return true;
    for (const queue of this.#queues) {
      if (Atomics.load(this.#words, queue.base + QUEUE.generation) !== queue.generation) continue;
      const word = Atomics.load(queue.doorbell, DOORBELL.tailWord);
      const pending = (word - queue.token - this.#words[queue.base + QUEUE.head]!) | 0;
      // A queue without room for completions has to wait for its owner, who rings again once it has taken some.
      if (pending !== 0 && !this.#isRefused(queue.base, word) && this.#hasRoom(queue)) return true;
    }
    return false;
  }

  /** Whether a doorbell has been found wrong already, and says nothing new. */
  #isRefused(base: number, word: number): boolean {
    const words = this.#words;
    if (words[base + QUEUE.isolated] !== 0) return true;
    return words[base + QUEUE.badStreak] !== 0 && word === words[base + QUEUE.badWord];
  }

  #hasRoom(queue: ServedQueue): boolean {
    return this.#roomFor(queue, this.#words[queue.base + QUEUE.cqTail]!) > 0;
  }

  /** Looks at one doorbell and takes a turn if it has moved; returns how many requests were served. */
  #serve(queue: ServedQueue): number {
    const words = this.#words;
    const base = queue.base;
    if (words[base + QUEUE.generation] !== queue.generation) return 0;
    const word = Atomics.load(queue.doorbell, DOORBELL.tailWord);
    if (((word - queue.token - words[base + QUEUE.head]!) | 0) === 0) return 0;
    if (this.#isRefused(base, word)) return 0;
    if (Atomics.compareExchange(words, base + QUEUE.lock, 0, this.#number + 1) !== 0) return 0;
    let served = 0;
    if (Atomics.load(words, base + QUEUE.generation) === queue.generation) served = this.#turn(queue);
    Atomics.store(words, base + QUEUE.lock, 0);
    return served;
  }

  /** One turn on a queue whose lock is held. */
  #turn(queue: ServedQueue): number {
    const words = this.#words;
    const { base, mask, sq, cq, depth } = queue;
    const entry = this.#entry;
    const executor = this.#executor;
    // Read again: before the lock was taken, another thread may have moved the head.
    const word = Atomics.load(queue.doorbell, DOORBELL.tailWord);
    let head = words[base + QUEUE.head]!;
    let pending = (word - queue.token - head) | 0;
    if (pending <= 0 || pending > depth) {
      if (pending !== 0) this.#wrongRing(base, word);
      return 0;
    }
    if (words[base + QUEUE.badStreak] !== 0) words[base + QUEUE.badStreak] = 0;
    let cqTail = words[base + QUEUE.cqTail]!;
    const first = cqTail;
    const room = this.#roomFor(queue, cqTail);
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
        this.#publish(queue, first, cqTail);
        words[base + QUEUE.head] = head;
        words[base + QUEUE.cqTail] = cqTail;
        this.#execute(queue, (word - queue.token - head) | 0);
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
    // The next completion will go to a line that the owner has read: asking for it now hides that transfer.
    if ((cqTail & 1) === 0 && room > served) cq[((cqTail & mask) << CQE_WORD_SHIFT) + C_SQ_HEAD] = 0;
    return served;
  }

  /** How many completions the owner has room for. Its CQ head is untrusted: one that cannot be is not believed. */
  #roomFor(queue: ServedQueue, cqTail: number): number {
    const words = this.#words;
    const { base, depth } = queue;
    const used = cqTail + words[base + QUEUE.inFlight]!;
    let room = depth - ((used - words[base + QUEUE.cqHead]!) | 0);
    if (room > MAX_BATCH) return room;
    const cqHead = Atomics.load(queue.doorbell, DOORBELL.cqHeadWord);
    const unread = (cqTail - cqHead) | 0;
    if (unread >= 0 && unread <= depth) words[base + QUEUE.cqHead] = cqHead;
    room = depth - ((used - words[base + QUEUE.cqHead]!) | 0);
    return room;
  }

  /** Executes the request in hand with the queue's lock given back; takes the lock again to complete it. */
  #execute(queue: ServedQueue, behind: number): void {
    const words = this.#words;
    const { base, mask, cq } = queue;
    const executor = this.#executor;
    const estimate = executor.estimate(this.#entry);
    words[base + QUEUE.inFlight]!++;
    Atomics.store(words, base + QUEUE.lock, 0);

    if (behind > 0 && estimate * behind > BACKLOG_US && this.#helpPays(estimate)) this.#callHelp();
    const isLong = estimate > LONG_US;
    if (isLong) {
      Atomics.sub(this.#status, STATUS_PAGE.pollersWord, 1);
      // Somebody may ring while this thread is away: for very long, another one must be there by then.
      if (estimate > VERY_LONG_US || (behind === 0 && this.#anythingPending())) this.#callHelp();
    }
    Atomics.store(words, this.#threadAt + THREAD.reading, THREAD_AWAY);
    const status = executor.run(this.#entry, queue.space);
    // Back to reading doorbells, of a list that may be old by now: its version is looked at before any of them.
    Atomics.store(words, this.#threadAt + THREAD.reading, this.#version);
    if (isLong) Atomics.add(this.#status, STATUS_PAGE.pollersWord, 1);

    this.#lock(base);
    const cqTail = words[base + QUEUE.cqTail]!;
    if (status !== STATUS.ok) this.#fault(base, status, words[base + QUEUE.head]!);
    this.#complete(cq, (cqTail & mask) << CQE_WORD_SHIFT, status, words[base + QUEUE.head]!, false);
    words[base + QUEUE.cqTail] = (cqTail + 1) | 0;
    words[base + QUEUE.inFlight]!--;
    this.#publish(queue, cqTail, (cqTail + 1) | 0);
    // Somebody may have rung while the thread was away: with nobody else polling, this thread looks next anyway.
    if (isLong && this.#anythingPending()) this.#callHelp();
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
    if (irqFd >= 0 && !trySignal(irqFd)) words[base + QUEUE.irqFd] = -1;
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

  /** Short requests keep their client as busy as the engine: a processor taken from it is worth less than it costs. */
  #helpPays(estimate: number): boolean {
    const awake = Atomics.load(this.#status, STATUS_PAGE.awakeWord);
    return estimate > SHORT_US || awake + 1 < this.#processors;
  }

  /** Work waits that this thread will not come to soon: wake a sleeping thread, or ask for a new one. */
  #callHelp(): void {
    const words = this.#words;
    if (Atomics.load(words, HEADER.sleepers) > 0) {
      if (Atomics.compareExchange(words, HEADER.wakePending, 0, 1) === 0) signalEventfd(this.#wakeFd);
    } else if (Atomics.compareExchange(words, HEADER.spawnPending, 0, 1) === 0) {
      this.#requestThread();
    }
  }

  /** Takes a queue's lock. Holders keep it for a turn at most; one that lost its processor is waited for asleep. */
  #lock(base: number): void {
    const words = this.#words;
    for (let tries = 0; ; tries++) {
      const holder = Atomics.compareExchange(words, base + QUEUE.lock, 0, this.#number + 1);
      if (holder === 0) return;
      if (tries > LOCK_TRIES) Atomics.wait(words, base + QUEUE.lock, holder, 0.05);
    }
  }
}
