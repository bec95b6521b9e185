import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runGuest } from './harness/machine.js';
import { guestHere } from './support-here.js';

test('a guest whose kernel dies fails the run, and tells why', async (t) => {
  const found = guestHere(t);
  if (!found) return;
  const { report, troubles } = await runGuest(found, { files: ['support-panic.js'] });
  assert.equal(report.ended, false);
  assert.match(troubles.join('\n'), /Kernel panic.*\n.*the guest stopped before its end/s);
});
