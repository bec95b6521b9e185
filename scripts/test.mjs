// `npm test`: sets up, builds, and runs every test. `npm test -- accelerator device` runs only test files whose path
// contains one of the words, and `--except hostile,cli/` leaves out those whose path contains one of these.
// WARPDRIVE_TEST_NODE names another Node binary to run them with.

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { root, setup } from './setup.mjs';

setup({ tools: true });
const { values, positionals: words } = parseArgs({
  options: { except: { type: 'string', default: '' } },
  allowPositionals: true,
});
const unwanted = values.except.split(',').filter((word) => word !== '');
const folder = join(root, 'dist', 'test');
const files = readdirSync(folder, { recursive: true })
  .map((name) => join(folder, String(name)))
  .filter((name) => name.endsWith('.test.js'))
  .filter((name) => words.length === 0 || words.some((word) => relative(folder, name).includes(word)))
  .filter((name) => !unwanted.some((word) => relative(folder, name).includes(word)))
  .sort();
if (files.length === 0) {
  process.stderr.write(`no test matches ${words.join(' ')}\n`);
  process.exit(1);
}
const node = process.env.WARPDRIVE_TEST_NODE ?? process.execPath;
/** A test that hangs is a failure, and not a run that never ends. The longest file takes some two minutes. */
const FILE_LIMIT_MS = 600_000;
const result = spawnSync(
  node,
  ['--test', '--test-concurrency=2', `--test-timeout=${FILE_LIMIT_MS}`, ...files],
  { cwd: root, stdio: 'inherit' },
);
process.exitCode = result.status ?? 1;
