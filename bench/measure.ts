import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { LoadMeter } from './load.js';
import { isMet, type Row, type Samples, type Target } from './report.js';

/** How much time a suite may take. */
export interface Budget {
  /** At least five: machines are shared, and a median needs company. */
  rounds: number;
  /** How long one side of one round lasts, where that can be chosen. */
  roundMs: number;
  quick: boolean;
}

export const FULL_BUDGET: Budget = { rounds: 7, roundMs: 400, quick: false };
export const QUICK_BUDGET: Budget = { rounds: 5, roundMs: 40, quick: true };

/** What is measured, known before it is measured. */
export interface RowPlan {
  name: string;
  unit: string;
  better: 'lower' | 'higher';
  baseline: string;
  target: Target;
  run: (budget: Budget) => Promise<Outcome>;
}

/** What a plan comes back with: its samples, or why it could not be run. */
export interface Outcome {
  samples: Samples;
  /** Instead of the medians, where a median is not the figure. */
  value?: number;
  baselineValue?: number;
  notes?: string[];
  skipped?: string;
}

export interface Suite {
  name: string;
  rows: RowPlan[];
}

/** Runs one plan. */
export async function runRow(plan: RowPlan, budget: Budget): Promise<Row> {
  const load = new LoadMeter();
  const outcome = await plan.run(budget);
  const { samples, skipped } = outcome;
  const value = outcome.value ?? median(samples.value);
  const baseline = outcome.baselineValue ?? median(samples.baseline);
  const ratio = divide(
    plan.better === 'lower' ? baseline : value,
    plan.better === 'lower' ? value : baseline,
  );
  return {
    name: plan.name,
    unit: plan.unit,
    value,
    baseline: { name: plan.baseline, value: baseline },
    ratio,
    samples,
    target: plan.target,
    met: isMet(plan.target, value, ratio),
    ...(skipped ? { skipped } : {}),
    othersLoad: load.others,
    notes: outcome.notes ?? [],
  };
}

function divide(dividend: number | null, divisor: number | null): number | null {
  return dividend === null || divisor === null || divisor <= 0 ? null : dividend / divisor;
}

/** Rounds before those that count: threads are started and JavaScript is compiled for some tenths of a second. */
const WARM_UPS = 3;

/**
 * Runs both sides a few times to warm up, then in turns; who begins alternates, so that a slow drift of the machine hits both.
 */
export async function compare(
  rounds: number,
  own: () => Promise<number> | number,
  baseline: () => Promise<number> | number,
): Promise<Samples> {
  const samples: Samples = { value: [], baseline: [] };
  for (let warmUp = 0; warmUp < WARM_UPS; warmUp++) {
    await baseline();
    await own();
  }
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) samples.baseline.push(await baseline());
    samples.value.push(await own());
    if (round % 2 === 1) samples.baseline.push(await baseline());
  }
  return samples;
}

/** The value below which this share of the samples lies; the array is sorted in place. */
export function quantile(samples: Float64Array, share: number): number {
  samples.sort();
  return samples[Math.floor(samples.length * share)]!;
}

/** The median, or null for none. */
export function median(samples: number[]): number | null {
  if (samples.length === 0) return null;
  const sorted = [...samples].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** Nanoseconds per call, p50: each call is timed by itself, and waited for. */
export async function timeCalls(ms: number, call: () => Promise<unknown>): Promise<number> {
  const times = new Float64Array(MAX_CALLS);
  const end = performance.now() + ms;
  let count = 0;
  while (count < MAX_CALLS) {
    const started = performance.now();
    await call();
    const now = performance.now();
    times[count++] = now - started;
    if (now > end && count >= MIN_CALLS) break;
  }
  return quantile(times.subarray(0, count), 0.5) * 1e6;
}

const MAX_CALLS = 1_000_000;
/** One that waited for a processor is not to be the median. */
const MIN_CALLS = 20;

/** Keeps `width` calls in flight for a while; each handles one item and says how many bytes. Returns MB/s. */
export async function throughput<T>(
  ms: number,
  width: number,
  items: readonly T[],
  call: (item: T) => Promise<number>,
): Promise<number> {
  const started = performance.now();
  const end = started + ms;
  let next = 0;
  let bytes = 0;
  const lane = async (): Promise<void> => {
    do {
      const more = await call(items[next++ % items.length]!);
      bytes += more;
    } while (performance.now() < end);
  };
  await Promise.all(Array.from({ length: width }, lane));
  return bytes / 1000 / (performance.now() - started);
}

/** The path of a script of this folder. */
export function scriptPath(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** Runs a script of this folder in a process of its own; resolves with the JSON that it prints. */
export async function runChild<T>(name: string, args: string[], flags: string[] = []): Promise<T> {
  return JSON.parse(await capture(process.execPath, [...flags, scriptPath(name), ...args])) as T;
}

/** Runs a program; resolves with what it prints. */
export function capture(command: string, args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint += text;
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve(out);
      else reject(new Error(`${command} ended with ${signal ?? code}: ${complaint.trim() || out.trim()}`));
    });
  });
}
