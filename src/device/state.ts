/*
 * What the threads of one device share among themselves: a SharedArrayBuffer that no client can reach. The control
 * thread (the one that speaks vfio-user) fills in queues and address spaces; engine threads take requests from queues.
 *
 *   header | threads | queues | hot bits | address spaces | sessions
 *
 * Ownership: whoever holds a queue's LOCK may touch its words; GENERATION and the lists are the control thread's.
 */

const HEADER_WORDS = 64;
export const HEADER = {
  /** Changes with the list of queues; an engine then builds its own list anew. */
  queueVersion: 0,
  stop: 1,
  /** Changes when a queue becomes hot or cold; engines then build their lists anew, too. */
  hotVersion: 2,
  /** Enabled queues that no engine polls: their owners wake the device by descriptor. */
  coldQueues: 3,
  /** Engine threads in requests that take very long. */
  heavy: 4,
  /** Engine threads asleep, and whether one has been woken and not yet run. */
  sleepers: 16,
  wakePending: 17,
  /** An engine asked for another thread. */
  spawnPending: 18,
  /** The same, because of a request that takes very long. */
  heavySpawnPending: 19,
} as const;

export const THREAD_WORDS = 16;
export const THREAD = {
  /** Odd while the thread uses memory of a client; the control thread waits for it to change. */
  epoch: 0,
  served: 1,
  /**
   * The queueVersion whose doorbells the thread may be reading, or THREAD_AWAY. The control thread unmaps a doorbell
   * page only when no thread can still be reading it.
   */
  reading: 2,
  /** Set by the control thread: leave when there is nothing to do. */
  retire: 3,
  /** What the thread counts as at the moment, as bits of THREAD_COUNTED: taken back if it dies. */
  counted: 4,
  /** The request in execution: its queue block plus 1 (0 for none), that queue's generation, and its number. */
  block: 5,
  generation: 6,
  requestId: 7,
  /** The session in use plus 1, and KiB counted in flight: given back if the thread dies. */
  session: 8,
  inFlightKib: 9,
} as const;
/** The thread reads no doorbell: it sleeps, or executes a request. */
export const THREAD_AWAY = -1;
export const THREAD_COUNTED = { poller: 1, awake: 2, sleeper: 4, heavy: 8 } as const;

export const QUEUE_WORDS = 48;
export const QUEUE = {
  /** 0, or the number of the thread that holds the queue, plus 1. */
  lock: 0,
  /** 0 while disabled; a new number each time it is enabled. */
  generation: 1,
  head: 2,
  cqTail: 3,
  /** Requests taken and not yet completed. */
  inFlight: 4,
  cqHead: 5,
  armSeen: 6,
  /** The last doorbell word that was refused, and how many were in a row. */
  badWord: 7,
  badStreak: 8,
  isolated: 9,
  /** Millisecond (mod 2^31) of the last turn that served something. */
  lastServed: 10,
  /**
   * KiB of the request at the head, where the last turn found no room for it in flight; -1 where it takes very long and
   * too many threads are in such requests; otherwise 0.
   */
  heldKib: 11,
  // Fixed while enabled.
  depth: 16,
  token: 17,
  space: 18,
  irqFd: 19,
  sqLow: 20,
  sqHigh: 21,
  cqLow: 22,
  cqHigh: 23,
  doorbellLow: 24,
  doorbellHigh: 25,
  /** SIGNAL_KIND of sys/signal.ts. */
  irqKind: 26,
  // Counters.
  completed: 32,
  wrongRings: 33,
  staleSlots: 34,
  refused: 35,
  lastFaultReason: 36,
  lastFaultIndex: 37,
  bytesInLow: 38,
  bytesInHigh: 39,
  bytesOutLow: 40,
  bytesOutHigh: 41,
  /** Time in engines. */
  microsecondsLow: 42,
  microsecondsHigh: 43,
} as const;

/** Queue blocks that one address space may have. */
export const SPACE_BLOCKS = 64;
export const SPACE = {
  mode: 0,
  regions: 1,
  /** The client's share beside others, and whether it is served before them. */
  weight: 2,
  lowLatency: 3,
  /** Work the client may still have done in this round, in ticks of WORK_TICK_NS; below zero it has overdrawn. */
  deficit: 4,
  /** Where the client's account starts in the ledger (ledger.ts); 0 where nothing is counted. */
  account: 5,
  /** From here on, block numbers plus 1 of the client's queues, by queue. */
  blocks: 16,
} as const;
export const SPACE_HEADER_WORDS = SPACE.blocks + SPACE_BLOCKS;
export const WORK_TICK_NS = 100;
export const SPACE_MODE = { free: 0, sva: 1, mapped: 2 } as const;
export const SPACE_REGION_WORDS = 8;
export const SPACE_REGION = {
  valid: 0,
  writable: 1,
  iovaLow: 2,
  iovaHigh: 3,
  lengthLow: 4,
  lengthHigh: 5,
  addressLow: 6,
  addressHigh: 7,
} as const;

