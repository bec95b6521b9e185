import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inflateRawSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, STATUS, statusName } from '../../src/abi/queue.js';
import { Account, type Limits, UNLIMITED } from '../../src/device/account.js';
import type { ClientOptions } from '../../src/device/function.js';
import { HEADER, QUEUE } from '../../src/device/state.js';
import { Completion, type DeviceMemory, type DriverDevice } from '../../src/driver/driver.js';
import { wva } from '../../src/driver/wva/wva.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { ERRNO } from '../../src/sys/libc.js';
import { execute, next, put, sampleText, until } from './support-device.js';
import { LocalDevice } from './support-local-device.js';

/* What clients of one device are to each other. */

const TEXT = sampleText(65536);

interface Client {
  driver: DriverDevice;
  queues: WvaQueue[];
  memory: DeviceMemory;
}

async function connect(
  local: LocalDevice,
  options: Partial<ClientOptions> = {},
  queues = 1,
  depth = 64,
): Promise<Client> {
  const driver = await wva.open(await local.connect('client', options));
  const memory = await driver.allocate(1 << 18);
  memory.mapping.bytes.set(TEXT);
  const made: WvaQueue[] = [];
  for (let i = 0; i < queues; i++) made.push((await driver.createQueue({ depth })) as WvaQueue);
  return { driver, queues: made, memory };
}

function compression(memory: DeviceMemory, sourceLength = 8192): Parameters<typeof put>[1] {
  return {
    opcode: OPCODE.compress,
    algorithm: ALGORITHM['deflate-raw'],
    level: 1,
    source: memory.iova,
    sourceLength,
    destination: memory.iova + 131072,
    capacity: 131072,
  };
}

function limited(limits: Partial<Limits>, local?: LocalDevice): Account {
  return new Account({ ...UNLIMITED, ...limits }, undefined, local?.ledger);
}

/** Fills every queue of some clients; returns how many requests each had done when one of them had all done. */
async function race(clients: Client[], first: number, lengths: number[] = []): Promise<number[]> {
  clients.forEach(({ queues, memory }, index) => {
    for (const queue of queues) {
      while (queue.inFlight < queue.depth) {
        put(queue.pair, { ...compression(memory, lengths[index] ?? 32768), level: 6 });
      }
    }
  });
  for (const { queues } of clients) for (const queue of queues) queue.publish();
  const done = clients.map(() => 0);
  const completion = new Completion();
  const all = clients[first]!.queues.reduce((sum, queue) => sum + queue.depth, 0);
  while (done[first]! < all) {
    clients.forEach(({ queues }, index) => {
      for (const queue of queues) {
        // One at a time, so that none is far ahead only because it was looked at last.
        if (!queue.poll(completion)) continue;
        assert.equal(completion.status, STATUS.ok);
        done[index]!++;
      }
    });
    await new Promise((resolve) => setImmediate(resolve));
  }
  return done;
}

/** A device for several clients, with one engine thread. */
function start(t: TestContext, maxClients: number, faults: string[] = []): Promise<LocalDevice> {
  return LocalDevice.start(t, maxClients, { faults, shared: { coolMs: 2 } });
}

/*
 * Bounds are wide: a thread that loses its processor for some milliseconds misses some requests of the others. What is
 * ruled out lies beyond them: turns by queue, or by request.
 */
