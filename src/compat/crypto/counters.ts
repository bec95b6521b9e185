/**
 * Why node:crypto did something itself. `no gain`: nothing here would be faster; `use`: an object was used in another way
 * than the usual one; `key`: one that has not been seen before, or not of this kind; `few calls`: so far engines would not
 * be worth loading; `engine`: OpenSSL cannot be called here.
 */
export type CryptoReason =
  | 'no gain'
  | 'argument'
  | 'option'
  | 'algorithm'
  | 'size'
  | 'use'
  | 'key'
  | 'few calls'
  | 'engine'
  | 'starting'
  | 'no accelerator'
  | 'failure';

/** What was done where, by function. */
export interface CryptoStats {
  /** Through the accelerator. */
  accelerated: Record<string, number>;
  /** In the calling thread, on a shorter way than through an object of node:crypto. */
  caller: Record<string, number>;
  node: Record<string, number>;
  /** Adds up to `node`. */
  reasons: Partial<Record<CryptoReason, number>>;
}

/** The counters of one function. Where a call takes half a microsecond, finding them by name would show. */
export class Counter {
  readonly name: string;
  accelerated = 0;
  caller = 0;
  readonly #reasons: Partial<Record<CryptoReason, number>> = {};

  constructor(name: string) {
    this.name = name;
    counters.push(this);
  }

  /** Counts what node:crypto does. */
  node(reason: CryptoReason): void {
    this.#reasons[reason] = (this.#reasons[reason] ?? 0) + 1;
  }

  get reasons(): [CryptoReason, number][] {
    return Object.entries(this.#reasons) as [CryptoReason, number][];
  }
}

const counters: Counter[] = [];

/** The counters as they are now. */
export function cryptoStats(): CryptoStats {
  const stats: CryptoStats = { accelerated: {}, caller: {}, node: {}, reasons: {} };
  for (const { name, accelerated, caller, reasons } of counters) {
    if (accelerated > 0) stats.accelerated[name] = accelerated;
    if (caller > 0) stats.caller[name] = caller;
    for (const [reason, count] of reasons) {
      stats.node[name] = (stats.node[name] ?? 0) + count;
      stats.reasons[reason] = (stats.reasons[reason] ?? 0) + count;
    }
  }
  return stats;
}
