import { spawnSync } from 'node:child_process';
import { type Budget, type Outcome, type Suite, scriptPath } from './measure.js';
import { type Trace, total, trace } from './trace.js';

/** Requests between the two lengths of a run. */
const REQUESTS = 100_000;
/** Each of the baseline's requests makes several calls, and every call is slow when traced. */
const BASELINE_REQUESTS = 1_000;

export const syscalls: Suite = {
  name: 'syscalls',
  rows: [
    {
      name: 'polled',
      unit: 'calls/request',
      better: 'lower',
      baseline: 'zlib-async-1-byte',
      target: { of: 'value', atMost: 0 },
      run: countCalls,
    },
  ],
};

async function countCalls(budget: Budget): Promise<Outcome> {
  if (spawnSync('strace', ['-V']).error) {
    return { samples: { value: [], baseline: [] }, skipped: 'there is no strace on this machine' };
  }
  const own = await difference('warpdrive', REQUESTS, budget.rounds, 'pair');
  const baseline = await difference('zlib', BASELINE_REQUESTS, budget.quick ? 1 : 3, 'all');
  return {
    samples: { value: own.samples, baseline: baseline.samples },
    value: own.value,
    baselineValue: baseline.value,
    notes: [
      `calls of the client's and the engine's thread under strace, ${2 * REQUESTS} requests less ${REQUESTS}, ` +
        'the least of all runs of either length; of zlib, calls of all threads',
      `calls of each run with ${REQUESTS} requests: ${own.short.join(' ')}; with ${2 * REQUESTS}: ${own.long.join(' ')}`,
      `in the least run of ${2 * REQUESTS} requests: ${own.names || 'no calls'}; of zlib, in ` +
        `${2 * BASELINE_REQUESTS} requests: ${baseline.names}`,
    ],
  };
}

interface Difference {
  /** Calls per request: the least of the long runs less the least of the short ones. */
  value: number;
  samples: number[];
  short: number[];
  long: number[];
  names: string;
}

/**
 * Calls per request, as the difference between runs of `count` and of twice as many. A thread that loses its processor
 * to another process is late, its partner goes to sleep, and both must call: the least of several runs has least of it.
 */
async function difference(
  side: string,
  count: number,
  tries: number,
  threads: keyof Trace,
): Promise<Difference> {
  const script = scriptPath('./syscalls-child.js');
  const short: number[] = [];
  const long: number[] = [];
  let least = new Map<string, number>();
  for (let attempt = 0; attempt < tries; attempt++) {
    short.push(total((await trace(script, [side, String(count)]))[threads]));
    const calls = (await trace(script, [side, String(2 * count)]))[threads];
    if (long.every((other) => total(calls) < other)) least = calls;
    long.push(total(calls));
  }
  const names = [...least].sort((a, b) => b[1] - a[1]).map(([name, calls]) => `${name} ${calls}`);
  return {
    value: Math.max(0, Math.min(...long) - Math.min(...short)) / count,
    samples: long.map((calls, index) => (calls - short[index]!) / count),
    short,
    long,
    names: names.join(', '),
  };
}
