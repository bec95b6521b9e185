import { setTimeout as sleep } from 'node:timers/promises';
import { LIMITS } from '../src/abi/queue.js';
import { open } from '../src/index.js';
import { withClients } from './broker-clients.js';
import { type BenchBroker, withBrokers } from './broker-process.js';
import { brokerHolds } from './broker-room.js';
import { type Budget, compare, type Outcome, type RowPlan, timeCalls } from './measure.js';

/* Rows about a thousand queues that are open and idle. */

const QUEUES = 1000;
const WAIT_MS = { full: 5000, quick: 1000 };

export const idleRows: RowPlan[] = [
  {
    name: 'idle-1000',
    unit: '% of a core',
    better: 'lower',
    baseline: 'no-queues',
    target: { of: 'value', atMost: 1 },
    run: cpu,
  },
  {
    name: 'idle-1000-p50',
    unit: 'ns p50',
    better: 'lower',
    baseline: 'no-queues',
    target: { of: 'ratio', atLeast: 1 / 1.1 },
    run: latency,
  },
];

/** Runs something with two brokers: one whose clients hold a thousand idle queues, and one without. */
async function withIdleQueues(
  use: (held: BenchBroker, empty: BenchBroker) => Promise<Outcome>,
): Promise<Outcome> {
  // One place is for the client that is measured.
  const places = Math.min(brokerHolds() - 1, QUEUES);
  if (places * LIMITS.maxQueues < QUEUES) {
    return {
      samples: { value: [], baseline: [] },
      skipped: `the limit on open files allows ${places} idle clients, and each ${LIMITS.maxQueues} queues`,
    };
  }
  const counts = spread(QUEUES, places);
  return withBrokers(2, ([held, empty]) =>
    withClients(held!.device, 1, async ([holder]) => {
      await holder!.ask({ kind: 'hold', queues: counts });
      const outcome = await use(held!, empty!);
      return { ...outcome, notes: [...(outcome.notes ?? []), `${QUEUES} queues of ${places} clients`] };
    }),
  );
}

/** A number in so many parts that differ by one at most. */
function spread(total: number, parts: number): number[] {
  return Array.from(
    { length: parts },
    (_, index) => Math.floor((total * (index + 1)) / parts) - Math.floor((total * index) / parts),
  );
}

function cpu(budget: Budget): Promise<Outcome> {
  const ms = budget.quick ? WAIT_MS.quick : WAIT_MS.full;
  return withIdleQueues(async (held, empty) => {
    const samples: Outcome['samples'] = { value: [], baseline: [] };
    for (let round = 0; round < budget.rounds; round++) {
      const [value, baseline] = await Promise.all([share(held, ms), share(empty, ms)]);
      samples.value.push(value);
      samples.baseline.push(baseline);
    }
    return { samples, notes: [`the broker process over ${ms} ms, all threads, in ticks of 10 ms`] };
  });
}

async function share(broker: BenchBroker, ms: number): Promise<number> {
  const started = performance.now();
  const before = broker.cpuSeconds();
  await sleep(ms);
  return ((broker.cpuSeconds() - before) * 1e5) / (performance.now() - started);
}

function latency(budget: Budget): Promise<Outcome> {
  return withIdleQueues(async (held, empty) => {
    const beside = await open(held.device);
    const alone = await open(empty.device);
    try {
      const samples = await compare(
        budget.rounds,
        () => timeCalls(budget.roundMs, () => beside.noop()),
        () => timeCalls(budget.roundMs, () => alone.noop()),
      );
      return { samples, notes: ['an awaited noop of a client beside them, and of one on another broker'] };
    } finally {
      await beside.close();
      await alone.close();
    }
  });
}
