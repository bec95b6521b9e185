import { isDeepStrictEqual } from 'node:util';
import type { BrokerConfig } from './config.js';

/** What the device and its socket were made with. */
const FIXED = [
  'socket',
  'engines',
  'disableEngines',
  'spinMicroseconds',
  'maxClients',
  'allowUnsafeUnsealedMemory',
  'isolate',
  'faults',
] as const;

/** What of a new configuration can hold only after a restart, by name. */
export function fixedChanges(now: BrokerConfig, next: BrokerConfig): string[] {
  return FIXED.filter((name) => !isDeepStrictEqual(now[name], next[name]));
}

/** The new configuration, but for what needs a restart. */
export function changeable(now: BrokerConfig, next: BrokerConfig): BrokerConfig {
  const fixed = Object.fromEntries(FIXED.map((name) => [name, now[name]])) as Pick<
    BrokerConfig,
    (typeof FIXED)[number]
  >;
  return { ...next, ...fixed };
}
