import { LIMITS } from '../abi/queue.js';
import type { Limits } from '../device/account.js';
import { type Check, object, wholeNumber, wrong } from './validate.js';

/*
 * What clients and users may hold, as the configuration says it. "unlimited" is a value of every field: the device's
 * own limits remain.
 */

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const UNITS: Record<string, number> = { KiB, MiB, GiB, TiB: 1024 * GiB };
const UNLIMITED_WORD = 'unlimited';

/** One client: as many queues and regions as its function has, and memory for a busy process. */
export const CLIENT_DEFAULTS: Readonly<Limits> = {
  clients: Number.POSITIVE_INFINITY,
  queues: LIMITS.maxQueues,
  regions: LIMITS.maxRegions,
  mappedBytes: GiB,
  sessions: 128,
  inFlightBytes: 256 * MiB,
  depth: LIMITS.maxDepth,
  setupsPerSecond: 2000,
};

/** All clients of a user together: half of the device's clients, so that one user cannot keep the others out. */
export const USER_DEFAULTS: Readonly<Limits> = {
  clients: 128,
  queues: 1024,
  regions: 4096,
  mappedBytes: 8 * GiB,
  sessions: 512,
  inFlightBytes: GiB,
  depth: Number.POSITIVE_INFINITY,
  setupsPerSecond: 8000,
};

const amount: Check<number> = (value, path) => {
  if (value === UNLIMITED_WORD) return Number.POSITIVE_INFINITY;
  try {
    return wholeNumber(1, Number.MAX_SAFE_INTEGER)(value, path);
  } catch {
    throw wrong(path, `a whole number from 1 on, or "${UNLIMITED_WORD}"`);
  }
};

const bytes: Check<number> = (value, path) => {
  const match = typeof value === 'string' ? /^(\d{1,6}) ?([KMGT]iB)$/.exec(value) : null;
  if (match) return amount(Number(match[1]) * UNITS[match[2]!]!, path);
  try {
    return amount(value, path);
  } catch {
    throw wrong(path, `a number of bytes, a text such as "512 MiB", or "${UNLIMITED_WORD}"`);
  }
};

const SHARED_FIELDS = {
  queues: amount,
  regions: amount,
  mappedBytes: bytes,
  sessions: amount,
  inFlightBytes: bytes,
  setupsPerSecond: amount,
};

/** The limits of a client; of a user. What is left out is as it was. */
export const clientLimits = object({ ...SHARED_FIELDS, depth: amount });
export const userLimits = object({ ...SHARED_FIELDS, clients: amount });

/** Limits as the configuration writes them; those that cannot be set there are left out. */
export function describeLimits(limits: Readonly<Limits>, kind: 'client' | 'user'): Record<string, unknown> {
  const hidden: keyof Limits = kind === 'client' ? 'clients' : 'depth';
  return Object.fromEntries(
    Object.entries(limits)
      .filter(([name]) => name !== hidden)
      .map(([name, value]) => [name, Number.isFinite(value) ? value : UNLIMITED_WORD]),
  );
}
