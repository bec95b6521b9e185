import { SystemError } from '../errors.js';
import { closeFd } from '../sys/fd.js';
import { ERRNO } from '../sys/libc.js';
import { createMemfd } from '../sys/memfd.js';
import { Mapping } from '../sys/memory.js';

/*
 * What accounts hold and may hold, as words that all threads of a device share, and all processes of a broker that
 * isolates its clients: control threads take from them (account.ts), engine threads count sessions and what is in
 * flight. An account names the one above it: a client its user. Nothing here allocates.
 *
 * A process may be killed between two words. So what is taken is counted above first, and given back there last: a user
 * may then seem to hold too much until its last client has gone, and never too little.
 */

/** What is counted, for each client and for each user. Units: pieces, or bytes where the name says so. */
export const RESOURCES = [
  'clients',
  'queues',
  'regions',
  'mappedBytes',
  'sessions',
  'inFlightBytes',
] as const;

export type Resource = (typeof RESOURCES)[number];

/** Bytes that one counted unit is: a word would not hold the bytes themselves. */
export const UNIT_BYTES: Readonly<Record<Resource, number>> = {
  clients: 1,
  queues: 1,
  regions: 1,
  mappedBytes: 4096,
  sessions: 1,
  inFlightBytes: 1024,
};

export const ACCOUNT_WORDS = 32;
export const ACCOUNT = {
  /** Where the words of the account above start; 0 for none. */
  parent: 0,
  /** Units held, and the most, in the order of RESOURCES. */
  held: 2,
  max: 8,
  depth: 14,
  setupsPerSecond: 15,
  /** When the bucket of set-up commands was full but for what was spent: nanoseconds, in two words. */
  bucket: 16,
  /** The account below that waits for room in flight, and when it last asked (milliseconds mod 2^30). */
  waiter: 18,
  waiterAt: 19,
} as const;

/** No limit: sums of two still fit a word. */
export const UNLIMITED_WORD = 0x3fffffff;

const SESSIONS = RESOURCES.indexOf('sessions');
const IN_FLIGHT = RESOURCES.indexOf('inFlightBytes');
/** How long room is kept for an account that waits and does not ask again. */
const WAIT_MS = 10;
const CLOCK_MASK = 0x3fffffff;

/** Room for accounts, in memory that other processes may map, too. The first block is nobody's: 0 names no account. */
export class Ledger {
  readonly fd: number;
  /** How many there is room for. */
  readonly accounts: number;
  readonly #mapping: Mapping;
  readonly #free: number[] = [];

  private constructor(fd: number, accounts: number) {
    this.fd = fd;
    this.accounts = accounts;
    this.#mapping = Mapping.shared(fd, 0, bytesFor(accounts), 'read-write');
  }

  /** A new one, for as many accounts at once. */
  static create(accounts: number): Ledger {
    const fd = createMemfd('ledger', bytesFor(accounts));
    const ledger = new Ledger(fd, accounts);
    for (let slot = accounts; slot > 0; slot--) ledger.#free.push(slot * ACCOUNT_WORDS);
    return ledger;
  }

  /** One that another process has made; it opens the accounts. Takes over the descriptor. */
  static attach(fd: number, accounts: number): Ledger {
    return new Ledger(fd, accounts);
  }

  get words(): Int32Array {
    return this.#mapping.words;
  }

  get address(): number {
    return this.#mapping.address;
  }

  get bytes(): number {
    return this.#mapping.length;
  }

  /** Zeroed words for one more account: where they start. @throws SystemError ENOMEM when there are no more */
  take(): number {
    const at = this.#free.pop();
    if (at === undefined)
      throw new SystemError('ledger', ERRNO.ENOMEM, 'there is no room for one more account');
    this.words.fill(0, at, at + ACCOUNT_WORDS);
    return at;
  }

  /** Gives the words of an account back that nobody uses any more. */
  give(at: number): void {
    this.#free.push(at);
  }

  /** Unmaps it: no thread of this process may count in it any more. */
  close(): void {
    this.#mapping.unmap();
    closeFd(this.fd);
  }
}

function bytesFor(accounts: number): number {
  return (accounts + 1) * ACCOUNT_WORDS * 4;
}

