import {
  CQE,
  CQE_WORD_SHIFT,
  DEVICE_STATE,
  DOORBELL,
  SQE,
  SQE_WORD_SHIFT,
  STATUS_PAGE,
} from '../abi/queue.js';
import { signalEventfd } from '../sys/fd.js';

const SEQUENCE = SQE.offset.sequence >> 2;
const PHASE = CQE.offset.phase >> 2;

export interface QueuePairOptions {
  depth: number;
  /** Index at which both rings start; anything, since indexes wrap. */
  startIndex: number;
  token: number;
  sq: Int32Array;
  cq: Int32Array;
  /** The queue's doorbell page. */
  doorbell: Int32Array;
  /** The device's status page. */
  status: Int32Array;
  /** Wakes a device that polls no doorbell. */
  wakeFd: number;
}

/**
 * The owner's end of one queue: reserve a slot, fill it in, publish; peek at a completion, advance.
 *
 *        head            tail  (reserved)                     CQ head
 *          v               v      v                              v
 *   SQ | . | x | x | x | x | o | o | . |      CQ | . | . | . | . | c | c |   |
 *          in flight ----->  not yet published                   completions
 *
 * At most `depth` requests are in flight, so neither ring can overflow: a full queue is back-pressure.
 *
 * Ordering. Slots and the CQ head are written with plain stores; the doorbell is stored with Atomics after them, and
 * whoever sees the doorbell sees them. A completion's phase is loaded with Atomics before the rest is read. Nothing
 * here allocates, and indexes are kept as int32, so that they never become heap numbers.
 */
export class QueuePair {
  readonly depth: number;
  readonly sq: Int32Array;
  readonly cq: Int32Array;
  readonly #mask: number;
  readonly #token: number;
  readonly #doorbell: Int32Array;
  readonly #status: Int32Array;
  readonly #wakeFd: number;
  #tail: number;
  #published: number;
  #head: number;
  #inFlight = 0;

  constructor(options: QueuePairOptions) {
    this.depth = options.depth;
    this.sq = options.sq;
    this.cq = options.cq;
    this.#mask = options.depth - 1;
    this.#token = options.token;
    this.#doorbell = options.doorbell;
    this.#status = options.status;
    this.#wakeFd = options.wakeFd;
    this.#tail = options.startIndex | 0;
    this.#published = this.#tail;
    this.#head = this.#tail;
    // No slot of the first lap may look published or completed: each expects another value than the start index.
    for (let slot = 0; slot < options.depth; slot++) {
      this.sq[(slot << SQE_WORD_SHIFT) + SEQUENCE] = this.#tail;
      this.cq[(slot << CQE_WORD_SHIFT) + PHASE] = this.#tail;
    }
  }

  /** Requests reserved or published and not yet completed. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Reserves the next slot: the index of its first word in `sq`, or -1 when the queue is full. */
  reserve(): number {
    if (this.#inFlight === this.depth) return -1;
    this.#inFlight++;
    const at = (this.#tail & this.#mask) << SQE_WORD_SHIFT;
    this.#tail = (this.#tail + 1) | 0;
    this.sq[at + SEQUENCE] = this.#tail;
    return at;
  }

  /** Rings the doorbell for everything reserved since the last time, and wakes the device if it sleeps. */
  publish(): void {
    if (this.#published === this.#tail) return;
    this.#published = this.#tail;
    this.#doorbell[DOORBELL.cqHeadWord] = this.#head;
    Atomics.store(this.#doorbell, DOORBELL.tailWord, (this.#tail + this.#token) | 0);
    if (
      Atomics.load(this.#status, STATUS_PAGE.pollersWord) === 0 ||
      Atomics.load(this.#doorbell, DOORBELL.polledWord) === 0
    ) {
      signalEventfd(this.#wakeFd);
    }
    // The next slot was last read by the device: asking for its line now hides that transfer behind the request.
    this.sq[((this.#tail & this.#mask) << SQE_WORD_SHIFT) + (SQE.bytes >> 2) - 1] = 0;
  }

  /**
   * The next completion: the index of its first word in `cq`, or -1 when there is none yet. With nothing in flight there
   * is none, whatever a device that does not keep to the protocol has written.
   */
  peek(): number {
    if (this.#inFlight === 0) return -1;
    const at = (this.#head & this.#mask) << CQE_WORD_SHIFT;
    return Atomics.load(this.cq, at + PHASE) === ((this.#head + 1) | 0) ? at : -1;
  }

  /** Gives the completion that `peek` returned back to the device. */
  advance(): void {
    this.#head = (this.#head + 1) | 0;
    this.#inFlight--;
  }

  /**
   * Asks for an interrupt once `count` more completions are there. False if they are there already: then no
   * interrupt may come, and the caller must not sleep.
   */
  arm(count: number): boolean {
    const target = (this.#head + count) | 0;
    Atomics.store(this.#doorbell, DOORBELL.armWord, target);
    const last = ((target - 1) & this.#mask) << CQE_WORD_SHIFT;
    return Atomics.load(this.cq, last + PHASE) !== target;
  }

  /** Whether the device has given up; its last word in shared memory, so that even a spinning owner learns of it. */
  get failed(): boolean {
    const state = Atomics.load(this.#status, STATUS_PAGE.stateWord);
    return state === DEVICE_STATE.failed || state === DEVICE_STATE.stopped;
  }

  /** Engine threads that are awake. */
  get enginesAwake(): number {
    return Atomics.load(this.#status, STATUS_PAGE.awakeWord);
  }
}
