import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, STATUS, statusName } from '../../src/abi/queue.js';
import { Account, type Limits, UNLIMITED } from '../../src/device/account.js';
import { admit, Ledger, leave, mayAdmit } from '../../src/device/ledger.js';
import { HEADER, THREAD } from '../../src/device/state.js';
import type { DeviceMemory, DriverDevice } from '../../src/driver/driver.js';
import { wva } from '../../src/driver/wva/wva.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { execute, next, put, type RawSqe, sampleText, until } from './support-device.js';
import { LocalDevice } from './support-local-device.js';

/* What all clients of one user may hold together, where engine threads count it. */

const TEXT = sampleText(65536);
const KiB = 1024;

interface Client {
  account: Account;
  driver: DriverDevice;
  queue: WvaQueue;
  memory: DeviceMemory;
}

/** A client of a user; one without a user is bounded by nothing. */
async function connect(local: LocalDevice, user?: Account, limits: Partial<Limits> = {}): Promise<Client> {
  const account = new Account({ ...UNLIMITED, ...limits }, user, local.ledger);
  const driver = await wva.open(await local.connect('client', { account }));
  const memory = await driver.allocate(1 << 19);
  memory.mapping.bytes.set(TEXT);
  const queue = (await driver.createQueue({ depth: 64 })) as WvaQueue;
  return { account, driver, queue, memory };
}

function user(local: LocalDevice, limits: Partial<Limits>): Account {
  return new Account({ ...UNLIMITED, ...limits }, undefined, local.ledger);
}

/** A compression that counts as so many KiB in flight, and one more. */
function compression({ memory }: Client, kib: number): RawSqe {
  return {
    opcode: OPCODE.compress,
    algorithm: ALGORITHM['deflate-raw'],
    level: 1,
    source: memory.iova,
    sourceLength: 4 * KiB,
    destination: memory.iova + 65536,
    capacity: kib * KiB - 4 * KiB,
  };
}

function publish(client: Client, kib: number, count = 1): void {
  for (let i = 0; i < count; i++) put(client.queue.pair, compression(client, kib));
  client.queue.publish();
}

async function allDone(client: Client, count: number): Promise<void> {
  for (let i = 0; i < count; i++) assert.equal(statusName((await next(client.queue)).status), 'ok');
}

async function closeAll(local: LocalDevice, ...clients: Client[]): Promise<void> {
  for (const { driver } of clients) await driver.close();
  await until(() => local.gone === clients.length, 'all have gone');
}

describe('sessions of a user', () => {
  const open = { opcode: OPCODE.sessionOpen, algorithm: ALGORITHM.gzip };

  test('are bounded over all its clients, and come back from one that hoarded them', async (t) => {
    const local = await LocalDevice.start(t, 3);
    const ours = user(local, { sessions: 5 });
    const hoarder = await connect(local, ours);
    const sibling = await connect(local, ours, { sessions: 4 });
    const other = await connect(local, user(local, { sessions: 5 }));
    for (let i = 0; i < 5; i++) assert.equal((await execute(hoarder.queue, open)).status, STATUS.ok);
    for (const { queue } of [hoarder, sibling]) {
      assert.equal((await execute(queue, open)).status, STATUS.noResources);
    }
    assert.equal((await execute(other.queue, open)).status, STATUS.ok);
    assert.equal(ours.held('sessions'), 5);
    assert.equal(sibling.account.held('sessions'), 0);
    await hoarder.driver.close();
    await until(() => local.gone === 1, 'the hoarder has gone');
    for (let i = 0; i < 4; i++) assert.equal((await execute(sibling.queue, open)).status, STATUS.ok);
    assert.equal((await execute(sibling.queue, open)).status, STATUS.noResources, 'its own limit');
    await sibling.driver.close();
    await other.driver.close();
    await until(() => local.gone === 3, 'all have gone');
    assert.equal(ours.held('sessions'), 0);
  });

  test('a limit that is changed holds at once', async (t) => {
    const local = await LocalDevice.start(t, 2);
    const ours = user(local, { sessions: 1 });
    const clients = [await connect(local, ours), await connect(local, ours)];
    assert.equal((await execute(clients[0]!.queue, open)).status, STATUS.ok);
    assert.equal((await execute(clients[1]!.queue, open)).status, STATUS.noResources);
    ours.limits = { ...UNLIMITED, sessions: 2 };
    assert.equal((await execute(clients[1]!.queue, open)).status, STATUS.ok);
    ours.limits = { ...UNLIMITED, sessions: 1 };
    assert.equal((await execute(clients[1]!.queue, open)).status, STATUS.noResources);
    await closeAll(local, ...clients);
  });
});

