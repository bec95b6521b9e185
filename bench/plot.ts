/** One small plot: its title, and points of a size and what each line has there. */
export interface Plot {
  title: string;
  points: [bytes: number, first: number, second: number][];
}

const SIZE = { width: 300, height: 190, left: 46, bottom: 26, top: 24, right: 10 };
const COLUMNS = 2;
const COLOURS = ['#1f6feb', '#d97706'] as const;

/** Draws small plots of two lines each by the size of a request, both axes logarithmic, as an SVG document. */
export function drawPlots(
  subject: string,
  heading: string,
  lines: readonly [string, string],
  plots: readonly Plot[],
): string {
  const width = COLUMNS * SIZE.width;
  const height = Math.ceil(plots.length / COLUMNS) * SIZE.height + 40;
  const parts = plots.map((each, index) => {
    const x = (index % COLUMNS) * SIZE.width;
    const y = Math.floor(index / COLUMNS) * SIZE.height + 40;
    return `<g transform="translate(${x} ${y})">${plot(each)}</g>`;
  });
  const legend = lines.map((name, index) => `<tspan fill="${COLOURS[index]}">${name}</tspan>`).join(' ');
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="10">
<title>${subject}</title>
<rect width="100%" height="100%" fill="white"/>
<text x="10" y="15" font-size="11">${heading}</text>
<text x="10" y="30">${legend}</text>
${parts.join('\n')}
</svg>
`;
}

function plot({ title, points }: Plot): string {
  const speeds = points.flatMap(([, first, second]) => [first, second]).filter((speed) => speed > 0);
  const low = Math.floor(Math.log10(Math.min(...speeds)));
  const high = Math.ceil(Math.log10(Math.max(...speeds)));
  const first = Math.log2(points[0]![0]);
  const last = Math.log2(points.at(-1)![0]);
  const x = (bytes: number): number =>
    SIZE.left + ((Math.log2(bytes) - first) / (last - first)) * (SIZE.width - SIZE.left - SIZE.right);
  const y = (speed: number): number =>
    SIZE.height -
    SIZE.bottom -
    ((Math.log10(speed) - low) / (high - low)) * (SIZE.height - SIZE.bottom - SIZE.top);
  const line = (column: 1 | 2, colour: string): string => {
    const path = points.map((point) => `${x(point[0]).toFixed(1)},${y(point[column]).toFixed(1)}`).join(' ');
    return `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="1.5"/>`;
  };
  const grid: string[] = [];
  for (let power = low; power <= high; power++) {
    const at = y(10 ** power).toFixed(1);
    grid.push(
      `<line x1="${SIZE.left}" x2="${SIZE.width - SIZE.right}" y1="${at}" y2="${at}" stroke="#ddd"/>`,
      `<text x="${SIZE.left - 4}" y="${at}" text-anchor="end" dominant-baseline="middle">${10 ** power}</text>`,
    );
  }
  for (const [bytes] of points) {
    const label = bytes >= 1048576 ? `${bytes / 1048576}M` : bytes >= 1024 ? `${bytes / 1024}K` : `${bytes}`;
    grid.push(
      `<text x="${x(bytes).toFixed(1)}" y="${SIZE.height - 12}" text-anchor="middle">${label}</text>`,
    );
  }
  return `<text x="${SIZE.left}" y="14" font-weight="bold">${title}</text>${grid.join('')}${line(1, COLOURS[0])}${line(2, COLOURS[1])}`;
}
