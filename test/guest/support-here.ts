import type { TestContext } from 'node:test';
import { requirement } from '../support/requirement.js';
import { type Prerequisites, prerequisites } from './harness/machine.js';

/** What a guest needs of this machine; undefined where something is missing, and the test is skipped. */
export function guestHere(t: TestContext): Prerequisites | undefined {
  const found = prerequisites();
  if (!('missing' in found)) return found;
  requirement(t, false, found.missing);
  return undefined;
}
