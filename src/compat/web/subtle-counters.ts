/**
 * Why something went to Node's own subtle; `no gain`: it is as fast there; `key`: not one for this, or one that cannot be exported and was not imported
 * as `raw` through ours.
 */
export type SubtleReason =
  | 'method'
  | 'no gain'
  | 'key'
  | 'algorithm'
  | 'argument'
  | 'size'
  | 'no accelerator'
  | 'failure';

/** What was done where, by method. */
export interface SubtleStats {
  accelerated: Record<string, number>;
  node: Record<string, number>;
  /** Adds up to `node`. */
  reasons: Partial<Record<SubtleReason, number>>;
}

const stats: SubtleStats = { accelerated: {}, node: {}, reasons: {} };

export function countSubtle(method: string, reason: SubtleReason | undefined): void {
  const where = reason === undefined ? stats.accelerated : stats.node;
  where[method] = (where[method] ?? 0) + 1;
  if (reason !== undefined) stats.reasons[reason] = (stats.reasons[reason] ?? 0) + 1;
}

/** A copy of the counters. */
export function subtleStats(): SubtleStats {
  return structuredClone(stats);
}
