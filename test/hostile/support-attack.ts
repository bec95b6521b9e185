import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { json } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import type { BrokerReport } from '../../src/broker/info.js';
import { Broker, type BrokerOptions, noop, until } from '../broker/support-broker.js';
import { HonestClient } from './support-honest.js';

const ENGINES = 2;
/** What the broker has room for by default. */
const DEFAULT_CLIENTS = 256;
/** Keeps the young generation of a heap small, so that what is held can be told from what is not collected yet. */
const SMALL_HEAP = { NODE_OPTIONS: '--max-semi-space-size=1' };
/** Mappings that come and go with the heap of a process that runs JavaScript. */
const HEAP_MAPPINGS = 120;
/** Memory that a heap, and what was freed but not given back, may take up. */
const HEAP_MIB = 96;

/** Nothing slows a hostile client down, so that it gets the most into its time. */
export const NO_LIMITS = {
  client: {
    queues: 'unlimited',
    regions: 'unlimited',
    mappedBytes: 'unlimited',
    sessions: 64,
    setupsPerSecond: 'unlimited',
  },
  user: {
    clients: 'unlimited',
    queues: 'unlimited',
    regions: 'unlimited',
    mappedBytes: 'unlimited',
    setupsPerSecond: 'unlimited',
  },
};

/** What a process holds. */
export interface Footprint {
  fds: number;
  threads: number;
  mappings: number;
  /** Mappings of shared memory: what clients map, and what is made for them. */
  shared: number;
  residentMib: number;
}

export function footprint(pid: number): Footprint {
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8').trimEnd().split('\n');
  const resident = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1];
  return {
    fds: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
    mappings: maps.length,
    shared: maps.filter((line) => line.includes('/memfd:')).length,
    residentMib: Math.round(Number(resident) / 1024),
  };
}

/** What a broker says of itself. */
async function report(broker: Broker): Promise<BrokerReport> {
  return (await json(connect(`${broker.socket}.info`))) as BrokerReport;
}

/** A broker in a process of its own that is attacked, and an honest client that must not notice. */
export class Attack {
  readonly broker: Broker;
  readonly honest: HonestClient;
  readonly #pid: number;
  /** By the number of engine threads: those that idle go, and come again. */
  readonly #before: ReadonlyMap<number, Footprint>;

  private constructor(broker: Broker, honest: HonestClient, before: ReadonlyMap<number, Footprint>) {
    this.broker = broker;
    this.honest = honest;
    this.#pid = broker.pid;
    this.#before = before;
    honest.start();
  }

  /** How many clients the broker takes besides the honest one and another: fewer where the limit on open files is low. */
  get room(): number {
    const line = this.broker.logs.find(
      ({ message }) => message === 'the limit on open files allows fewer clients',
    );
    return Number(line?.['maxClients'] ?? DEFAULT_CLIENTS) - 2;
  }

  static async start(t: TestContext, config: object = {}, options: BrokerOptions = {}): Promise<Attack> {
    const broker = await Broker.start(t, ['--engines', `${ENGINES}`], {
      config: { limits: NO_LIMITS, logLevel: 'warning', ...config },
      env: SMALL_HEAP,
      ...options,
    });
    const honest = await HonestClient.open(await broker.device());
    t.after(() => honest.end());
    // Whatever is made once is made before anything is counted; and by how many engine threads there are, it is.
    const other = await HonestClient.open(await broker.device());
    await other.round();
    await honest.round();
    await other.end();
    await until(async () => (await report(broker)).clientCount === 1, 'the other client is gone');
    const before = new Map<number, Footprint>();
    await until(async () => (await report(broker)).device.threads === 1, 'one engine thread is left');
    before.set(1, footprint(broker.pid));
    await until(async () => {
      await honest.burst();
      return (await report(broker)).device.threads === ENGINES;
    }, 'all engine threads run');
    await honest.round();
    before.set(ENGINES, footprint(broker.pid));
    return new Attack(broker, honest, before);
  }

  /** Waits until the honest client has had so much more done. */
  async honestGoesOn(rounds = 3): Promise<void> {
    const goal = this.honest.rounds + rounds;
    await until(() => {
      this.honest.check();
      return this.honest.rounds >= goal;
    }, 'the honest client is served');
  }

  /** Every hostile client is gone: the broker has survived them, and holds what it held before. */
  async survived(): Promise<void> {
    await this.honestGoesOn();
    await this.honest.stop();
    await this.#isAsBefore();
    const { broker } = this;
    const next = await broker.device();
    await noop(next);
    await next.close();
    await this.honest.end();
    assert.equal(broker.pid, this.#pid);
    const errors = broker.logs.filter(({ level }) => level === 'ERROR' || level === 'FATAL');
    assert.deepEqual(errors, []);
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
  }

  async #isAsBefore(): Promise<void> {
    let before: Footprint | undefined;
    let after: Footprint | undefined;
    const isBack = async (): Promise<boolean> => {
      const { clientCount, device } = await report(this.broker);
      before = this.#before.get(device.threads);
      after = footprint(this.#pid);
      return (
        clientCount === 1 &&
        before !== undefined &&
        after.fds === before.fds &&
        after.threads === before.threads &&
        after.shared === before.shared &&
        after.mappings <= before.mappings + HEAP_MAPPINGS &&
        after.residentMib <= before.residentMib + HEAP_MIB
      );
    };
    try {
      await until(isBack, 'the broker holds what it held before');
    } finally {
      console.log(
        `${this.honest.rounds} honest rounds; ${JSON.stringify(before)} -> ${JSON.stringify(after)}`,
      );
    }
  }
}
