import { readFileSync } from 'node:fs';
import { LIMITS } from '../abi/queue.js';
import { MAX_FDS } from '../sys/socket.js';

/** Messages of one connection that are read ahead, and the one that is being read. */
const MESSAGES_IN_HAND = 17;
/** The most descriptors that one client can make the broker hold: interrupts, what its messages carry, and its own. */
const PER_CLIENT = LIMITS.maxQueues + MESSAGES_IN_HAND * MAX_FDS + 3;
/** For one with a process of its own: its connection until that process has it, and channels to the process. */
const PER_ISOLATED = 8;
/** For the event loop, the engine threads, the sockets and whatever Node opens in passing. */
const OWN = 256;

/**
 * How many clients may hold all the descriptors they can before the process has none left: a thread that is started
 * then would take the process down with it.
 */
export function clientsWithinDescriptors(wanted: number, isolated: boolean): number {
  const each = isolated ? PER_ISOLATED : PER_CLIENT;
  return Math.max(1, Math.min(wanted, Math.floor((descriptorLimit() - OWN) / each)));
}

/** The soft limit on open files (Node raises it to the hard one when it starts). */
function descriptorLimit(): number {
  const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
}
