import { cryptoStats } from './counters.js';

/** What was done where, in one line. */
export function cryptoSummary(): string {
  const { accelerated, caller, node, reasons } = cryptoStats();
  const because = Object.keys(reasons).length > 0 ? ` (${list(reasons)})` : '';
  return [
    `crypto: accelerated ${list(accelerated) || 'nothing'}`,
    `in the calling thread ${list(caller) || 'nothing'}`,
    `by node:crypto ${list(node) || 'nothing'}${because}`,
  ].join('; ');
}

function list(counts: Record<string, number>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}
