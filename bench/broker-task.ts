/*
 * What the bench asks of its client processes, and what they answer. All processes read the same monotonic clock, so a
 * window that starts and ends at given times is the same window for all of them.
 */

/** Compresses what is in the window and before it, from now on; only what completes in the window counts. */
export interface Window {
  fromMs: number;
  toMs: number;
}

export type Task =
  /** What to compress from now on. */
  | { kind: 'prepare'; inputs: Uint8Array[] }
  /** Requests at gzip level 1, `width` in flight, by the device or by node:zlib. */
  | ({ kind: 'load'; by: 'device' | 'zlib'; width: number } & Window)
  /** The same requests on a raw queue of this depth that is kept full. */
  | ({ kind: 'flood'; depth: number } & Window)
  /** Opens a client for each number, with so many queues, and leaves them idle. */
  | { kind: 'hold'; queues: number[] };

export interface Load {
  /** MB/s. */
  rate: number;
  /** How long each request took, in microseconds; none of a flood. */
  latencies: number[];
}

export type Answer = { load: Load } | { done: true } | { error: string };

/** The length of each input. */
export const LOAD_BYTES = 4096;

const ahead = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** Milliseconds on the clock that all processes share. */
export function sharedNow(): number {
  return performance.now() + ahead;
}

/** Jain's fairness index: 1 when all have the same, 1/n when one has everything. */
export function jainIndex(shares: readonly number[]): number {
  const sum = shares.reduce((total, share) => total + share, 0);
  const squares = shares.reduce((total, share) => total + share * share, 0);
  return squares === 0 ? 0 : (sum * sum) / (shares.length * squares);
}