describe('fairness', () => {
  test('a client with eight full queues gets no more than one with one', async (t) => {
    const local = await start(t, 2);
    const clients = [await connect(local, {}, 8, 32), await connect(local, {}, 1, 32)];
    const [many, one] = await race(clients, 1);
    assert.ok(many! < 4 * one! && many! >= one! / 2, `${many} and ${one}; by queue it would be 256 and 32`);
    for (const { driver } of clients) await driver.close();
  });

  test('work is what counts, not requests', async (t) => {
    const local = await start(t, 2);
    const clients = [await connect(local, {}, 1, 32), await connect(local, {}, 1, 512)];
    const [large, small] = await race(clients, 0, [65536, 4096]);
    assert.ok(small! > 3 * large!, `${large} and ${small}; by request it would be 32 and 32`);
    for (const { driver } of clients) await driver.close();
  });

  test('weights divide the work', async (t) => {
    const local = await start(t, 2);
    const clients = [await connect(local, { weight: 4 }), await connect(local, { weight: 1 })];
    const [heavy, light] = await race(clients, 0);
    assert.ok(light! < heavy! * 0.6 && light! > heavy! * 0.1, `${heavy} and ${light}`);
    for (const { driver } of clients) await driver.close();
  });

  test('a client of the latency class gets its share and no more', async (t) => {
    const local = await start(t, 3);
    const clients = [
      await connect(local, { lowLatency: true }, 8, 32),
      await connect(local, {}, 1, 32),
      await connect(local, {}, 1, 32),
    ];
    const [urgent, one] = await race(clients, 1);
    assert.ok(urgent! < 4 * one!, `${urgent} and ${one}; without an end to it, it would be 256 and 0`);
    for (const { driver } of clients) await driver.close();
  });

  test('a client that takes no completions, and one that rings without publishing, hold up nobody', async (t) => {
    const local = await start(t, 3);
    const [lazy, liar, honest] = [await connect(local), await connect(local), await connect(local)];
    for (let i = 0; i < 64; i++) put(lazy.queues[0]!.pair, compression(lazy.memory));
    lazy.queues[0]!.publish();
    const tail = liar.queues[0]!.pair;
    for (let i = 0; i < 64; i++) {
      // Reserved, and then taken back: the doorbell says that it is there, the sequence that it is not.
      const at = tail.reserve();
      tail.sq[at] = 0;
    }
    liar.queues[0]!.publish();
    for (let i = 0; i < 200; i++) {
      const done = await execute(honest.queues[0]!, compression(honest.memory));
      assert.equal(statusName(done.status), 'ok');
    }
    for (let i = 0; i < 64; i++) assert.equal((await next(liar.queues[0]!)).status, STATUS.staleSlot);
    for (const { driver } of [lazy, liar, honest]) await driver.close();
  });
});

describe('hot and cold queues', () => {
  test('an idle queue is not polled, and a ring brings it back, whenever it comes', async (t) => {
    const local = await start(t, 2);
    const clients = [await connect(local), await connect(local)];
    const { state } = local.device;
    for (let round = 0; round < 150; round++) {
      for (const { queues } of clients) {
        assert.equal((await execute(queues[0]!, { requestId: round })).requestId, round);
      }
      await sleep(round % 8);
    }
    // A busy neighbour keeps the engine awake: it cools the other queue, and looks for its rings.
    let stop = false;
    const busy = (async () => {
      while (!stop) await execute(clients[0]!.queues[0]!, compression(clients[0]!.memory));
    })();
    for (let round = 0; round < 20; round++) {
      await until(() => !state.isHot(1), 'the second is cold');
      await until(() => Atomics.load(state.words, HEADER.coldQueues) > 0, 'it is counted');
      assert.equal((await execute(clients[1]!.queues[0]!, { requestId: round })).requestId, round);
    }
    stop = true;
    await busy;
    for (const { driver } of clients) await driver.close();
    await until(() => local.gone === 2, 'both have gone');
    assert.equal(Atomics.load(state.words, HEADER.coldQueues), 0);
    assert.ok(!state.isHot(0) && !state.isHot(1));
  });
});

