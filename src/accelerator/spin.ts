import type { DeviceQueue } from '../driver/driver.js';
import { yieldProcessor } from '../sys/thread.js';

/** Polls without a rest: an empty request is done by then. */
const EAGER_POLLS = 500;
/**
 * How long a rest between two later polls is, in turns of an empty loop: about 0.2 us. Whoever polls without one takes
 * the line that the device is about to write away from it, again and again: an engine then reaches 0.87 of its speed,
 * and 0.93 with it.
 */
const REST_TURNS = 300;
/** Polls between two looks at the clock. */
const POLLS_PER_LOOK = 32;
/** How long to poll before other threads are let have the processor between two looks. */
const YIELD_MS = 0.03;
/** How long to poll before this thread blocks on the interrupt. */
const SPIN_MS = 0.2;
/** How long one blocking wait lasts before the device's state is looked at. */
const BLOCK_MS = 100;

/** A synchronous wait for completions of one queue: polls, then polls and yields, then blocks on the interrupt. */
export class Spin {
  readonly #queue: DeviceQueue;
  #polls = 0;
  #since = 0;

  constructor(queue: DeviceQueue) {
    this.#queue = queue;
  }

  /** A new wait begins. */
  start(): void {
    this.#polls = 0;
    this.#since = 0;
  }

  /**
   * To be called after each poll in vain. Returns the milliseconds waited so far when the clock was looked at, which is
   * the time to look at whatever else might have ended the wait; else -1. Blocks for `limitMs` at most.
   */
  rest(limitMs: number): number {
    if (++this.#polls <= EAGER_POLLS) return -1;
    for (let turn = 0; turn < REST_TURNS; turn++);
    if (this.#polls % POLLS_PER_LOOK !== 0) return -1;
    const now = performance.now();
    if (this.#since === 0) this.#since = now;
    const waitedMs = now - this.#since;
    if (waitedMs > SPIN_MS && this.#queue.arm(1)) {
      this.#queue.interrupt.waitSync(Math.ceil(Math.max(0, Math.min(limitMs - waitedMs, BLOCK_MS))));
    } else if (waitedMs > YIELD_MS) {
      yieldProcessor();
    }
    return waitedMs;
  }
}
