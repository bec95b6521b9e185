import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OPCODE, STATUS } from '../../src/abi/queue.js';
import { IRQ, REGION } from '../../src/abi/registers.js';
import { COMMAND, IRQ_SET_FLAG } from '../../src/abi/vfio-user.js';
import { type DriverDevice, Submission } from '../../src/driver/driver.js';
import { closeFd, createEventfd } from '../../src/sys/fd.js';
import { ERRNO } from '../../src/sys/libc.js';
import { MAX_FDS } from '../../src/sys/socket.js';
import { Broker, completion, noop, until } from '../broker/support-broker.js';
import { HostileClient, message, words } from '../support/hostile-client.js';
import { requirement } from '../support/requirement.js';
import { footprint, NO_LIMITS } from './support-attack.js';
import { HonestClient } from './support-honest.js';

const CONFIG = { limits: NO_LIMITS, logLevel: 'warning', handshakeSeconds: 60 };
const VECTORS = 64;
/** Descriptors that a process must always have left: what a thread opens when it starts, and more. */
const RESERVE = 48;

/** How many descriptors this process may have. */
function hardLimit(): number {
  return Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 1e9);
}

function route(index: number, start: number, count: number): Buffer {
  return words(20, IRQ_SET_FLAG.eventfd | IRQ_SET_FLAG.trigger, index, start, count);
}

async function raw(broker: Broker): Promise<HostileClient> {
  const client = new HostileClient(broker.open(), { receive: () => {} });
  await client.negotiate();
  return client;
}

/** Makes the broker hold all the descriptors that it takes; how many interrupts it took. */
async function hoard(client: HostileClient, fd: number): Promise<number> {
  const ask = async (index: number, start: number, count: number): Promise<boolean> => {
    const reply = await client.ask(COMMAND.setIrqs, route(index, start, count), Array(count).fill(fd));
    assert.ok(reply!.error === 0 || reply!.error === ERRNO.EMFILE, `errno ${reply!.error}`);
    return reply!.error === 0;
  };
  let routed = (await ask(IRQ.error, 0, 1)) ? 1 : 0;
  for (let count = MAX_FDS, start = 0; count >= 1; ) {
    const room = Math.min(count, VECTORS - start);
    if (room > 0 && (await ask(IRQ.msix, start, room))) {
      routed += room;
      start += room;
    } else count >>= 1;
  }
  // And half a message, with as many again.
  const half = message(COMMAND.setIrqs, route(IRQ.msix, 0, MAX_FDS)).subarray(0, 20);
  assert.ok(await client.send(half, Array(MAX_FDS).fill(fd)));
  return routed;
}

/** The first request without work kills the engine thread that takes it (see `env`); the next thread answers it. */
async function killEngine(device: DriverDevice): Promise<void> {
  const queue = await device.createQueue({ depth: 4 });
  const request = new Submission();
  request.operation = OPCODE.noop;
  assert.ok(queue.submit(request));
  queue.publish();
  assert.equal((await completion(queue)).status, STATUS.ok);
  await queue.release();
}