describe('quotas', () => {
  test('queues, depth, memory and regions beyond the limit are refused, and come back when given back', async (t) => {
    const local = await start(t, 2);
    const user = limited({ queues: 3 });
    const account = new Account(
      { ...UNLIMITED, queues: 2, depth: 64, mappedBytes: 1 << 20, regions: 6 },
      user,
    );
    const { driver, queues } = await connect(local, { account });
    const overQuota = { errno: ERRNO.EDQUOT };
    await assert.rejects(driver.createQueue({ depth: 128 }), overQuota);
    await driver.createQueue({ depth: 8 });
    await assert.rejects(driver.createQueue({ depth: 8 }), overQuota);
    await assert.rejects(driver.allocate(1 << 20), overQuota);
    const other = await connect(local, { account: new Account(UNLIMITED, user) });
    await assert.rejects(other.driver.createQueue({ depth: 8 }), overQuota);
    await queues[0]!.release();
    await other.driver.createQueue({ depth: 8 });
    assert.equal((await execute(other.queues[0]!, { requestId: 4 })).requestId, 4);
    await driver.close();
    await other.driver.close();
    await until(() => local.gone === 2, 'both have gone');
    for (const name of ['queues', 'mappedBytes', 'regions'] as const) {
      assert.equal(user.held(name), 0, name);
      assert.equal(account.held(name), 0, name);
    }
  });

  test('sessions are counted for each client', async (t) => {
    const local = await start(t, 2);
    const account = limited({ sessions: 2 }, local);
    const [some, others] = [await connect(local, { account }), await connect(local)];
    const openSession = { opcode: OPCODE.sessionOpen, algorithm: ALGORITHM.gzip };
    const first = await execute(some.queues[0]!, openSession);
    assert.equal(first.status, STATUS.ok);
    assert.equal((await execute(some.queues[0]!, openSession)).status, STATUS.ok);
    assert.equal((await execute(some.queues[0]!, openSession)).status, STATUS.noResources);
    assert.equal((await execute(others.queues[0]!, openSession)).status, STATUS.ok);
    const close = { opcode: OPCODE.sessionClose, session: first.result };
    assert.equal((await execute(some.queues[0]!, close)).status, STATUS.ok);
    assert.equal((await execute(some.queues[0]!, openSession)).status, STATUS.ok);
    for (const { driver } of [some, others]) await driver.close();
  });

  test('requests beyond the bytes in flight wait, and one that is larger runs alone', async (t) => {
    const local = await LocalDevice.start(t, 2, { maxThreads: 2 });
    const client = await connect(local, { account: limited({ inFlightBytes: 65536 }, local) }, 2);
    for (let i = 0; i < 10; i++) {
      for (const queue of client.queues) {
        put(queue.pair, { ...compression(client.memory, 65536), requestId: i });
        queue.publish();
      }
    }
    for (const queue of client.queues) {
      for (let i = 0; i < 10; i++) assert.equal(statusName((await next(queue)).status), 'ok');
    }
    await client.driver.close();
  });

  test('commands that set something up are slowed down to their rate', () => {
    const account = limited({ setupsPerSecond: 100 });
    for (let i = 0; i < 100; i++) assert.equal(account.spendSetup(), 0);
    // The bucket fills while the test runs, so some more may be free; not as many again.
    const waits = Array.from({ length: 100 }, () => account.spendSetup());
    assert.ok(waits.at(-1)! > 100, `${waits.at(-1)}`);
  });
});

describe('an engine thread that dies', () => {
  for (const [what, fault] of [
    ['executing', 'kill:compress:3'],
    ['in a turn', 'kill:noop:3'],
  ] as const) {
    test(`${what}, it is replaced, and only what it had in hand fails`, async (t) => {
      const deaths: string[] = [];
      const local = await LocalDevice.start(t, 2, {
        faults: [fault],
        shared: { onThreadDeath: (reason) => deaths.push(reason) },
      });
      const clients = [await connect(local), await connect(local)];
      const statuses: string[] = [];
      for (let i = 0; i < 8; i++) {
        for (const { queues, memory } of clients) {
          put(queues[0]!.pair, fault.includes('noop') ? {} : compression(memory));
          queues[0]!.publish();
        }
        for (const { queues } of clients) statuses.push(statusName((await next(queues[0]!)).status));
      }
      await until(() => deaths.length === 1, 'the death is told');
      const failed = statuses.filter((status) => status !== 'ok');
      assert.deepEqual(failed, fault.includes('noop') ? [] : ['engineFailed']);
      for (const { queues, memory } of clients) {
        const done = await execute(queues[0]!, compression(memory));
        assert.equal(done.status, STATUS.ok);
        const bytes = memory.mapping.bytes.subarray(131072, 131072 + done.produced);
        assert.ok(inflateRawSync(bytes).equals(TEXT.subarray(0, 8192)));
      }
      const { state } = local.device;
      for (const block of [0, 1]) assert.equal(state.words[state.queue(block) + QUEUE.inFlight], 0);
      for (const { driver } of clients) await driver.close();
      await until(() => local.gone === 2, 'both have gone');
    });
  }
});
