import { PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

/** Entries of the collector's work are handed over some time after it. */
const DELIVERY_MS = 50;

/** Counts collections on this thread: a heap that was collected tells nothing of what was allocated. */
export class CollectorWatch {
  #count = 0;

  constructor() {
    const observer = new PerformanceObserver((list) => {
      this.#count += list.getEntries().length;
    });
    observer.observe({ entryTypes: ['gc'] });
  }

  async reset(): Promise<void> {
    await sleep(DELIVERY_MS);
    this.#count = 0;
  }

  /** Collections since the last `reset`. */
  async count(): Promise<number> {
    await sleep(DELIVERY_MS);
    return this.#count;
  }
}
