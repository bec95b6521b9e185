import { listed } from '../listed.js';
import { cryptoStats } from './counters.js';

/** What was done where, in one line. */
export function cryptoSummary(): string {
  const { accelerated, caller, node, reasons } = cryptoStats();
  const because = Object.keys(reasons).length > 0 ? ` (${listed(reasons)})` : '';
  return [
    `crypto: accelerated ${listed(accelerated) || 'nothing'}`,
    `in the calling thread ${listed(caller) || 'nothing'}`,
    `by node:crypto ${listed(node) || 'nothing'}${because}`,
  ].join('; ');
}
