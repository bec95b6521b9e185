import { readFileSync } from 'node:fs';
import { Account, UNLIMITED } from '../device/account.js';
import { Ledger } from '../device/ledger.js';
import type { BrokerConfig } from './config.js';

type QuotaRules = BrokerConfig['limits'];

/** Accounts of users without clients are kept up to this many, so that reconnecting does not refill a user's bucket. */
const MAX_IDLE_USERS = 256;
const DEFAULT_MAP_COUNT = 65530;

/** The accounts of all users, below one of the broker itself. */
export class Accounts {
  #rules: QuotaRules;
  readonly #users = new Map<number, Account>();
  readonly #all: Account;
  /** Where they lie: engine threads count there, too. */
  readonly ledger: Ledger;

  /** @param ownProcesses whether each client has mappings of its own, in a process of its own */
  constructor(rules: QuotaRules, maxClients: number, ownProcesses: boolean) {
    this.#rules = rules;
    // Users have a client each, or are idle; one more client may be on its way to a refusal.
    this.ledger = Ledger.create(2 * (maxClients + 1) + MAX_IDLE_USERS + 1);
    this.#all = new Account(
      ownProcesses ? UNLIMITED : { ...UNLIMITED, regions: Math.floor(mostMappings() / 2) },
      undefined,
      this.ledger,
    );
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

  /** A client has gone, and no thread counts for it any more: what it still holds is given back. */
  gone(uid: number, account: Account): void {
    account.end();
    const user = this.#users.get(uid);
    // What a process left counted that was killed between two words (device/ledger.ts).
    if (user?.held('clients') === 0) user.clear();
  }

  /** The broker has stopped, and every device with it. */
  close(): void {
    this.ledger.close();
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
    for (const [uid, account] of this.#users) {
      if (account.held('clients') > 0) continue;
      this.#users.delete(uid);
      account.end();
    }
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
