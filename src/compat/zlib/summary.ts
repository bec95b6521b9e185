import { listed } from '../listed.js';
import { zlibStats } from './counters.js';

/** What was done where, in one line. */
export function zlibSummary(): string {
  const { accelerated, caller, node } = zlibStats();
  const reasons = listed(node.reasons);
  return [
    `zlib: ${work(accelerated)} accelerated`,
    `${caller.calls} calls by engines of the calling thread`,
    `${work(node)} by node:zlib${reasons ? ` (${reasons})` : ''}`,
  ].join('; ');
}

function work({ calls, streams }: { calls: number; streams: number }): string {
  return `${calls} calls and ${streams} streams`;
}
