/** How long a device may stand still with requests in a queue before its doorbell is rung again, and before a reset. */
const RING_MS = 1000;
const RESET_MS = 10_000;

/** How far a queue has come. */
export interface QueueProgress {
  /** Changes with each completion that the device makes. */
  readonly usedIndex: number;
  /** Requests that the device has, and has not completed. */
  readonly outstanding: number;
  /** Completions that have been polled. */
  readonly completed: number;
  /** Whether there are any to be polled. */
  readonly ready: boolean;
}

/**
 * Watches whether a device gets on with the requests of a queue. What it has completed counts as done, whether anybody
 * has polled for it or not, and time counts only from a look that found it busy: a program that is busy with something
 * else, and neither polls nor looks, is no fault of the device.
 */
export class StallWatch {
  #usedIndex = -1;
  #completed = -1;
  #since: number | undefined;
  #rung = false;

  /**
   * What is to be done: nothing, wake whoever waits for completions, ring the doorbell, or reset the device.
   * @param now in milliseconds
   */
  look(queue: QueueProgress, now: number): 'wait' | 'wake' | 'ring' | 'reset' {
    const { usedIndex, outstanding, completed, ready } = queue;
    const isPolled = completed !== this.#completed;
    this.#completed = completed;
    if (usedIndex !== this.#usedIndex || outstanding === 0) {
      this.#usedIndex = usedIndex;
      this.#restart();
    }
    if (ready && !isPolled) return 'wake';
    if (outstanding === 0) return 'wait';
    this.#since ??= now;
    const stillMs = now - this.#since;
    if (stillMs > RESET_MS) {
      this.#restart();
      return 'reset';
    }
    if (stillMs <= RING_MS || this.#rung) return 'wait';
    this.#rung = true;
    return 'ring';
  }

  #restart(): void {
    this.#since = undefined;
    this.#rung = false;
  }
}