describe('descriptors of a broker', () => {
  test('hundreds of clients that take all they get leave it enough, and others theirs', async (t) => {
    const limit = 2048;
    if (!requirement(t, hardLimit() >= limit, `a limit of ${limit} open files`)) return;
    const broker = await Broker.start(t, ['--engines', '2', '--max-clients', '512'], {
      config: CONFIG,
      env: { WARPDRIVE_INJECT: 'kill:noop:1' },
      wrapper: ['sh', '-c', `ulimit -n ${limit}; exec "$@"`, 'sh'],
    });
    const room = Number((await broker.logged('the limit on open files allows fewer clients'))['maxClients']);
    assert.ok(room >= 190, `${room} clients fit`);
    const honest = await HonestClient.open(await broker.device());
    t.after(() => honest.end());
    honest.start();
    const irq = createEventfd();
    const greedy: HostileClient[] = [];
    let routed = 0;
    for (let made = 0; made < room - 2; made++) {
      const client = await raw(broker);
      greedy.push(client);
      routed += await hoard(client, irq);
      const open = broker.openFds;
      assert.ok(open <= limit - RESERVE, `${open} of ${limit} descriptors are open`);
    }
    console.log(`${greedy.length} hostile clients, ${routed} interrupts, ${broker.openFds} descriptors open`);
    const victim = await broker.device();
    await killEngine(victim);
    await broker.logged('an engine thread died, and is replaced');
    // Four queues are everybody's: each has an interrupt, beside the one for errors.
    for (let queue = 0; queue < 4; queue++) await victim.createQueue({ depth: 4 });
    const rounds = honest.rounds;
    await until(() => {
      honest.check();
      return honest.rounds > rounds + 10;
    }, 'the honest client is served');
    await honest.stop();
    for (const client of greedy) client.close();
    await victim.close();
    await until(async () => broker.openFds < 64, 'all of it is closed');
    const next = await broker.device();
    await noop(next);
    await next.close();
    await honest.end();
    closeFd(irq);
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
  });

  test('a thousand clients at once, a hundred of them with queues, are all served', async (t) => {
    const clients = 1000;
    const withQueues = 100;
    if (!requirement(t, hardLimit() >= 12_000, 'a limit of 12000 open files')) return;
    const broker = await Broker.start(t, ['--engines', '2', '--max-clients', `${clients}`], {
      config: CONFIG,
    });
    const before = footprint(broker.pid);
    const held: HostileClient[] = [];
    for (let made = 0; made < clients - withQueues; made++) held.push(await raw(broker));
    const connected = footprint(broker.pid);
    const devices: DriverDevice[] = [];
    const queues = [];
    for (let made = 0; made < withQueues; made++) {
      const device = await broker.device();
      devices.push(device);
      for (let queue = 0; queue < 3; queue++) queues.push(await device.createQueue({ depth: 16 }));
    }
    const full = footprint(broker.pid);
    const kib = ((connected.residentMib - before.residentMib) * 1024) / held.length;
    console.log(`${Math.round(kib)} KiB for a connection; ${JSON.stringify([before, connected, full])}`);
    const request = new Submission();
    request.operation = OPCODE.noop;
    for (let round = 0; round < 3; round++) {
      for (const queue of queues) {
        assert.ok(queue.submit(request));
        queue.publish();
      }
      for (const queue of queues) assert.equal((await completion(queue)).status, STATUS.ok);
    }
    for (const client of held) assert.ok(await client.answers());
    await assert.rejects(broker.connect(), /EBUSY|all the clients/);
    for (const client of held) client.close();
    for (const device of devices) await device.close();
    await until(() => broker.openFds <= before.fds, 'all of it is closed');
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
  });

  test('a crowd that reads no answers does not use up what may be on its way', async (t) => {
    const drop = ['setpriv', '--bounding-set=-all', '--inh-caps=-all'];
    const canDrop = spawnSync(drop[0]!, [...drop.slice(1), 'true']).status === 0;
    if (!requirement(t, canDrop, 'setpriv, and the right to drop capabilities')) return;
    // The kernel bounds the descriptors that a user has on their way by the limit on open files, but for the privileged.
    const broker = await Broker.start(t, ['--engines', '1', '--max-clients', '512'], {
      config: CONFIG,
      wrapper: [...drop, 'sh', '-c', 'ulimit -n 1024; exec "$@"', 'sh'],
    });
    const honest = await broker.device();
    const deaf: HostileClient[] = [];
    const questions: number[] = [];
    const ask = message(COMMAND.getRegionInfo, words(4096, 0, REGION.doorbells, 0, 0, 0, 0, 0));
    for (let made = 0; made < 40; made++) {
      const client = await raw(broker);
      deaf.push(client);
      // As many questions as the broker takes: each answer has a descriptor.
      let asked = 0;
      while (asked < 400 && client.trySend(ask) > 0) asked++;
      questions.push(asked);
      if (made % 10 === 0) await noop(honest);
    }
    // Somebody new needs three descriptors from the broker.
    const next = await broker.device();
    await noop(next);
    await noop(honest);
    // Who reads at last gets every answer.
    assert.ok(questions[0]! > 100);
    for (let answered = 0; answered < questions[0]!; answered++) {
      await sleep(1);
      assert.equal((await deaf[0]!.receive())?.fdCount, 1);
    }
    for (const client of deaf) client.close();
    for (const device of [next, honest]) await device.close();
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
  });
});
