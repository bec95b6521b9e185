import { listed } from '../listed.js';
import { subtleStats } from './subtle-counters.js';

/** What was done where, in one line. */
export function webSummary(): string {
  const { accelerated, node, reasons } = subtleStats();
  const because = Object.keys(reasons).length > 0 ? ` (${listed(reasons)})` : '';
  return `subtle: accelerated ${listed(accelerated) || 'nothing'}; by Node ${listed(node) || 'nothing'}${because}`;
}
