import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { DEVICE_REGISTERS, REGION } from '../../src/abi/registers.js';
import { wva } from '../../src/driver/wva/wva.js';
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

/** A broker in a process of its own that is attacked, and an honest client that must not notice. */
export class Attack {
  readonly broker: Broker;
  readonly honest: HonestClient;
  readonly #pid: number;
  readonly #before: Footprint;

  private constructor(broker: Broker, honest: HonestClient) {
    this.broker = broker;
    this.honest = honest;
    this.#pid = broker.pid;
    this.#before = footprint(this.#pid);
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
    const transport = await broker.connect();
    const device = await wva.open(transport);
    const honest = await HonestClient.open(device);
    t.after(() => honest.end());
    // Whatever is made once is made before anything is counted: both engine threads, and what a client that goes leaves.
    const busy = await HonestClient.open(await broker.device());
    await until(async () => {
      await busy.burst();
      const registers = await transport.readRegion(REGION.registers, 0, DEVICE_REGISTERS.bytes);
      return registers.readUInt32LE(DEVICE_REGISTERS.offset.threads) === ENGINES;
    }, 'all engine threads run');
    const { fds } = footprint(broker.pid);
    await busy.end();
    await until(() => footprint(broker.pid).fds < fds, 'the client that warmed it up is gone');
    await honest.round();
    return new Attack(broker, honest);
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
    const before = this.#before;
    let after = before;
    const isBack = (): boolean => {
      after = footprint(this.#pid);
      return (
        after.fds === before.fds &&
        after.threads <= before.threads &&
        after.shared === before.shared &&
        after.mappings <= before.mappings + HEAP_MAPPINGS &&
        after.residentMib <= before.residentMib + HEAP_MIB
      );
    };
    try {
      await until(isBack, 'the broker holds what it held before');
    } catch {
      assert.fail(`before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`);
    }
    console.log(`${this.honest.rounds} honest rounds; ${JSON.stringify(before)} -> ${JSON.stringify(after)}`);
  }
}
