import { PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

/** Entries of the collector's work are handed over some time after it. */
const DELIVERY_MS = 50;

/** Counts collections on this thread: a heap that was collected tells nothing of what was allocated. */
export class CollectorWatch {
  readonly #times: number[] = [];

  constructor() {
    const observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) this.#times.push(entry.startTime);
    });
    observer.observe({ entryTypes: ['gc'] });
  }

  /** Collections that began between two readings of the clock. */
  async between(from: number, to: number): Promise<number> {
    await sleep(DELIVERY_MS);
    return this.#times.filter((time) => time >= from && time <= to).length;
  }
}
