import { availableParallelism } from 'node:os';
import type { DeviceQueue } from '../driver/driver.js';

/** How long completions may stay away before the waiter stops polling. */
const POLL_MS = 0.1;

/**
 * Waits for completions on the event loop: polls once each turn while they come soon, and sleeps on the queue's
 * interrupt when they do not. Where the engines alone could keep every processor busy, polling would only take one
 * away from them: then it sleeps at once, until half of what is in flight is done.
 */
export class Waiter {
  readonly #queue: DeviceQueue;
  /** Takes all completions that are there; returns how many. */
  readonly #reap: () => number;
  readonly #processors = availableParallelism();
  #scheduled = false;
  #asleep = false;
  #lastProgress = 0;
  #closed = false;

  constructor(queue: DeviceQueue, reap: () => number) {
    this.#queue = queue;
    this.#reap = reap;
    queue.interrupt.listen(() => {
      this.#sleep(false);
      this.#turn();
    });
  }

  /** Something was sent: make sure that its completion is waited for. */
  start(): void {
    if (this.#scheduled || this.#asleep) return;
    this.#scheduled = true;
    this.#lastProgress = performance.now();
    setImmediate(this.#onTurn);
  }

  /** Nothing is in flight any more, because somebody else took the completions. */
  settle(): void {
    if (this.#asleep && this.#queue.inFlight === 0) this.#sleep(false);
  }

  readonly #onTurn = (): void => {
    this.#scheduled = false;
    this.#turn();
  };

  #turn(): void {
    if (this.#closed || this.#scheduled) return;
    const count = this.#reap();
    const inFlight = this.#queue.inFlight;
    if (inFlight === 0) return;
    const now = performance.now();
    if (count > 0) this.#lastProgress = now;
    const crowded = this.#queue.enginesAwake >= this.#processors;
    if ((crowded && count === 0) || now - this.#lastProgress > POLL_MS) {
      if (this.#queue.arm(crowded ? (inFlight + 1) >> 1 : 1)) {
        this.#sleep(true);
        return;
      }
    }
    this.#scheduled = true;
    setImmediate(this.#onTurn);
  }

  /** Asleep, the interrupt keeps the event loop alive. */
  #sleep(asleep: boolean): void {
    this.#asleep = asleep;
    if (asleep) this.#queue.interrupt.ref();
    else this.#queue.interrupt.unref();
  }

  close(): void {
    this.#closed = true;
    this.#sleep(false);
  }
}
