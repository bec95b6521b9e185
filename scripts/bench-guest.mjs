// `npm run bench:guest`: measures one virtio-crypto device under the kernel's driver and under ours, in a guest of QEMU,
// and prints the report as `warpdrive bench --json` does; `--table` as a table.

import { join } from 'node:path';
import { root, setup } from './setup.mjs';

setup({ tools: true });
process.env.WARPDRIVE_BENCH = '1';
const { prerequisites, runGuest } = await import(join(root, 'dist/test/guest/harness/machine.js'));
const { formatReport } = await import(join(root, 'dist/bench/report.js'));
const found = prerequisites();
if ('missing' in found) throw new Error(`no guest can run here: ${found.missing}`);
const { report, troubles, console: log } = await runGuest(found, { files: ['kernel-vs-user.bench.js'] });
const line = report.output.split('\n').find((each) => each.startsWith('{"suite"'));
if (line !== undefined) {
  process.stdout.write(process.argv.includes('--table') ? formatReport(JSON.parse(line)) : `${line}\n`);
}
const failed = report.tests.flatMap(({ children }) => children).filter(({ passed }) => !passed);
for (const { name, error } of failed) process.stderr.write(`${name}: ${error}\n`);
if (line === undefined || troubles.length > 0)
  process.stderr.write(`${troubles.join('\n')}\n${report.output}\n${log}\n`);
process.exitCode = line === undefined || failed.length > 0 || troubles.length > 0 ? 1 : 0;
