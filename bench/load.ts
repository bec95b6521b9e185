import { readFileSync } from 'node:fs';

/*
 * How busy everybody else kept the machine: its processors' time by /proc/stat, less this process's own and its
 * children's. A figure taken beside other work says little, so the work is reported with it.
 */

/** Clock ticks a second in /proc (USER_HZ, which Linux has fixed at 100). */
const TICKS_PER_SECOND = 100;

interface Ticks {
  busy: number;
  stolen: number;
  own: number;
}

/** Measures from its making on. */
export class LoadMeter {
  readonly #start = read();
  readonly #startMs = performance.now();

  /** Processors that others kept busy, or the hypervisor withheld, on average. */
  get others(): number {
    const now = read();
    const seconds = (performance.now() - this.#startMs) / 1000;
    const start = this.#start;
    const foreign = now.busy - start.busy - (now.own - start.own) + (now.stolen - start.stolen);
    return Math.max(0, foreign / TICKS_PER_SECOND / seconds);
  }
}

function read(): Ticks {
  // proc(5): cpu user nice system idle iowait irq softirq steal guest guest_nice
  const [user, nice, system, , , irq, softirq, steal] = firstLine('/proc/stat')
    .split(/\s+/)
    .slice(1)
    .map(Number);
  // Fields after the name, which is in parentheses: utime is the 12th, then stime, cutime and cstime.
  const own = firstLine('/proc/self/stat')
    .replace(/^.*\) /, '')
    .split(' ')
    .slice(11, 15)
    .map(Number);
  return {
    busy: user! + nice! + system! + irq! + softirq!,
    stolen: steal!,
    own: own.reduce((sum, ticks) => sum + ticks, 0),
  };
}

function firstLine(path: string): string {
  return readFileSync(path, 'utf8').split('\n', 1)[0]!;
}
