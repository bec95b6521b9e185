import { isatty } from 'node:tty';

const STDERR_FD = 2;
/** Work shorter than this shows nothing. */
const DELAY_MS = 1000;
const EVERY_MS = 200;
const BAR_CELLS = 24;
const CLEAR_LINE = '\r\x1b[K';

/** What a progress line is about. */
export interface Progressing {
  name: string;
  /** Bytes so far, asked for each time. */
  done: () => number;
  /** Bytes in all, or 0 where nobody knows. */
  total: number;
}

/** A line on a terminal that tells how far work has come. */
export class Progress {
  readonly #enabled: boolean;
  #timer: NodeJS.Timeout | undefined;
  #shown = false;

  /** @param wanted false for `--quiet` */
  constructor(wanted: boolean) {
    this.#enabled = wanted && isatty(STDERR_FD);
  }

  start(work: Progressing): void {
    if (!this.#enabled) return;
    const since = performance.now();
    this.#timer = setInterval(() => {
      const elapsedMs = performance.now() - since;
      if (elapsedMs < DELAY_MS) return;
      this.#shown = true;
      const line = progressLine(work, elapsedMs / 1000, (process.stderr.columns || 80) - 1);
      process.stderr.write(`${CLEAR_LINE}${line}`);
    }, EVERY_MS);
    this.#timer.unref();
  }

  /** Takes the line away. */
  stop(): void {
    clearInterval(this.#timer);
    if (this.#shown) process.stderr.write(CLEAR_LINE);
    this.#shown = false;
  }
}

/** Fits the columns there are: the name is what gives way. */
function progressLine({ name, done, total }: Progressing, seconds: number, columns: number): string {
  const bytes = done();
  const rate = bytes / seconds;
  const parts = [formatBytes(bytes)];
  if (total > 0) {
    const share = Math.min(1, bytes / total);
    const full = Math.floor(share * BAR_CELLS);
    parts.unshift(`[${'#'.repeat(full)}${'.'.repeat(BAR_CELLS - full)}] ${Math.floor(share * 100)}%`);
  }
  parts.push(`${(rate / 1e6).toFixed(0)} MB/s`);
  if (total > bytes && rate > 0) parts.push(`ETA ${formatSeconds((total - bytes) / rate)}`);
  const facts = parts.join('  ');
  const room = columns - facts.length - 2;
  const shown = name.length <= room ? name : `...${name.slice(name.length - Math.max(0, room - 3))}`;
  return `${shown}  ${facts}`.slice(0, columns);
}

function formatBytes(bytes: number): string {
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(0)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

function formatSeconds(seconds: number): string {
  const whole = Math.ceil(seconds);
  const minutes = Math.floor(whole / 60);
  return `${minutes}:${String(whole % 60).padStart(2, '0')}`;
}