export const SESSION = {
  /** SESSION_STATE. */
  state: 0,
  space: 1,
  /** Distinguishes one use of the slot from the next; part of the session's number. */
  serial: 2,
  /** What its requests must name: an operation, with what belongs to it, and an algorithm. */
  operation: 3,
  algorithm: 4,
  /** The engine that keeps it (ENGINE_ID). */
  engine: 5,
  /** Its requests build on one another: one at a time. Otherwise each thread has a context of its own. */
  exclusive: 6,
  /** Requests that use it now, where several may. */
  users: 7,
  param0: 8,
  param1: 9,
  param2: 10,
  keyLength: 11,
  /** From here on, the address of each thread's context; of an exclusive session, the first is all threads'. */
  contexts: 12,
} as const;
export const SESSION_STATE = { free: 0, open: 1, busy: 2 } as const;

export interface DeviceShape {
  threads: number;
  queues: number;
  spaces: number;
  regionsPerSpace: number;
  sessions: number;
}

const NO_LEDGER: Int32Array = new Int32Array(0);

/** Finds its way in the shared words. */
export class DeviceState {
  readonly shape: DeviceShape;
  readonly words: Int32Array;
  /** The words of the ledger that clients' accounts lie in; none where there is no ledger. */
  readonly ledger: Int32Array;
  readonly threadsAt = HEADER_WORDS;
  readonly queuesAt: number;
  /** One bit for each queue block: engines poll it. */
  readonly hotAt: number;
  readonly hotWords: number;
  readonly spacesAt: number;
  readonly spaceWords: number;
  readonly sessionsAt: number;
  readonly sessionWords: number;

  constructor(shape: DeviceShape, buffer?: SharedArrayBuffer, ledger = NO_LEDGER) {
    this.shape = shape;
    this.ledger = ledger;
    this.queuesAt = this.threadsAt + shape.threads * THREAD_WORDS;
    this.hotAt = this.queuesAt + shape.queues * QUEUE_WORDS;
    this.hotWords = Math.ceil(shape.queues / 32);
    this.spacesAt = this.hotAt + this.hotWords;
    this.spaceWords = SPACE_HEADER_WORDS + shape.regionsPerSpace * SPACE_REGION_WORDS;
    this.sessionsAt = this.spacesAt + shape.spaces * this.spaceWords;
    this.sessionWords = SESSION.contexts + 2 * shape.threads;
    const total = this.sessionsAt + shape.sessions * this.sessionWords;
    this.words = new Int32Array(buffer ?? new SharedArrayBuffer(total * 4));
    if (buffer) return;
    for (let thread = 0; thread < shape.threads; thread++) {
      this.words[this.thread(thread) + THREAD.reading] = THREAD_AWAY;
    }
  }

  get buffer(): SharedArrayBuffer {
    return this.words.buffer as SharedArrayBuffer;
  }

  thread(index: number): number {
    return this.threadsAt + index * THREAD_WORDS;
  }

  queue(index: number): number {
    return this.queuesAt + index * QUEUE_WORDS;
  }

  /** The number of a queue block, from where it starts. */
  blockOf(base: number): number {
    return (base - this.queuesAt) / QUEUE_WORDS;
  }

  isHot(block: number): boolean {
    return (Atomics.load(this.words, this.hotAt + (block >> 5)) & (1 << (block & 31))) !== 0;
  }

  /** Marks a queue as polled, or not. Whoever does holds the queue's lock, or is the only one that knows it. */
  setHot(block: number, hot: boolean): void {
    const at = this.hotAt + (block >> 5);
    const bit = 1 << (block & 31);
    const before = hot ? Atomics.or(this.words, at, bit) : Atomics.and(this.words, at, ~bit);
    if (((before & bit) !== 0) === hot) return;
    Atomics.add(this.words, HEADER.coldQueues, hot ? -1 : 1);
    Atomics.add(this.words, HEADER.hotVersion, 1);
  }

  space(index: number): number {
    return this.spacesAt + index * this.spaceWords;
  }

  /** Where a client's account starts in the ledger; 0 for none. */
  account(space: number): number {
    return this.words[this.space(space) + SPACE.account]!;
  }

  session(index: number): number {
    return this.sessionsAt + index * this.sessionWords;
  }

  /** Reads an address or length from two words, low first. */
  wide(low: number): number {
    return (this.words[low]! >>> 0) + (this.words[low + 1]! >>> 0) * 4294967296;
  }

  /** Adds to a counter of two words, low first; its writers take turns. */
  addWide(low: number, amount: number): void {
    this.setWide(low, this.wide(low) + amount);
  }

  setWide(low: number, value: number): void {
    this.words[low] = value | 0;
    this.words[low + 1] = (value / 4294967296) | 0;
  }
}
