import { readFileSync, writeFileSync } from 'node:fs';
import type { SuiteReport } from './report.js';

/*
 * Draws what the suite crossover found: node dist/bench/plot-crossover.js REPORT.json PLOT.svg, where the report is the
 * output of `warpdrive bench crossover --json`. One small plot for each class, both axes logarithmic.
 */

const PLOT = { width: 300, height: 190, left: 46, bottom: 26, top: 24, right: 10 };
const COLUMNS = 2;
const COLOURS = { queue: '#1f6feb', caller: '#d97706' };
const POINT = /^(\d+): ([\d.]+) \| ([\d.]+)$/;

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) {
  process.stderr.write('usage: plot-crossover REPORT.json PLOT.svg\n');
  process.exit(2);
}
const report = JSON.parse(readFileSync(from, 'utf8')) as SuiteReport;
writeFileSync(to, draw(report));

function draw({ rows, machine }: SuiteReport): string {
  const lines = Math.ceil(rows.length / COLUMNS);
  const width = COLUMNS * PLOT.width;
  const height = lines * PLOT.height + 40;
  const plots = rows.map(({ name, notes }, index) => {
    const points = notes.flatMap((note) => {
      const match = POINT.exec(note);
      return match ? [match.slice(1).map(Number) as [number, number, number]] : [];
    });
    const x = (index % COLUMNS) * PLOT.width;
    const y = Math.floor(index / COLUMNS) * PLOT.height + 40;
    return `<g transform="translate(${x} ${y})">${plot(name, points)}</g>`;
  });
  const title = `MB/s by size of a request, 8 in flight. ${machine.cpu}, ${machine.cores} cores, Node ${machine.node}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="10">
<title>MB/s by size of a request, through the queue and in the calling thread</title>
<rect width="100%" height="100%" fill="white"/>
<text x="10" y="15" font-size="11">${title}</text>
<text x="10" y="30"><tspan fill="${COLOURS.queue}">through the queue</tspan> <tspan fill="${COLOURS.caller}">in the calling thread</tspan></text>
${plots.join('\n')}
</svg>
`;
}

function plot(name: string, points: [number, number, number][]): string {
  const speeds = points.flatMap(([, queue, caller]) => [queue, caller]).filter((speed) => speed > 0);
  const low = Math.floor(Math.log10(Math.min(...speeds)));
  const high = Math.ceil(Math.log10(Math.max(...speeds)));
  const first = Math.log2(points[0]![0]);
  const last = Math.log2(points.at(-1)![0]);
  const x = (bytes: number): number =>
    PLOT.left + ((Math.log2(bytes) - first) / (last - first)) * (PLOT.width - PLOT.left - PLOT.right);
  const y = (speed: number): number =>
    PLOT.height -
    PLOT.bottom -
    ((Math.log10(speed) - low) / (high - low)) * (PLOT.height - PLOT.bottom - PLOT.top);
  const line = (column: 1 | 2, colour: string): string => {
    const path = points.map((point) => `${x(point[0]).toFixed(1)},${y(point[column]).toFixed(1)}`).join(' ');
    return `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="1.5"/>`;
  };
  const grid: string[] = [];
  for (let power = low; power <= high; power++) {
    const at = y(10 ** power).toFixed(1);
    grid.push(
      `<line x1="${PLOT.left}" x2="${PLOT.width - PLOT.right}" y1="${at}" y2="${at}" stroke="#ddd"/>`,
      `<text x="${PLOT.left - 4}" y="${at}" text-anchor="end" dominant-baseline="middle">${10 ** power}</text>`,
    );
  }
  for (const [bytes] of points) {
    const label = bytes >= 1048576 ? `${bytes / 1048576}M` : bytes >= 1024 ? `${bytes / 1024}K` : `${bytes}`;
    grid.push(
      `<text x="${x(bytes).toFixed(1)}" y="${PLOT.height - 12}" text-anchor="middle">${label}</text>`,
    );
  }
  return `<text x="${PLOT.left}" y="14" font-weight="bold">${name}</text>${grid.join('')}${line(1, COLOURS.queue)}${line(2, COLOURS.caller)}`;
}
