import { SystemError } from '../errors.js';
import { ERRNO } from '../sys/libc.js';
import {
  ACCOUNT,
  ACCOUNT_WORDS,
  charge,
  discharge,
  type Ledger,
  RESOURCES,
  type Resource,
  UNIT_BYTES,
  UNLIMITED_WORD,
} from './ledger.js';

export { RESOURCES, type Resource };

/** The most that a client, or all clients of one user together, may hold at once. */
export interface Limits extends Record<Resource, number> {
  /** Slots of one queue. */
  depth: number;
  /** Commands that set something up (map, unmap, enable, disable, route, reset), each second. */
  setupsPerSecond: number;
}

export const UNLIMITED: Readonly<Limits> = {
  clients: Number.POSITIVE_INFINITY,
  queues: Number.POSITIVE_INFINITY,
  regions: Number.POSITIVE_INFINITY,
  mappedBytes: Number.POSITIVE_INFINITY,
  sessions: Number.POSITIVE_INFINITY,
  inFlightBytes: Number.POSITIVE_INFINITY,
  depth: Number.POSITIVE_INFINITY,
  setupsPerSecond: Number.POSITIVE_INFINITY,
};

const SECOND_NS = 1_000_000_000;

/**
 * What one client holds, and below it what all clients of its user hold. Taking counts in both, or in neither. Limits
 * may be replaced at any time: what is held already stays. Bytes mapped are counted in pages, bytes in flight in KiB.
 */
export class Account {
  /** The ledger that engine threads count in; without one, they count nothing of this account. */
  readonly ledger: Ledger | undefined;
  /** Where the account's words start in its ledger. */
  readonly at: number;
  readonly #words: Int32Array;
  readonly #wide: BigInt64Array;
  readonly #parent: Account | undefined;

  /** @throws SystemError ENOMEM when the ledger has no room for it */
  constructor(
    limits: Readonly<Limits> = UNLIMITED,
    parent?: Account,
    ledger: Ledger | undefined = parent?.ledger,
    at?: number,
  ) {
    this.ledger = ledger;
    this.at = at ?? ledger?.take() ?? 0;
    this.#words = ledger?.words ?? new Int32Array(ACCOUNT_WORDS);
    this.#wide = new BigInt64Array(this.#words.buffer);
    this.#parent = parent;
    if (at !== undefined) return;
    if (parent && parent.ledger === ledger) this.#words[this.at + ACCOUNT.parent] = parent.at;
    this.limits = limits;
  }

  /** The account that another process has opened. */
  static attach(ledger: Ledger, at: number): Account {
    const above = ledger.words[at + ACCOUNT.parent]!;
    return new Account(UNLIMITED, above === 0 ? undefined : Account.attach(ledger, above), ledger, at);
  }

  /** Other limits hold from now on, for engine threads and other processes, too. */
  set limits(limits: Readonly<Limits>) {
    const put = (word: number, value: number): void => {
      Atomics.store(this.#words, this.at + word, Math.floor(Math.min(value, UNLIMITED_WORD)));
    };
    RESOURCES.forEach((name, index) => {
      put(ACCOUNT.max + index, limits[name] / UNIT_BYTES[name]);
    });
    put(ACCOUNT.depth, limits.depth);
    put(ACCOUNT.setupsPerSecond, limits.setupsPerSecond);
  }

  held(resource: Resource): number {
    return this.#load(ACCOUNT.held + RESOURCES.indexOf(resource)) * UNIT_BYTES[resource];
  }

  #load(word: number): number {
    return Atomics.load(this.#words, this.at + word);
  }

  /** @throws SystemError EDQUOT if it would be more than the client or its user may hold. */
  take(resource: Resource, amount: number): void {
    const index = RESOURCES.indexOf(resource);
    const units = Math.ceil(amount / UNIT_BYTES[resource]);
    // Beyond what a word holds nothing may be added, or it would wrap around.
    if (units > UNLIMITED_WORD || !this.#charge(index, units)) throw overQuota(resource);
  }

  #charge(resource: number, units: number): boolean {
    if (this.ledger) return charge(this.#words, this.at, resource, units);
    if (this.#parent && !this.#parent.#charge(resource, units)) return false;
    if (charge(this.#words, this.at, resource, units)) return true;
    if (this.#parent) this.#parent.#discharge(resource, units);
    return false;
  }

  give(resource: Resource, amount: number): void {
    this.#discharge(RESOURCES.indexOf(resource), Math.ceil(amount / UNIT_BYTES[resource]));
  }

  #discharge(resource: number, units: number): void {
    discharge(this.#words, this.at, resource, units);
    if (!this.ledger && this.#parent) this.#parent.#discharge(resource, units);
  }

  /** The least of a limit, over the client and its user. */
  limit(name: keyof Limits): number {
    const units = this.#load(
      name === 'depth' || name === 'setupsPerSecond' ? ACCOUNT[name] : ACCOUNT.max + RESOURCES.indexOf(name),
    );
    const scale = name === 'depth' || name === 'setupsPerSecond' ? 1 : UNIT_BYTES[name];
    const own = units === UNLIMITED_WORD ? Number.POSITIVE_INFINITY : units * scale;
    return Math.min(own, this.#parent?.limit(name) ?? Number.POSITIVE_INFINITY);
  }

  /** Spends one set-up command; returns the milliseconds to wait before it is carried out. */
  spendSetup(): number {
    const parentMs = this.#parent?.spendSetup() ?? 0;
    const rate = this.#load(ACCOUNT.setupsPerSecond);
    if (rate === UNLIMITED_WORD) return parentMs;
    // One clock for all processes of the machine: performance.now() starts with its process.
    const now = process.hrtime.bigint();
    const step = BigInt(Math.ceil(SECOND_NS / rate));
    const full = now - BigInt(SECOND_NS);
    const bucketAt = (this.at + ACCOUNT.bucket) / 2;
    for (let before = Atomics.load(this.#wide, bucketAt); ; ) {
      // It holds what a second brings, and no more, however long nothing was spent.
      const spent = (before < full ? full : before) + step;
      const found = Atomics.compareExchange(this.#wide, bucketAt, before, spent);
      if (found === before) return Math.max(parentMs, Number(spent - now) / 1e6, 0);
      before = found;
    }
  }

  /** Gives back all that is held, whoever took it: for a client that has gone, with all its threads. */
  clear(): void {
    RESOURCES.forEach((_, index) => {
      const units = this.#load(ACCOUNT.held + index);
      if (units !== 0) this.#discharge(index, units);
    });
  }

  /** Gives back all that is held, and the room in the ledger. Nobody may use the account afterwards. */
  end(): void {
    this.clear();
    this.ledger?.give(this.at);
  }
}

function overQuota(resource: Resource): SystemError {
  return new SystemError('quota', ERRNO.EDQUOT, `no more ${resource} for this client or its user`);
}
