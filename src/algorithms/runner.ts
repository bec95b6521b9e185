import type { Operation } from './operation.js';

/** What an algorithm needs of the accelerator that carries its requests. */
export interface Runner {
  /** How many requests of one job are worth having in flight at once. */
  readonly window: number;
  /** Sends a request, now or as soon as there is room. */
  start(operation: Operation): void;
  /** Sends a request once another has ended, if that one is still under way. */
  startAfter(operation: Operation, other: Operation | undefined): void;
  /** Resolves when the request is done. */
  wait(operation: Operation): Promise<void>;
  /** Throws the error of a request that failed. */
  check(operation: Operation): void;
  /** The outcome is not wanted, or no longer. */
  drop(operation: Operation): void;
}
