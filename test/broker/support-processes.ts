import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import type { Broker } from './support-broker.js';
import { report } from './support-user-quotas.js';

/* The processes that a broker has for its clients. */

/** The children of a process that have not ended. */
export function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((each) => {
      const stat = read(`/proc/${each}/stat`);
      // The name in parentheses may hold anything; what follows it are the state and the parent.
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return Number(parent) === pid && state !== 'Z';
    });
}

export function isAlive(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  return stat !== '' && !/\) [ZX] /.test(stat);
}

/** A process that ends while it is looked at has nothing to say. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** The process of a client that has come as the nth, from 1. */
export async function hostOf(broker: Broker, client: number): Promise<number> {
  const found = (await report(broker)).clients.find(({ id }) => id === client);
  assert.ok(found?.hostPid, `client ${client} has a process of its own`);
  return found.hostPid;
}
