import { readFileSync } from 'node:fs';
import { Account, UNLIMITED } from '../device/account.js';
import type { BrokerConfig } from './config.js';

type QuotaRules = BrokerConfig['limits'];

/** Accounts of users without clients are kept up to this many, so that reconnecting does not refill a user's bucket. */
const MAX_IDLE_USERS = 256;
const DEFAULT_MAP_COUNT = 65530;

/** The accounts of all users, below one of the broker itself. */
export class Accounts {
  #rules: QuotaRules;
  readonly #users = new Map<number, Account>();
  readonly #all = new Account({ ...UNLIMITED, regions: Math.floor(mostMappings() / 2) });

  constructor(rules: QuotaRules) {
    this.#rules = rules;
  }

  /** The account of all clients of a user. */
  user(uid: number): Account {
    const known = this.#users.get(uid);
    if (known) return known;
    if (this.#users.size >= MAX_IDLE_USERS) this.#forgetIdle();
    const made = new Account(this.#userLimits(uid), this.#all);
    this.#users.set(uid, made);
    return made;
  }

  /** An account for a new client of a user. */
  client(uid: number): Account {
    return new Account(this.#clientLimits(uid), this.user(uid));
  }

  /** Other limits hold from now on, for those who are there, too; what they hold already stays. */
  replace(rules: QuotaRules, clients: Iterable<{ uid: number; account: Account }>): void {
    this.#rules = rules;
    for (const [uid, account] of this.#users) account.limits = this.#userLimits(uid);
    for (const { uid, account } of clients) account.limits = this.#clientLimits(uid);
  }

  #userLimits(uid: number): Account['limits'] {
    return this.#rules.users.get(uid)?.user ?? this.#rules.user;
  }

  #clientLimits(uid: number): Account['limits'] {
    return this.#rules.users.get(uid)?.client ?? this.#rules.client;
  }

  #forgetIdle(): void {
    for (const [uid, account] of this.#users) if (account.held('clients') === 0) this.#users.delete(uid);
  }
}

/**
 * The mappings that the kernel gives one process (vm.max_map_count). Every DMA region is one, and without any left the
 * JavaScript engine itself dies: clients of all users together get half of them.
 */
function mostMappings(): number {
  try {
    return Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8')) || DEFAULT_MAP_COUNT;
  } catch {
    return DEFAULT_MAP_COUNT;
  }
}
