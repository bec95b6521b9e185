import { SystemError } from '../errors.js';
import { ERRNO } from '../sys/libc.js';

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

/**
 * What one client holds, and below it what all clients of its user hold. Taking counts in both, or in neither. Limits
 * may be replaced at any time: what is held already stays.
 */
export class Account {
  limits: Readonly<Limits>;
  readonly #parent: Account | undefined;
  readonly #held = Object.fromEntries(RESOURCES.map((name) => [name, 0])) as Record<Resource, number>;
  /** Set-up commands that may still be spent, as of the time beside it: a bucket that fills at the limit's rate. */
  #setups: number;
  #setupsAt = performance.now();

  constructor(limits: Readonly<Limits> = UNLIMITED, parent?: Account) {
    this.limits = limits;
    this.#parent = parent;
    this.#setups = limits.setupsPerSecond;
  }

  held(resource: Resource): number {
    return this.#held[resource];
  }

  /** @throws SystemError EDQUOT if it would be more than the client or its user may hold. */
  take(resource: Resource, amount: number): void {
    for (let each: Account | undefined = this; each; each = each.#parent) {
      if (each.#held[resource] + amount > each.limits[resource]) throw overQuota(resource);
    }
    for (let each: Account | undefined = this; each; each = each.#parent) each.#held[resource] += amount;
  }

  give(resource: Resource, amount: number): void {
    for (let each: Account | undefined = this; each; each = each.#parent) each.#held[resource] -= amount;
  }

  /** The least of a limit, over the client and its user. */
  limit(name: keyof Limits): number {
    return Math.min(this.limits[name], this.#parent?.limit(name) ?? Number.POSITIVE_INFINITY);
  }

  /** Spends one set-up command; returns the milliseconds to wait before it is carried out. */
  spendSetup(): number {
    const now = performance.now();
    const rate = this.limits.setupsPerSecond;
    const parentMs = this.#parent?.spendSetup() ?? 0;
    if (rate === Number.POSITIVE_INFINITY) return parentMs;
    this.#setups = Math.min(rate, this.#setups + ((now - this.#setupsAt) / 1000) * rate) - 1;
    this.#setupsAt = now;
    return Math.max(parentMs, this.#setups >= 0 ? 0 : (-this.#setups / rate) * 1000);
  }
}

function overQuota(resource: Resource): SystemError {
  return new SystemError('quota', ERRNO.EDQUOT, `no more ${resource} for this client or its user`);
}
