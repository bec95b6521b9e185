/*
 * What the threads of one device share among themselves: a SharedArrayBuffer that no client can reach. The control
 * thread (the one that speaks vfio-user) fills in queues and address spaces; engine threads take requests from queues.
 *
 *   header | threads | queues | address spaces | sessions
 *
 * Ownership: whoever holds a queue's LOCK may touch its words; GENERATION and the lists are the control thread's.
 */

const HEADER_WORDS = 64;
export const HEADER = {
  /** Changes with the list of queues; an engine then builds its own list anew. */
  queueVersion: 0,
  stop: 1,
  /** Engine threads asleep, and whether one has been woken and not yet run. */
  sleepers: 16,
  wakePending: 17,
  /** An engine asked for another thread. */
  spawnPending: 18,
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
} as const;
/** The thread reads no doorbell: it sleeps, or executes a request. */
export const THREAD_AWAY = -1;

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
  // Counters.
  completed: 32,
  wrongRings: 33,
  staleSlots: 34,
  refused: 35,
  lastFaultReason: 36,
  lastFaultIndex: 37,
} as const;

export const SPACE_HEADER_WORDS = 8;
export const SPACE = { mode: 0, regions: 1 } as const;
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

export const SESSION_WORDS = 8;
export const SESSION = {
  /** 0 free, 1 open, 2 in use by a request. */
  state: 0,
  space: 1,
  algorithm: 2,
  addressLow: 3,
  addressHigh: 4,
  /** Distinguishes one use of the slot from the next; part of the session's number. */
  serial: 5,
} as const;

export interface DeviceShape {
  threads: number;
  queues: number;
  spaces: number;
  regionsPerSpace: number;
  sessions: number;
}

/** Finds its way in the shared words. */
export class DeviceState {
  readonly shape: DeviceShape;
  readonly words: Int32Array;
  readonly threadsAt = HEADER_WORDS;
  readonly queuesAt: number;
  readonly spacesAt: number;
  readonly spaceWords: number;
  readonly sessionsAt: number;

  constructor(shape: DeviceShape, buffer?: SharedArrayBuffer) {
    this.shape = shape;
    this.queuesAt = this.threadsAt + shape.threads * THREAD_WORDS;
    this.spacesAt = this.queuesAt + shape.queues * QUEUE_WORDS;
    this.spaceWords = SPACE_HEADER_WORDS + shape.regionsPerSpace * SPACE_REGION_WORDS;
    this.sessionsAt = this.spacesAt + shape.spaces * this.spaceWords;
    const total = this.sessionsAt + shape.sessions * SESSION_WORDS;
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

  space(index: number): number {
    return this.spacesAt + index * this.spaceWords;
  }

  session(index: number): number {
    return this.sessionsAt + index * SESSION_WORDS;
  }

  /** Reads an address or length from two words, low first. */
  wide(low: number): number {
    return (this.words[low]! >>> 0) + (this.words[low + 1]! >>> 0) * 4294967296;
  }

  setWide(low: number, value: number): void {
    this.words[low] = value | 0;
    this.words[low + 1] = (value / 4294967296) | 0;
  }
}
