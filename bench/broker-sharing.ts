import { type ClientProcess, nextWindow, withClients } from './broker-clients.js';
import { withBrokers } from './broker-process.js';
import { brokerHolds } from './broker-room.js';
import { jainIndex, LOAD_BYTES, type Load } from './broker-task.js';
import { type Budget, compare, median, type Outcome, quantile, type RowPlan } from './measure.js';
import { slices } from './text.js';

/* Rows about several clients that are at work at once. */

const CLIENTS = 8;
const IN_FLIGHT = 8;
const SLICES = 64;
const FLOOD_DEPTH = 4096;
const LOAD_NOTE = `each client is a process with ${IN_FLIGHT} requests of 4 KiB at gzip level 1 in flight`;

export const sharingRows: RowPlan[] = [
  {
    name: 'aggregate-8',
    unit: 'MB/s',
    better: 'higher',
    baseline: '1-client',
    target: { of: 'ratio', atLeast: 0.9 },
    run: aggregate,
  },
  {
    name: 'fair-8',
    unit: "Jain's index",
    better: 'higher',
    baseline: 'zlib.gzip-8-processes',
    target: { of: 'value', atLeast: 0.98 },
    run: fairness,
  },
  {
    name: 'fair-flood',
    unit: "Jain's index",
    better: 'higher',
    baseline: 'equal-8th-client',
    target: { of: 'value', atLeast: 0.95 },
    run: flooded,
  },
  {
    name: 'fair-flood-p99',
    unit: 'x',
    better: 'lower',
    baseline: 'equal-8th-client',
    target: { of: 'value', atMost: 3 },
    run: floodedP99,
  },
];

/** The same work by these clients at once. */
function together(clients: ClientProcess[], by: 'device' | 'zlib', budget: Budget): Promise<Load[]> {
  const task = { kind: 'load', by, width: IN_FLIGHT, ...nextWindow(budget) } as const;
  return Promise.all(clients.map((client) => client.load(task)));
}

/** Runs a row with eight clients, or says why it cannot. */
async function withEight(run: (clients: ClientProcess[]) => Promise<Outcome>): Promise<Outcome> {
  const holds = brokerHolds();
  if (holds < CLIENTS) {
    return {
      samples: { value: [], baseline: [] },
      skipped: `the limit on open files allows a broker ${holds} clients, not ${CLIENTS}`,
    };
  }
  const inputs = slices(SLICES, LOAD_BYTES);
  return withBrokers(1, ([broker]) =>
    withClients(broker!.device, CLIENTS, async (clients) => {
      await Promise.all(clients.map((client) => client.ask({ kind: 'prepare', inputs })));
      return run(clients);
    }),
  );
}

function rates(loads: Load[]): number[] {
  return loads.map((load) => load.rate);
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function listed(numbers: number[], digits: number): string {
  return numbers.map((number) => number.toFixed(digits)).join(' ');
}

/** Each client's JavaScript gets as warm as that of the one that all others are compared with. */
async function warmUp(clients: ClientProcess[], budget: Budget): Promise<void> {
  for (const client of clients) await together([client], 'device', budget);
}

function aggregate(budget: Budget): Promise<Outcome> {
  return withEight(async (clients) => {
    await warmUp(clients, budget);
    return {
      samples: await compare(
        budget.rounds,
        async () => sum(rates(await together(clients, 'device', budget))),
        async () => sum(rates(await together(clients.slice(0, 1), 'device', budget))),
      ),
      notes: [LOAD_NOTE],
    };
  });
}

function fairness(budget: Budget): Promise<Outcome> {
  return withEight(async (clients) => {
    let last: number[] = [];
    const samples = await compare(
      budget.rounds,
      async () => {
        last = rates(await together(clients, 'device', budget));
        return jainIndex(last);
      },
      async () => jainIndex(rates(await together(clients, 'zlib', budget))),
    );
    return {
      samples,
      notes: [
        LOAD_NOTE,
        'the baseline is as fair as the kernel shares processors',
        `MB/s of each client in the last round: ${listed(last, 2)}`,
      ],
    };
  });
}

/** What seven clients got beside an eighth one. */
interface Beside {
  victims: Load[];
  eighth: Load;
}

async function besideFlood(clients: ClientProcess[], budget: Budget): Promise<Beside> {
  const window = nextWindow(budget);
  const load = { kind: 'load', by: 'device', width: IN_FLIGHT, ...window } as const;
  const loads = await Promise.all(
    clients.map((client, index) =>
      client.load(index === 0 ? { kind: 'flood', depth: FLOOD_DEPTH, ...window } : load),
    ),
  );
  return { victims: loads.slice(1), eighth: loads[0]! };
}

async function besideEqual(clients: ClientProcess[], budget: Budget): Promise<Beside> {
  const loads = await together(clients, 'device', budget);
  return { victims: loads.slice(1), eighth: loads[0]! };
}

function flooded(budget: Budget): Promise<Outcome> {
  return withEight(async (clients) => {
    const floods: number[] = [];
    const victims: number[] = [];
    const samples = await compare(
      budget.rounds,
      async () => {
        const beside = await besideFlood(clients, budget);
        floods.push(beside.eighth.rate);
        victims.push(sum(rates(beside.victims)) / beside.victims.length);
        return jainIndex(rates(beside.victims));
      },
      async () => jainIndex(rates((await besideEqual(clients, budget)).victims)),
    );
    return {
      samples,
      notes: [
        LOAD_NOTE,
        `seven of them beside one that keeps a raw queue of ${FLOOD_DEPTH} full; the index is that of the seven`,
        `MB/s, the warm-up round first: the flooding client ${listed(floods, 1)}; ` +
          `the mean of the others ${listed(victims, 1)}`,
      ],
    };
  });
}

function p99({ victims }: Beside): number {
  const latencies = Float64Array.from(victims.flatMap((victim) => victim.latencies));
  return latencies.length === 0 ? Number.POSITIVE_INFINITY : quantile(latencies, 0.99);
}

function floodedP99(budget: Budget): Promise<Outcome> {
  return withEight(async (clients) => {
    const { value, baseline } = await compare(
      budget.rounds,
      async () => p99(await besideFlood(clients, budget)),
      async () => p99(await besideEqual(clients, budget)),
    );
    const equal = median(baseline)!;
    return {
      samples: { value: value.map((us) => us / equal), baseline: baseline.map((us) => us / equal) },
      notes: [
        LOAD_NOTE,
        'p99 of the requests of the seven, as a multiple of what it is beside an equal eighth client',
        `p99 in us: beside the flood ${listed(value, 0)}; beside an equal client ${listed(baseline, 0)}`,
      ],
    };
  });
}
