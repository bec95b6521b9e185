import type { AlgorithmClass } from '../abi/algorithms.js';
import { factsOf } from '../abi/algorithms.js';
import type { Operation } from '../algorithms/operation.js';
import type { Recipe } from '../algorithms/recipe.js';
import { ArgumentError } from '../errors.js';
import type { Dispatcher } from './dispatcher.js';
import type { RanBecause } from './job.js';

/** Sizes below which the calling thread runs a request itself; for all classes, or by class. */
export type InlineBytes = number | Partial<Record<AlgorithmClass | 'memory', number>>;

/** What a request through the queue costs the calling thread before it is measured, in nanoseconds. */
const UNMEASURED_NS = 2500;
/** Copying to and from memory of the device. */
const COPY_NS_PER_BYTE = 0.1;
/** With the queue full, how much longer than that a request may hold up the calling thread. */
const FULL_FACTOR = 20;
/** A request that takes longer than this goes to a queue of its own. */
const LONG_NS = 2e6;
/** Empty requests by which the queue is measured: so many rounds of so many. */
const ROUNDS = 3;
const ROUND_LENGTH = 8;

/**
 * Decides whether a request goes through the queue or runs in the calling thread: the queue costs that thread something,
 * too, and where the request itself costs no more it is done before it could have been sent.
 */
export class Placement {
  readonly #fixed: InlineBytes | undefined;
  #queueNs = UNMEASURED_NS;

  /** @param fixed sizes chosen by the user instead of measured ones */
  constructor(fixed: InlineBytes | undefined) {
    if (fixed !== undefined) checkSizes(fixed);
    this.#fixed = fixed;
  }

  /** What a request of so many bytes through the queue costs the calling thread, in nanoseconds. */
  #costOfQueue(bytes: number): number {
    return this.#queueNs + bytes * COPY_NS_PER_BYTE;
  }

  /** Measures the queue with empty requests; some hundred microseconds. */
  async measure(noop: () => Promise<void>): Promise<void> {
    if (this.#fixed !== undefined) return;
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < ROUNDS; round++) {
      const started = performance.now();
      for (let i = 0; i < ROUND_LENGTH; i++) await noop();
      best = Math.min(best, ((performance.now() - started) * 1e6) / ROUND_LENGTH);
    }
    // A processor that was taken away meanwhile is no reason to hold up this thread for long.
    this.#queueNs = Math.min(best, 4 * UNMEASURED_NS);
  }

  /** Why the calling thread runs a request that the device could run, or undefined. */
  choose(
    recipe: Recipe,
    operation: Operation,
    nanoseconds: number,
    isSync: boolean,
    dispatcher: Dispatcher,
  ): RanBecause | undefined {
    // Whoever waits without doing anything else gains nothing by waiting for somebody else.
    if (this.isInline(recipe, operation.inputLength, nanoseconds, isSync)) {
      return isSync && this.#fixed === undefined ? 'synchronous' : 'small';
    }
    if (this.#fixed !== undefined) return undefined;
    const isFull = dispatcher.pending >= dispatcher.queue.depth;
    return isFull && nanoseconds <= FULL_FACTOR * this.#costOfQueue(operation.inputLength)
      ? 'the queue is full'
      : undefined;
  }

  /** Whether a request that takes so long, of so many bytes, runs in the calling thread, whatever the queue looks like. */
  isInline(recipe: Recipe, bytes: number, nanoseconds: number, isSync: boolean): boolean {
    if (this.#fixed !== undefined) return bytes < this.#sizeFor(recipe);
    return isSync || nanoseconds <= this.#costOfQueue(bytes);
  }

  #sizeFor({ algorithmName }: Recipe): number {
    const fixed = this.#fixed!;
    if (typeof fixed === 'number') return fixed;
    return fixed[algorithmName === undefined ? 'memory' : factsOf(algorithmName).class] ?? 0;
  }

  isLong(nanoseconds: number): boolean {
    return nanoseconds > LONG_NS;
  }
}

function checkSizes(fixed: InlineBytes): void {
  const sizes = typeof fixed === 'object' && fixed !== null ? Object.values(fixed) : [fixed];
  if (sizes.every((size) => typeof size === 'number' && size >= 0)) return;
  throw new ArgumentError('inlineBytes is a number of bytes, or one for each class', {
    hint: '0 for never, Infinity for always',
  });
}
