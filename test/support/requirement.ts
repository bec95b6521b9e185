import type { TestContext } from 'node:test';

/**
 * Whether a suite can run here. Where it cannot, it is skipped loudly; with WARPDRIVE_TEST_REQUIRE=all nothing may be
 * missing, and it fails. Use: `if (!requirement(t, found, 'a C compiler')) return;`
 */
export function requirement(t: TestContext, available: boolean, what: string): boolean {
  if (available) return true;
  if (process.env['WARPDRIVE_TEST_REQUIRE'] === 'all') {
    throw new Error(`${what} is required here (WARPDRIVE_TEST_REQUIRE=all), and is missing`);
  }
  const reason = `SKIPPED, not tested: ${what} is missing on this machine`;
  console.error(reason);
  t.skip(reason);
  return false;
}
