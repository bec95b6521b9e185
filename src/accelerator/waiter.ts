import { availableParallelism } from 'node:os';
import type { DeviceQueue } from '../driver/driver.js';
import { yieldProcessor } from '../sys/thread.js';

/** How long completions may stay away before the waiter stops polling. */
const POLL_MS = 0.1;
/** How long completions may stay away before other threads get the processor between two turns. */
const YIELD_MS = 0.03;
/**
 * Polls in a microtask: two to three times as long as the device takes for a request without work. As long as it takes
 * would be a cliff: a device a little slower on one day is polled in vain each time, and is then looked at in turns of the
 * event loop, which take four times as long.
 */
const EAGER_POLLS = 400;
/** Requests settled from microtasks before the event loop gets its turn. */
const EAGER_RUN = 32;
/** After a microtask has polled in vain, this many requests are waited for in turns of the event loop. */
const EAGER_REST = 256;
/** After polling has been in vain, this many waits sleep at once. */
const POLL_REST = 8;
/** How long a waiter sleeps for half of what is in flight before any one completion wakes it. */
const HALF_MS = 1;
const RESOLVED = Promise.resolve();

/**
 * Waits for completions on the event loop: polls at once, from a microtask, while that has been enough lately; then
 * once each turn while completions come soon; and sleeps on the queue's interrupt when they do not. Where the engines alone could keep every processor busy, polling would only take one
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
  /** Microtasks that may poll before the event loop turns; negative while they rest. */
  #eager = EAGER_RUN;
  /** Waits that sleep at once, because polling was in vain lately. */
  #rest = 0;
  /** Whether no engine was awake when what is waited for was sent: that it takes long says nothing about the next one. */
  #wakesEngine = false;
  #closed = false;
  /** Ends waiting for half of what is in flight: short requests do not wait for long ones. One timer, used again and again. */
  #half: NodeJS.Timeout | undefined;

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
    if (this.#closed || this.#scheduled || this.#asleep) return;
    this.#scheduled = true;
    if (this.#eager > 0) {
      this.#eager--;
      void RESOLVED.then(this.#onMicrotask);
      return;
    }
    if (this.#eager < 0) this.#eager++;
    this.#startTurns();
  }

  #startTurns(): void {
    this.#wakesEngine = this.#queue.enginesAwake === 0;
    this.#lastProgress = performance.now();
    setImmediate(this.#onTurn);
  }

  /**
   * Somebody else has waited on the queue, and may have taken the completions, or the interrupt, that this sleeps for: what
   * is still in flight is waited for anew.
   */
  resume(): void {
    if (this.#asleep) this.#sleep(false);
    if (this.#queue.inFlight > 0) this.start();
  }

  readonly #onMicrotask = (): void => {
    if (this.#closed) return;
    for (let polls = 0; polls < EAGER_POLLS; polls++) {
      if (this.#reap() === 0) continue;
      // What was found may have shown that the device is not to be trusted.
      if (this.#closed) return;
      if (this.#queue.inFlight > 0) break;
      this.#scheduled = false;
      return;
    }
    if (this.#queue.inFlight > 0) this.#eager = -EAGER_REST;
    this.#startTurns();
  };

  readonly #onTurn = (): void => {
    this.#scheduled = false;
    if (this.#eager === 0) this.#eager = EAGER_RUN;
    this.#turn();
  };

  #turn(): void {
    if (this.#closed || this.#scheduled) return;
    const count = this.#reap();
    if (this.#closed) return;
    const inFlight = this.#queue.inFlight;
    if (inFlight === 0) return;
    const now = performance.now();
    if (count > 0) this.#lastProgress = now;
    const crowded = this.#queue.enginesAwake >= this.#processors;
    const inVain = now - this.#lastProgress > POLL_MS;
    if (inVain && !this.#wakesEngine) this.#rest = POLL_REST;
    else if (count === 0 && this.#rest > 0) this.#rest--;
    const busy = crowded || this.#rest > 0;
    if ((count === 0 && busy) || inVain) {
      const wanted = busy ? (inFlight + 1) >> 1 : 1;
      if (this.#queue.arm(wanted)) {
        this.#sleep(true);
        if (wanted > 1) this.#boundHalf();
        return;
      }
    }
    // What is polled for may be waiting for this very processor; a short request is not.
    if (count === 0 && now - this.#lastProgress > YIELD_MS) yieldProcessor();
    this.#scheduled = true;
    setImmediate(this.#onTurn);
  }

  #boundHalf(): void {
    if (this.#half) this.#half.refresh();
    else this.#half = setTimeout(this.#onHalf, HALF_MS).unref();
  }

  readonly #onHalf = (): void => {
    if (this.#closed || !this.#asleep || this.#queue.arm(1)) return;
    this.#sleep(false);
    this.#turn();
  };

  /** Asleep, the interrupt keeps the event loop alive. */
  #sleep(asleep: boolean): void {
    this.#asleep = asleep;
    if (asleep) this.#queue.interrupt.ref();
    else this.#queue.interrupt.unref();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#half);
    this.#sleep(false);
  }
}
