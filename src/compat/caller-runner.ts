import { isMainThread } from 'node:worker_threads';
import { CallerEngines } from '../accelerator/caller-engines.js';
import { operationError } from '../accelerator/job.js';
import { checkSettings } from '../accelerator/settings.js';
import type { Operation } from '../algorithms/operation.js';
import type { Runner } from '../algorithms/runner.js';
import { UnsupportedError } from '../errors.js';

/** What results and errors say in place of a device. */
const HERE = 'calling thread';

/** Runs requests in the calling thread, one after the other: for synchronous calls, which no device has to be opened for. */
export class CallerRunner implements Runner {
  readonly window = 1;
  #engines: CallerEngines | undefined;

  /** This thread's engines, loaded now if they were not. */
  get engines(): CallerEngines {
    this.#engines ??= this.#load();
    return this.#engines;
  }

  #load(): CallerEngines {
    const engines = new CallerEngines(checkSettings({}).disabledEngines);
    // Native memory does not go with a thread.
    if (!isMainThread) process.once('exit', () => engines.close());
    return engines;
  }

  /** About how many nanoseconds a request takes this thread; infinitely many if nothing here can do it. */
  nanoseconds(operation: Operation): number {
    const offer = this.engines.offerFor(operation, undefined);
    return offer ? this.engines.nanoseconds(operation, offer) : Number.POSITIVE_INFINITY;
  }

  start(operation: Operation): void {
    const offer = this.engines.offerFor(operation, undefined);
    if (!offer) throw new UnsupportedError('no engine of this thread can do this');
    this.engines.run(operation, offer, undefined);
  }

  startAfter(operation: Operation): void {
    this.start(operation);
  }

  wait(): Promise<void> {
    return Promise.resolve();
  }

  check(operation: Operation): void {
    const error = operationError(operation, HERE, 0);
    if (error) throw error;
  }

  drop(): void {}
}

/** This thread's. */
export const callerRunner = new CallerRunner();
