// `npm run test:guest`: runs the suites that need an IOMMU and devices, in a guest of QEMU. Words choose suites by
// their names. --shell gives a shell in the guest instead, --keep leaves its files. WARPDRIVE_TEST_NODE names another
// Node for the guest, WARPDRIVE_GUEST_ACCEL=kvm a faster processor where it works.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root, setup } from './setup.mjs';

const { values, positionals } = parseArgs({
  options: { shell: { type: 'boolean' }, keep: { type: 'boolean' } },
  allowPositionals: true,
});
setup({ tools: true });
const folder = join(root, 'dist', 'test', 'guest');
const args = values.shell
  ? [join(folder, 'harness', 'shell.js')]
  : ['--test', '--test-reporter=spec', join(folder, 'guest.test.js')];
const result = spawnSync(process.env.WARPDRIVE_TEST_NODE ?? process.execPath, args, {
  cwd: root,
  stdio: 'inherit',
  env: {
    ...process.env,
    WARPDRIVE_GUEST_WORDS: positionals.join(' '),
    WARPDRIVE_GUEST_KEEP: values.keep ? '1' : '',
  },
});
process.exitCode = result.status ?? 1;
