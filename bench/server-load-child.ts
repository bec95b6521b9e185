import { createRequire } from 'node:module';
import { quantile } from './measure.js';
import { answerTasks } from './server-process.js';
import type { LoadFigures, LoadTask } from './server-task.js';

/* Loads a server with autocannon. */

type Cannon = (options: object) => PromiseLike<{ errors: number; non2xx: number }> & {
  on(event: 'response', listener: (client: unknown, status: number, bytes: number, ms: number) => void): void;
};

// It comes without types.
const autocannon: Cannon = createRequire(import.meta.url)('autocannon');

const CONNECTIONS = 10;
/** How exactly a run ends. */
const SAMPLE_MS = 50;

answerTasks(async ({ port, seconds, rate }: LoadTask): Promise<LoadFigures> => {
  const times: number[] = [];
  const run = autocannon({
    url: `http://127.0.0.1:${port}/`,
    connections: CONNECTIONS,
    duration: seconds,
    sampleInt: SAMPLE_MS,
    headers: { 'accept-encoding': 'gzip' },
    ...(rate === undefined ? {} : { overallRate: Math.round(rate) }),
  });
  const started = performance.now();
  let last = started;
  // Its own histogram knows whole milliseconds only.
  run.on('response', (_client, _status, _bytes, ms) => {
    times.push(ms);
    last = performance.now();
  });
  const { errors, non2xx } = await run;
  if (errors + non2xx > 0) throw new Error(`${errors} requests failed, ${non2xx} were refused`);
  const sorted = Float64Array.from(times);
  return {
    perSecond: (times.length / (last - started)) * 1000,
    p50Ms: quantile(sorted, 0.5),
    p99Ms: quantile(sorted, 0.99),
  };
});
