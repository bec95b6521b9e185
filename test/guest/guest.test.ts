import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { hostCoverage, runGuest } from './harness/machine.js';
import type { GuestTest } from './harness/report.js';
import { guestHere } from './support-here.js';

/** Boots the guest once and shows each test that ran in it as one of ours. */
test('in a guest with an IOMMU', async (t) => {
  const found = guestHere(t);
  if (!found) return;
  const words = (process.env['WARPDRIVE_GUEST_WORDS'] ?? '').split(' ').filter((word) => word !== '');
  const outcome = await runGuest(found, { words, keep: Boolean(process.env['WARPDRIVE_GUEST_KEEP']) });
  const { report, troubles } = outcome;
  if (outcome.folder) t.diagnostic(`the guest's files: ${outcome.folder}`);
  saveCoverage(report.coverage);
  for (const each of report.tests) await show(t, each);
  const failed = troubles.length > 0 || report.tests.length === 0;
  if (failed) console.error(`${report.output}\n${report.log ?? outcome.console}`);
  await t.test('the kernel has nothing to complain about', () => assert.deepEqual(troubles, []));
  assert.ok(report.tests.length > 0, 'no test ran in the guest');
});

async function show(t: TestContext, { name, passed, skipped, error, children }: GuestTest): Promise<void> {
  await t.test(name, async (inner) => {
    for (const child of children) await show(inner, child);
    if (skipped !== undefined) inner.skip(skipped);
    if (!passed && children.every((child) => child.passed)) throw new Error(error ?? 'failed in the guest');
  });
}

function saveCoverage(files: { name: string; text: string }[]): void {
  const folder = process.env['NODE_V8_COVERAGE'];
  if (!folder || files.length === 0) return;
  mkdirSync(folder, { recursive: true });
  for (const { name, text } of files) writeFileSync(join(folder, `guest-${name}`), hostCoverage(text));
}