/** Counts `units` of a resource in an account and in all above it, or in none: false if one of them has no room. */
export function charge(words: Int32Array, at: number, resource: number, units: number): boolean {
  const parent = words[at + ACCOUNT.parent]!;
  // A look first: one that is over its own limit must not take the room of others for even a moment.
  if (!hasRoom(words, at, resource, units)) return false;
  if (parent !== 0 && !charge(words, parent, resource, units)) return false;
  if (add(words, at, resource, units, false)) return true;
  if (parent !== 0) discharge(words, parent, resource, units);
  return false;
}

/** Takes back what `charge` or `admit` counted. */
export function discharge(words: Int32Array, at: number, resource: number, units: number): void {
  Atomics.sub(words, at + ACCOUNT.held + resource, units);
  const parent = words[at + ACCOUNT.parent]!;
  if (parent !== 0) discharge(words, parent, resource, units);
}

function hasRoom(words: Int32Array, at: number, resource: number, units: number): boolean {
  const max = Atomics.load(words, at + ACCOUNT.max + resource);
  return units <= max && Atomics.load(words, at + ACCOUNT.held + resource) <= max - units;
}

/** Adds within the limit, in one step: nothing is ever counted that is taken back. */
function add(words: Int32Array, at: number, resource: number, units: number, alone: boolean): boolean {
  const max = Atomics.load(words, at + ACCOUNT.max + resource);
  const heldAt = at + ACCOUNT.held + resource;
  for (let held = Atomics.load(words, heldAt); ; ) {
    if ((units > max || held > max - units) && !(alone && held === 0)) return false;
    const found = Atomics.compareExchange(words, heldAt, held, held + units);
    if (found === held) return true;
    held = found;
  }
}

/** Counts one more session; false if the client, or its user, has all that it may have. */
export function openSession(words: Int32Array, account: number): boolean {
  return account === 0 || charge(words, account, SESSIONS, 1);
}

export function closeSession(words: Int32Array, account: number): void {
  if (account !== 0) discharge(words, account, SESSIONS, 1);
}

/**
 * Counts a request of `kib` among what a client and its user have in flight; false if it has to wait for others of
 * them. One that is larger than a limit by itself runs alone.
 *
 * Whom the user's limit has held back is waited for: until it has its turn, or asks no more, the user's other clients
 * are held back, too. Otherwise a client with many small requests would leave no room for a large one.
 */
export function admit(words: Int32Array, account: number, kib: number): boolean {
  return account === 0 || admitTo(words, account, account, kib);
}

function admitTo(words: Int32Array, at: number, client: number, kib: number): boolean {
  if (!admits(words, at, client, kib)) return false;
  const parent = words[at + ACCOUNT.parent]!;
  if (parent !== 0 && !admitTo(words, parent, client, kib)) {
    // Only here, past its own limit, a client waits for its user's. Whoever waits already keeps its place.
    if (mayWait(words, parent, client)) {
      words[parent + ACCOUNT.waiterAt] = Date.now() & CLOCK_MASK;
      Atomics.store(words, parent + ACCOUNT.waiter, client);
    }
    return false;
  }
  if (!add(words, at, IN_FLIGHT, kib, true)) {
    if (parent !== 0) discharge(words, parent, IN_FLIGHT, kib);
    return false;
  }
  if (words[at + ACCOUNT.waiter] === client) Atomics.store(words, at + ACCOUNT.waiter, 0);
  return true;
}

/** Takes a request back from what is in flight. */
export function leave(words: Int32Array, account: number, kib: number): void {
  if (account !== 0) discharge(words, account, IN_FLIGHT, kib);
}

/** Whether `admit` would let a request in just now. */
export function mayAdmit(words: Int32Array, account: number, kib: number): boolean {
  for (let at = account; at !== 0; at = words[at + ACCOUNT.parent]!) {
    if (!admits(words, at, account, kib)) return false;
  }
  return true;
}

function admits(words: Int32Array, at: number, client: number, kib: number): boolean {
  if (!mayWait(words, at, client)) return false;
  return Atomics.load(words, at + ACCOUNT.held + IN_FLIGHT) === 0 || hasRoom(words, at, IN_FLIGHT, kib);
}

/** Whether no other client waits at this account. */
function mayWait(words: Int32Array, at: number, client: number): boolean {
  const waiter = Atomics.load(words, at + ACCOUNT.waiter);
  if (waiter === 0 || waiter === client) return true;
  return ((Date.now() - words[at + ACCOUNT.waiterAt]!) & CLOCK_MASK) > WAIT_MS;
}
