import { readFileSync, writeFileSync } from 'node:fs';
import { drawPlots, type Plot } from './plot.js';
import type { SuiteReport } from './report.js';

/*
 * Draws what the suite crossover found: node dist/bench/plot-crossover.js REPORT.json PLOT.svg, where the report is the
 * output of `warpdrive bench crossover --json`. One small plot for each class.
 */

const POINT = /^(\d+): ([\d.]+) \| ([\d.]+)$/;

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) {
  process.stderr.write('usage: plot-crossover REPORT.json PLOT.svg\n');
  process.exit(2);
}
const { rows, machine } = JSON.parse(readFileSync(from, 'utf8')) as SuiteReport;
const plots = rows.map(({ name, notes }): Plot => {
  const points = notes.flatMap((note) => {
    const match = POINT.exec(note);
    return match ? [match.slice(1).map(Number) as Plot['points'][number]] : [];
  });
  return { title: name, points };
});
writeFileSync(
  to,
  drawPlots(
    'MB/s by size of a request, through the queue and in the calling thread',
    `MB/s by size of a request, 8 in flight. ${machine.cpu}, ${machine.cores} cores, Node ${machine.node}`,
    ['through the queue', 'in the calling thread'],
    plots,
  ),
);
