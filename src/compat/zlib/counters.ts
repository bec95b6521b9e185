/** Why something went to node:zlib. */
export type Reason =
  | 'option'
  | 'level 0'
  | 'synchronous stream'
  | 'small flushes'
  | 'argument'
  | 'format'
  | 'failure'
  | 'starting'
  | 'no accelerator'
  | 'this version of Node';

/** What was done where, since this thread loaded the module. */
export interface ZlibStats {
  /** By the accelerator, what is short in the calling thread: calls, and streams. */
  accelerated: { calls: number; streams: number };
  /** Synchronous calls, by the accelerator's engines in the calling thread. */
  caller: { calls: number };
  /** By node:zlib; `reasons` adds up to both. */
  node: { calls: number; streams: number; reasons: Partial<Record<Reason, number>> };
}

const stats: ZlibStats = {
  accelerated: { calls: 0, streams: 0 },
  caller: { calls: 0 },
  node: { calls: 0, streams: 0, reasons: {} },
};

/** Counts what node:zlib does. */
export function countNode(what: 'calls' | 'streams', reason: Reason): void {
  stats.node[what]++;
  stats.node.reasons[reason] = (stats.node.reasons[reason] ?? 0) + 1;
}

export function countAccelerated(what: 'calls' | 'streams'): void {
  stats.accelerated[what]++;
}

export function countCaller(): void {
  stats.caller.calls++;
}

/** A copy of the counters. */
export function zlibStats(): ZlibStats {
  return structuredClone(stats);
}
