import type { KeySession } from '../../accelerator/key-session.js';
import type { Offer } from '../../device/engines/registry.js';
import { callerRunner } from '../caller-runner.js';

/**
 * Calls that engines could have answered before they are loaded: loading takes as long as some thousand calls with
 * node:crypto's objects, and a program that makes few shall lose nothing.
 */
const CALLS_BEFORE = 10_000;
/** The engines that are faster than node:crypto's objects. */
const FAST: readonly string[] = ['openssl', 'ipsec-mb'];

let calls = 0;

/** Whether engines may be used. Asked once for each call that could be answered by one. */
export function areLoaded(): boolean {
  return calls > CALLS_BEFORE || ++calls > CALLS_BEFORE;
}

/** The engine of the calling thread for a key, if it is one of those that are faster than node:crypto. */
export function offerFor(session: KeySession): Offer | undefined {
  try {
    const offer = session.offer(callerRunner.engines);
    return offer !== undefined && FAST.includes(offer.engine.name) ? offer : undefined;
  } catch {
    // Settings that are wrong, or engines that cannot be loaded, are no reason for a call of node:crypto's to fail.
    return undefined;
  }
}

/**
 * Whether node:crypto takes a KeyObject in less time than bytes. So it is in newer versions, which take ten microseconds
 * for bytes.
 */
export const PREFERS_OBJECTS = Number(process.versions.node.split('.')[0]) >= 24;
