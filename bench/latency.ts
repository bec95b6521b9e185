import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { deflateRaw } from 'node:zlib';
import { type Accelerator, type AcceleratorQueue, Completion, open, Submission } from '../src/index.js';
import { type Budget, compare, type Outcome, quantile, type Suite, timeCalls } from './measure.js';
import { PINGPONG, PINGPONG_STOP } from './pingpong-worker.js';

const CLOCK_NOTE =
  'each request is timed by itself; two readings of the clock (about 70 ns) are in both figures';
/** A round of what spins takes this many requests. */
export const SPINS = { full: 200_000, quick: 20_000 };

export const latency: Suite = {
  name: 'latency',
  rows: [
    {
      name: 'noop-sync',
      unit: 'ns p50',
      better: 'lower',
      baseline: 'raw-pingpong',
      target: { of: 'ratio', atLeast: 1 / 1.6 },
      run: (budget) =>
        spinning(budget, (accelerator, _queue, times) => timeNoopSync(accelerator, times), [
          'the target is a value of at most 1.6 times the baseline',
        ]),
    },
    {
      name: 'noop-sync-raw',
      unit: 'ns p50',
      better: 'lower',
      baseline: 'raw-pingpong',
      target: { of: 'ratio', atLeast: 1 / 1.6 },
      run: (budget) => spinning(budget, timeSendRecv, ["send and recv on a queue of one's own"]),
    },
    {
      name: 'noop-await',
      unit: 'ns p50',
      better: 'lower',
      baseline: 'zlib-async-1-byte',
      target: { of: 'ratio', atLeast: 10 },
      run: awaitAgainstZlib,
    },
    {
      name: 'noop-await-worker',
      unit: 'ns p50',
      better: 'lower',
      baseline: 'worker-postmessage',
      target: { of: 'ratio', atLeast: 10 },
      run: awaitAgainstWorker,
    },
  ],
};

type Spinner = (accelerator: Accelerator, queue: AcceleratorQueue, times: Float64Array) => void;

/** A spinning request against the raw ping-pong. */
async function spinning(budget: Budget, spin: Spinner, notes: string[]): Promise<Outcome> {
  const count = budget.quick ? SPINS.quick : SPINS.full;
  const words = new Int32Array(new SharedArrayBuffer(PINGPONG.bytes));
  const worker = new Worker(new URL('./pingpong-worker.js', import.meta.url), { workerData: words.buffer });
  const accelerator = await open();
  const queue = await accelerator.requestQueue();
  const times = new Float64Array(count);
  let round = 0;
  try {
    const samples = await compare(
      budget.rounds,
      () => {
        spin(accelerator, queue, times);
        return quantile(times, 0.5) * 1e6;
      },
      () => {
        openGate(words, ++round);
        timePingPong(words, times);
        Atomics.store(words, PINGPONG.ping, PINGPONG_STOP);
        while (Atomics.load(words, PINGPONG.pong) !== PINGPONG_STOP);
        return quantile(times, 0.5) * 1e6;
      },
    );
    return { samples, notes: [...notes, CLOCK_NOTE] };
  } finally {
    openGate(words, -1);
    await worker.terminate();
    await accelerator.close();
  }
}

function openGate(words: Int32Array, value: number): void {
  Atomics.store(words, PINGPONG.ping, 0);
  Atomics.store(words, PINGPONG.gate, value);
  Atomics.notify(words, PINGPONG.gate);
}

/** Times a round of the raw ping-pong against whoever answers at the other end. */
export function timePingPong(words: Int32Array, times: Float64Array): void {
  // The first answers come late: the other thread has to wake up. A median does not see them.
  for (let index = 0; index < times.length; index++) {
    const value = index + 1;
    const started = performance.now();
    Atomics.store(words, PINGPONG.ping, value);
    while (Atomics.load(words, PINGPONG.pong) !== value);
    times[index] = performance.now() - started;
  }
}

/** Times spinning requests. */
export function timeNoopSync(accelerator: Accelerator, times: Float64Array): void {
  for (let index = 0; index < times.length; index++) {
    const started = performance.now();
    accelerator.noopSync();
    times[index] = performance.now() - started;
  }
}

const submission = new Submission();
const completion = new Completion();

function timeSendRecv(_accelerator: Accelerator, queue: AcceleratorQueue, times: Float64Array): void {
  for (let index = 0; index < times.length; index++) {
    const started = performance.now();
    queue.send(submission);
    while (!queue.recv(completion));
    times[index] = performance.now() - started;
  }
}

async function awaitAgainstZlib(budget: Budget): Promise<Outcome> {
  const deflate = promisify(deflateRaw) as (input: Buffer) => Promise<Buffer>;
  const byte = Buffer.from('a');
  const accelerator = await open();
  try {
    const samples = await compare(
      budget.rounds,
      () => timeCalls(budget.roundMs, () => accelerator.noop()),
      () => timeCalls(budget.roundMs, () => deflate(byte)),
    );
    return { samples, notes: [CLOCK_NOTE] };
  } finally {
    await accelerator.close();
  }
}

async function awaitAgainstWorker(budget: Budget): Promise<Outcome> {
  const worker = new Worker(new URL('./echo-worker.js', import.meta.url));
  let answered = (): void => {};
  worker.on('message', () => answered());
  const roundTrip = (): Promise<void> =>
    new Promise((resolve) => {
      answered = resolve;
      worker.postMessage(0);
    });
  const accelerator = await open();
  try {
    await roundTrip();
    const samples = await compare(
      budget.rounds,
      () => timeCalls(budget.roundMs, () => accelerator.noop()),
      () => timeCalls(budget.roundMs, roundTrip),
    );
    return { samples, notes: ['the same measurement as noop-await, against the other baseline', CLOCK_NOTE] };
  } finally {
    await accelerator.close();
    await worker.terminate();
  }
}
