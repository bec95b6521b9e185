import { subtleStats } from './subtle-counters.js';

/** What was done where, in one line. */
export function webSummary(): string {
  const { accelerated, node, reasons } = subtleStats();
  const because = Object.keys(reasons).length > 0 ? ` (${list(reasons)})` : '';
  return `subtle: accelerated ${list(accelerated) || 'nothing'}; by Node ${list(node) || 'nothing'}${because}`;
}

function list(counts: Record<string, number>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}
