import { readFileSync, writeFileSync } from 'node:fs';
import { drawPlots, type Plot } from './plot.js';
import type { SuiteReport } from './report.js';

/*
 * Draws what the suite kernel-vs-user found: node dist/bench/plot-kernel-vs-user.js REPORT.json PLOT.svg, where the report
 * is the output of `npm run bench:guest`. One small plot for each number of requests in flight.
 */

const ROW = /^(\d+)-(\d+)$/;

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) {
  process.stderr.write('usage: plot-kernel-vs-user REPORT.json PLOT.svg\n');
  process.exit(2);
}
const { rows, machine } = JSON.parse(readFileSync(from, 'utf8')) as SuiteReport;
const byWidth = new Map<string, Plot['points']>();
for (const { name, value, baseline } of rows) {
  const [, bytes, width] = ROW.exec(name)!;
  const points = byWidth.get(width!) ?? [];
  points.push([Number(bytes), value ?? 0, baseline.value ?? 0]);
  byWidth.set(width!, points);
}
const plots = [...byWidth].map(([width, points]): Plot => ({ title: `${width} in flight`, points }));
writeFileSync(
  to,
  drawPlots(
    'Requests per second by size, of one virtio-crypto device under two drivers',
    `AES-128-CBC on virtio-crypto, requests/s. QEMU without hardware help, Linux ${machine.kernel}, Node ${machine.node}`,
    ['a queue in user space', 'AF_ALG'],
    plots,
  ),
);
