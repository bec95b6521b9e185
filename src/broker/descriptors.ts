import { readFileSync } from 'node:fs';
import { DescriptorBudget } from '../device/descriptor-budget.js';

/** What every connection is: its socket, its doorbell pages, and its wake descriptor. */
const CONNECTION = 3;
/** What each client is sure of beyond that: an interrupt for errors, those of four queues, and one in a message. */
const GUARANTEED = 6;
/** For one with a process of its own: its connection until that process has it, and channels to the process. */
const ISOLATED = 8;
/** Kept for what clients share beyond that, however many there are to be. */
const SHARED = 64;
/** For the event loop, listening sockets, connections that are refused or only ask, and a message that is being read. */
const OWN = 160;
/** For each engine thread: its event loop, and what it has open while it starts. */
const ENGINE = 8;

/**
 * How many clients have room beside each other, each with its connection and what it is sure of. The process is never
 * without descriptors, whatever they do: a thread that is started then would take the process down with it.
 */
export function clientsWithinDescriptors(wanted: number, engines: number, isolated: boolean): number {
  const each = isolated ? ISOLATED : CONNECTION + GUARANTEED;
  const room = descriptorLimit() - own(engines) - SHARED;
  return Math.max(1, Math.min(wanted, Math.floor(room / each)));
}

/** What so many clients may hold, each by itself and all together. */
export function descriptorBudget(clients: number, engines: number): DescriptorBudget {
  const shared = descriptorLimit() - own(engines) - clients * (CONNECTION + GUARANTEED);
  return new DescriptorBudget(GUARANTEED, Math.max(0, shared));
}

function own(engines: number): number {
  return OWN + engines * ENGINE;
}

/** The soft limit on open files (Node raises it to the hard one when it starts). */
function descriptorLimit(): number {
  const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
}
