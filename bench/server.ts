import { createRequire } from 'node:module';
import { withBrokers } from './broker-process.js';
import { type Budget, compare, median, type Outcome, type RowPlan, type Suite } from './measure.js';
import { TaskProcess } from './server-process.js';
import type { LoadFigures, ServerFigures, ServerSettings, Side } from './server-task.js';
import { jsonTexts } from './server-text.js';

/** What this suite drives; programs that only use this package have no need of it. */
const PACKAGES = ['fastify', '@fastify/compress', 'autocannon'];
const KIB = 1024;
const ROUNDS = 5;
const SECONDS = 2;
const QUICK_SECONDS = 0.2;
/** The share of what node:zlib can answer that both sides are asked for where latencies are compared. */
const EQUAL_SHARE = 0.7;
/** Runs that find out how much that is. */
const RATE_ROUNDS = 3;
/** In rows called sync, answers up to this size are compressed in one call, in the server's thread. */
const SYNC_BYTES = 64 * KIB;

interface Case {
  name: string;
  level: number;
  kib: number;
  isBroker?: boolean;
  /** Undefined for what @fastify/compress chooses. */
  syncThreshold?: number;
  atLeast: number;
}

const EQUAL_RATE: Case = { name: 'gzip1-20k-p99', level: 1, kib: 20, atLeast: 2 };

const CASES: Case[] = [1, 6].flatMap((level) =>
  [2, 20, 200].flatMap((kib) => {
    const name = `gzip${level}-${kib}k`;
    const atLeast = level === 1 && kib === 20 ? 1.5 : 1;
    const plain: Case = { name, level, kib, atLeast };
    const broker = { ...plain, name: `${name}-broker`, isBroker: true, atLeast: 1 };
    const sync = { ...plain, name: `${name}-sync`, syncThreshold: SYNC_BYTES };
    return kib === 20 ? [plain, broker, sync] : [plain, broker];
  }),
);

export const server: Suite = {
  name: 'server',
  rows: [
    ...CASES.map((of) => row(of, 'requests/s', 'higher', (budget) => race(budget, of))),
    row(EQUAL_RATE, 'ms p99', 'lower', (budget) => raceAtEqualRate(budget, EQUAL_RATE)),
  ],
};

function row(
  { name, atLeast }: Case,
  unit: string,
  better: RowPlan['better'],
  run: (budget: Budget) => Promise<Outcome>,
): RowPlan {
  const target = { of: 'ratio', atLeast } as const;
  const runIfPossible = async (budget: Budget): Promise<Outcome> => {
    const missing = PACKAGES.filter((name) => !isInstalled(name));
    if (missing.length === 0) return run(budget);
    const skipped = `${missing.join(', ')} not installed: npm install ${PACKAGES.join(' ')}`;
    return { samples: { value: [], baseline: [] }, skipped };
  };
  return { name, unit, better, baseline: 'node:zlib', target, run: runIfPossible };
}

function isInstalled(name: string): boolean {
  try {
    createRequire(import.meta.url).resolve(name);
    return true;
  } catch {
    return false;
  }
}

/** As many requests as there can be, in turns to a server with our zlib and to one with Node's. */
function race(budget: Budget, of: Case): Promise<Outcome> {
  return withServers(of, async (servers) => {
    const seconds = budget.quick ? QUICK_SECONDS : SECONDS;
    const run = async (side: Side): Promise<number> => (await servers.load(side, seconds)).perSecond;
    const samples = await compare(
      ROUNDS,
      () => run('warpdrive'),
      () => run('node'),
    );
    return { samples, notes: servers.notes() };
  });
}

/** The same number of requests a second to both servers. */
function raceAtEqualRate(budget: Budget, of: Case): Promise<Outcome> {
  return withServers(of, async (servers) => {
    const seconds = budget.quick ? QUICK_SECONDS : SECONDS;
    const rates: number[] = [];
    while (rates.length < RATE_ROUNDS) rates.push((await servers.load('node', seconds)).perSecond);
    const rate = EQUAL_SHARE * median(rates)!;
    servers.forget();
    const run = async (side: Side): Promise<number> => (await servers.load(side, seconds, rate)).p99Ms;
    const samples = await compare(
      ROUNDS,
      () => run('warpdrive'),
      () => run('node'),
    );
    return { samples, notes: [`at ${Math.round(rate)} requests/s`, ...servers.notes()] };
  });
}