describe('bytes of a user in flight', () => {
  const inFlight = (local: LocalDevice): number => {
    const { words, shape } = local.device.state;
    let sum = 0;
    for (let thread = 0; thread < shape.threads; thread++) {
      sum += Atomics.load(words, local.device.state.thread(thread) + THREAD.inFlightKib);
    }
    return sum;
  };

  /** A device with two engine threads, both running, and a client of it that nothing bounds. */
  async function twoThreads(
    t: TestContext,
    clients: number,
    faults: string[] = [],
  ): Promise<{ local: LocalDevice; free: Client }> {
    const local = await LocalDevice.start(t, clients, { maxThreads: 2, faults, shared: { coolMs: 2 } });
    const free = await connect(local);
    while (local.device.threads < 2) {
      for (let i = 0; i < 16; i++) {
        put(free.queue.pair, { ...compression(free, 128), sourceLength: 64 * KiB, level: 9 });
      }
      free.queue.publish();
      await allDone(free, 16);
    }
    return { local, free };
  }

  test('are bounded over all its clients, and those that wait are served when others are done', async (t) => {
    const { local, free } = await twoThreads(t, 3, ['delay=20:compress']);
    const ours = user(local, { inFlightBytes: 100 * KiB });
    const [one, two] = [await connect(local, ours), await connect(local, ours)];
    let most = 0;
    publish(one, 64, 12);
    publish(two, 64, 12);
    const counting = setInterval(() => {
      most = Math.max(most, inFlight(local), ours.held('inFlightBytes') / KiB);
    }, 1);
    await Promise.all([allDone(one, 12), allDone(two, 12)]);
    clearInterval(counting);
    assert.equal(most, 65, 'never two at once, and one was seen');
    assert.equal(ours.held('inFlightBytes'), 0);
    await closeAll(local, one, two, free);
  });

  test('hold back nobody else, and who waits costs no processor', async (t) => {
    const { local, free } = await twoThreads(t, 3, ['delay=700:decompress:1']);
    const ours = user(local, { inFlightBytes: 10 * KiB });
    const [one, two] = [await connect(local, ours), await connect(local, ours)];
    // Long enough by its looks that its thread is not counted on to poll meanwhile.
    const long = { opcode: OPCODE.decompress, level: 0, sourceLength: 60 * KiB, capacity: 4 * KiB };
    put(one.queue.pair, { ...compression(one, 64), ...long });
    one.queue.publish();
    await until(() => inFlight(local) === 65, 'the first is in flight');
    publish(two, 64, 1);
    for (let i = 0; i < 5; i++) assert.equal((await execute(free.queue, {})).status, STATUS.ok);
    const { words } = local.device.state;
    let asleep = 0;
    let looks = 0;
    while (inFlight(local) === 65) {
      looks++;
      asleep += Atomics.load(words, HEADER.sleepers);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.ok(looks > 100, 'the first took its time');
    // One that polls meanwhile never sleeps; one that sleeps may still be kept from doing so by other programs.
    assert.ok(asleep > looks / 10, `the other thread slept at ${asleep} of ${looks} looks`);
    assert.equal(statusName((await next(one.queue)).status), 'corrupt');
    await allDone(two, 1);
    await closeAll(local, one, two, free);
  });

  test('a large request is not kept out for ever by the small ones of others', async (t) => {
    const { local, free } = await twoThreads(t, 4);
    const ours = user(local, { inFlightBytes: 100 * KiB });
    const small = [await connect(local, ours), await connect(local, ours)];
    const large = await connect(local, ours);
    let stop = false;
    const busy = small.map(async (client) => {
      publish(client, 30, 32);
      while (!stop) {
        await allDone(client, 1);
        publish(client, 30);
      }
      await allDone(client, 32);
    });
    for (let i = 0; i < 20; i++) {
      publish(large, 100);
      await allDone(large, 1);
    }
    stop = true;
    await Promise.all(busy);
    assert.equal(ours.held('inFlightBytes'), 0);
    await closeAll(local, ...small, large, free);
  });

  test('are kept for whom they held back first, for as long as it asks', async (t) => {
    const ledger = Ledger.create(4);
    t.after(() => ledger.close());
    const { words } = ledger;
    const ours = new Account({ ...UNLIMITED, inFlightBytes: 100 * KiB }, undefined, ledger);
    const [one, two, three] = [1, 2, 3].map(() => new Account(UNLIMITED, ours).at) as [
      number,
      number,
      number,
    ];
    assert.ok(admit(words, one, 60));
    assert.ok(!admit(words, two, 80));
    assert.ok(!mayAdmit(words, three, 20) && !admit(words, three, 20), 'there is room, but the second waits');
    leave(words, one, 60);
    assert.ok(!admit(words, three, 20), 'still');
    assert.ok(mayAdmit(words, two, 80) && admit(words, two, 80));
    assert.ok(admit(words, three, 20));
    assert.ok(!admit(words, one, 1));
    await sleep(30);
    leave(words, three, 20);
    assert.ok(admit(words, three, 20), 'the first has not asked again');
    leave(words, three, 20);
    leave(words, two, 80);
    assert.ok(admit(words, two, 500), 'one that is larger than the limit runs alone');
    assert.ok(!admit(words, one, 1));
  });

  test('what an engine thread had counted that dies is given back', async (t) => {
    const local = await LocalDevice.start(t, 2, { faults: ['kill:compress:2'], shared: {} });
    const ours = user(local, { inFlightBytes: 10 * KiB, sessions: 1 });
    const clients = [await connect(local, ours), await connect(local, ours)];
    const statuses: string[] = [];
    for (const client of clients) publish(client, 64, 3);
    for (const { queue } of clients) {
      for (let i = 0; i < 3; i++) statuses.push(statusName((await next(queue)).status));
    }
    assert.deepEqual(statuses.sort(), ['engineFailed', 'ok', 'ok', 'ok', 'ok', 'ok']);
    assert.equal(ours.held('inFlightBytes'), 0);
    await closeAll(local, ...clients);
  });
});

describe('accounts', () => {
  test('hold what was taken and not given, never more than a limit, whatever happens in which order', () => {
    const names = ['queues', 'mappedBytes', 'sessions'] as const;
    const step = fc.record({
      client: fc.nat(2),
      name: fc.constantFrom(...names),
      units: fc.nat(6),
      takes: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const user = new Account({ ...UNLIMITED, queues: 9, mappedBytes: 9 * 4096, sessions: 9 });
        const clients = [6, 5, 100].map(
          (most) =>
            new Account({ ...UNLIMITED, queues: most, mappedBytes: most * 4096, sessions: most }, user),
        );
        const model = clients.map(() => ({ queues: 0, mappedBytes: 0, sessions: 0 }));
        const sum = (name: (typeof names)[number]): number => model.reduce((all, one) => all + one[name], 0);
        for (const { client, name, units, takes } of steps) {
          const size = name === 'mappedBytes' ? 4096 : 1;
          const mine = model[client]!;
          if (takes) {
            const fits = mine[name] + units <= [6, 5, 100][client]! && sum(name) + units <= 9;
            const take = (): void => clients[client]!.take(name, units * size);
            if (fits) {
              take();
              mine[name] += units;
            } else {
              assert.throws(take, /no more/);
            }
          } else if (mine[name] >= units) {
            clients[client]!.give(name, units * size);
            mine[name] -= units;
          }
          assert.equal(clients[client]!.held(name), mine[name] * size);
          assert.equal(user.held(name), sum(name) * size);
        }
        for (const each of clients) each.clear();
        for (const name of names) assert.equal(user.held(name), 0);
      }),
    );
  });

  test('refuse what no word could count', () => {
    const account = new Account();
    for (const amount of [2 ** 43, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY]) {
      assert.throws(() => account.take('mappedBytes', amount), /no more mappedBytes/);
    }
    account.take('mappedBytes', 2 ** 41);
    account.take('mappedBytes', 2 ** 41 - 4096);
    assert.throws(() => account.take('mappedBytes', 4096));
  });
});
