import type { Accelerator } from '../../accelerator/accelerator.js';
import { ownCopy } from '../../algorithms/own-copy.js';
import { bytesOf } from '../bytes.js';
import { shared } from '../shared-accelerator.js';
import { Counter, type CryptoReason } from './counters.js';
import { type Loose, stock } from './stock.js';

type Callback = (error: unknown, result?: unknown) => void;

/** A call that the accelerator has begun, on copies of all bytes: those are the caller's again once it has returned. */
export interface Begun {
  result: Promise<unknown>;
  /** The arguments as they were, but for the callback, should node:crypto have to do it after all. */
  given: unknown[];
  /** Copies that are overwritten in the end. */
  secrets: readonly Uint8Array[];
}

/** What the accelerator makes of a call, or why it must be node:crypto's. */
export type Attempt = (accelerator: Accelerator, given: readonly unknown[]) => Begun | CryptoReason;

/**
 * A function of node:crypto with a callback, by the accelerator where that can do it. Whatever goes wrong there,
 * node:crypto says what it is.
 * @param places where the callback may be among the arguments
 */
export function makeAsync(name: string, places: readonly number[], attempt: Attempt): Loose {
  const node = stock[name]!;
  const counter = new Counter(name);
  const begin = (given: readonly unknown[], callback: unknown): CryptoReason | undefined => {
    if (callback === undefined) return 'no gain';
    if (typeof callback !== 'function') return 'argument';
    const accelerator = shared.current;
    if (!accelerator) return shared.isOpening ? 'starting' : 'no accelerator';
    const begun = attempt(accelerator, given);
    if (typeof begun === 'string') return begun;
    finish(begun, callback as Callback, (error) => {
      if (error === undefined) {
        counter.accelerated++;
        return;
      }
      shared.noteError(accelerator, error);
      counter.node('failure');
      node(...begun.given, callback);
    });
    return undefined;
  };
  return (...given) => {
    const at = places.find((place) => typeof given[place] === 'function') ?? places[0]!;
    const reason = tryTo(() => begin(given.slice(0, at), given[at]));
    if (reason === undefined) return undefined;
    counter.node(reason);
    return node(...given);
  };
}

/** What is wrong with arguments, such as a buffer that was transferred, is node:crypto's to say. */
function tryTo(begin: () => CryptoReason | undefined): CryptoReason | undefined {
  try {
    return begin();
  } catch {
    return 'argument';
  }
}

function finish({ result, secrets }: Begun, callback: Callback, ended: (error?: unknown) => void): void {
  const forget = (): void => {
    for (const secret of secrets) secret.fill(0);
  };
  result.then(
    (value) => {
      forget();
      ended();
      // What the callback throws is an uncaught exception, and no rejection.
      process.nextTick(callback, null, value);
    },
    (error: unknown) => {
      try {
        ended(error);
      } catch (thrown) {
        process.nextTick(callback, thrown);
      }
      forget();
    },
  );
}

/** A copy of bytes or text as node:crypto takes them, in memory of its own; undefined for anything else. */
export function copyOf(given: unknown): Uint8Array | undefined {
  if (typeof given === 'string') return new TextEncoder().encode(given);
  const bytes = bytesOf(given);
  return bytes && ownCopy(bytes);
}

export function isBetween(value: unknown, low: number, high: number): value is number {
  return Number.isInteger(value) && (value as number) >= low && (value as number) <= high;
}