/** Runs something with both servers, and ends them whatever comes of it. */
function withServers(of: Case, use: (servers: Servers) => Promise<Outcome>): Promise<Outcome> {
  return withBrokers(of.isBroker ? 1 : 0, async ([broker]) => {
    const servers = new Servers(broker?.device ?? 'embedded');
    try {
      await servers.listen(of);
      return await use(servers);
    } finally {
      await servers.stop();
    }
  });
}

/** A server for each side, and what loads them, in processes of their own. */
class Servers {
  readonly #load = new TaskProcess('./server-load-child.js');
  readonly #processes: Record<Side, TaskProcess>;
  readonly #ports: Record<Side, number> = { warpdrive: 0, node: 0 };
  readonly #figures: Record<Side, (LoadFigures & ServerFigures)[]> = { warpdrive: [], node: [] };

  constructor(device: string) {
    const make = () => new TaskProcess('./server-child.js', { WARPDRIVE_DEVICE: device });
    this.#processes = { warpdrive: make(), node: make() };
  }

  async listen({ level, kib, syncThreshold }: Case): Promise<void> {
    const texts = jsonTexts(kib * KIB);
    for (const side of ['warpdrive', 'node'] as const) {
      const settings: ServerSettings = { side, level, texts, syncThreshold };
      this.#ports[side] = await this.#processes[side].ask<number>({ kind: 'listen', ...settings });
      await this.#check(side, texts);
    }
  }

  /** Whether the answers are right, and whose they are. */
  async #check(side: Side, texts: string[]): Promise<void> {
    for (const text of texts) {
      const answer = await fetch(`http://127.0.0.1:${this.#ports[side]}/`);
      if (answer.headers.get('content-encoding') !== 'gzip') throw new Error('the server does not compress');
      if ((await answer.text()) !== text) throw new Error('the server sends something else');
    }
    const { accelerated } = await this.#read(side);
    const expected = side === 'warpdrive' ? texts.length : 0;
    if (accelerated < expected || (accelerated > 0 && expected === 0)) {
      throw new Error(`the server with ${side} has ${accelerated} answers of the accelerator`);
    }
  }

  #read(side: Side): Promise<ServerFigures> {
    return this.#processes[side].ask({ kind: 'figures' });
  }

  /** Loads one of the servers for a while. */
  async load(side: Side, seconds: number, rate?: number): Promise<LoadFigures> {
    await this.#read(side);
    const load: LoadFigures = await this.#load.ask({ port: this.#ports[side], seconds, rate });
    this.#figures[side].push({ ...load, ...(await this.#read(side)) });
    return load;
  }

  /** What was measured so far is not to be in the notes. */
  forget(): void {
    for (const figures of Object.values(this.#figures)) figures.length = 0;
  }

  /** Medians of everything that was measured, for both sides. */
  notes(): string[] {
    return (['warpdrive', 'node'] as const).map((side) => {
      const of = (name: keyof (LoadFigures & ServerFigures), digits: number): string =>
        median(this.#figures[side].map((figures) => figures[name]))!.toFixed(digits);
      const resident = Math.max(...this.#figures[side].map(({ residentBytes }) => residentBytes)) / 1e6;
      return (
        `${side === 'node' ? 'node:zlib' : side}: ${of('perSecond', 0)} requests/s, p50 ${of('p50Ms', 2)} ms, ` +
        `p99 ${of('p99Ms', 2)} ms, event-loop delay p99 ${of('loopDelayMs', 1)} ms, ${resident.toFixed(0)} MB resident`
      );
    });
  }

  async stop(): Promise<void> {
    await Promise.all([...Object.values(this.#processes), this.#load].map((process) => process.kill()));
  }
}
