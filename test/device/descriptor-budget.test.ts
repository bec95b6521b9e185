import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { IRQ } from '../../src/abi/registers.js';
import { COMMAND, IRQ_SET_FLAG } from '../../src/abi/vfio-user.js';
import { type ClientDescriptors, DescriptorBudget } from '../../src/device/descriptor-budget.js';
import { MemoryError, SystemError } from '../../src/errors.js';
import { closeFd, closeFds, createEventfd, createPipe } from '../../src/sys/fd.js';
import { bind, ERRNO } from '../../src/sys/libc.js';
import { MAX_FDS, sendBytes } from '../../src/sys/socket.js';
import { message, words } from '../support/hostile-client.js';
import { RemoteClient } from '../support/remote-client.js';
import { openFds, until } from './support-device.js';
import { LocalDevice } from './support-local-device.js';

const getrlimit = bind<(resource: number, limit: BigUint64Array) => number>(
  'int getrlimit(int resource, void *rlim)',
);
const setrlimit = bind<(resource: number, limit: BigUint64Array) => number>(
  'int setrlimit(int resource, void *rlim)',
);
/** <sys/resource.h>: bytes of address space. */
const RLIMIT_AS = 9;

const GUARANTEED = 6;

/** SET_IRQS: so many vectors from `start` on. */
function route(start: number, count: number): Buffer {
  return words(20, IRQ_SET_FLAG.eventfd | IRQ_SET_FLAG.trigger, IRQ.msix, start, count);
}

function shared(descriptors: DescriptorBudget): { maxClients: number; descriptors: DescriptorBudget } {
  return { maxClients: 4, descriptors };
}

describe('the budget of descriptors', () => {
  test('is never overdrawn, keeps what is guaranteed, and is whole again at the end', () => {
    const step = fc.record({
      client: fc.nat(5),
      count: fc.integer({ min: -20, max: 80 }),
      leave: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.nat(200), fc.array(step, { maxLength: 200 }), (pool, steps) => {
        const budget = new DescriptorBudget(GUARANTEED, pool);
        const clients: ClientDescriptors[] = Array.from({ length: 6 }, () => budget.client());
        for (const { client, count, leave } of steps) {
          const each = clients[client]!;
          if (leave) {
            each.close();
            clients[client] = budget.client();
          } else if (count < 0) {
            each.give(Math.min(-count, each.held));
          } else if (!each.take(count)) {
            assert.ok(each.held + count > GUARANTEED, 'what is guaranteed is not refused');
          }
          const borrowed = clients.reduce((sum, c) => sum + Math.max(0, c.held - GUARANTEED), 0);
          assert.equal(budget.free, pool - borrowed);
          assert.ok(budget.free >= 0);
        }
        for (const each of clients) each.close();
        assert.equal(budget.free, pool);
      }),
    );
  });

  test('leaves the next one as much as each of those who take all they can', () => {
    const budget = new DescriptorBudget(GUARANTEED, 1000);
    const greedy = Array.from({ length: 9 }, () => budget.client());
    for (let round = 0; round < 1000; round++) for (const each of greedy) each.take(1);
    assert.ok(budget.free >= 90, `${budget.free} of 1000 are left`);
    const next = budget.client();
    assert.ok(next.take(GUARANTEED + 40));
  });

  test('counts interrupts: those beyond it are refused, and nothing stays open', async (t) => {
    const budget = new DescriptorBudget(GUARANTEED, 20);
    const local = await LocalDevice.start(t, 4, { shared: shared(budget) });
    const client = local.hostile();
    await client.negotiate();
    const before = openFds();
    const irq = createEventfd();
    const ask = async (start: number, count: number): Promise<number> =>
      (await client.ask(COMMAND.setIrqs, route(start, count), Array(count).fill(irq)))!.error;
    assert.equal(await ask(0, MAX_FDS), 0);
    assert.equal(await ask(MAX_FDS, 1), ERRNO.EMFILE, 'half of the pool is borrowed');
    assert.equal(openFds(), before + 1 + MAX_FDS);
    const other = await local.connect();
    await other.setIrqs(IRQ.msix, 0, Array(GUARANTEED).fill(irq));
    // A route that is replaced gives its descriptor back; while both are there, both count.
    assert.equal(await ask(0, 1), ERRNO.EMFILE);
    assert.equal((await client.ask(COMMAND.setIrqs, route(0, 0)))!.error, 0);
    assert.ok(await client.answers());
    await other.close();
    client.close();
    await until(() => local.gone === 2, 'both are gone');
    assert.equal(budget.free, 20);
    closeFd(irq);
  });

  test('counts what half a message carries, and closes what there is no room for', async (t) => {
    const budget = new DescriptorBudget(GUARANTEED, 4);
    const local = await LocalDevice.start(t, 4, { shared: shared(budget) });
    const client = local.hostile();
    await client.negotiate();
    const before = openFds();
    const irq = createEventfd();
    const whole = message(COMMAND.setIrqs, route(0, 8));
    await client.send(whole.subarray(0, 20), Array(8).fill(irq));
    assert.equal(openFds(), before + 1 + 8);
    assert.equal(budget.free, 2);
    // More of them with the rest: no room, so they are closed, and the message is refused as a whole.
    await client.send(whole.subarray(20), Array(8).fill(irq));
    const reply = await client.receive();
    assert.equal(reply?.error, ERRNO.EMFILE);
    assert.equal(openFds(), before + 1);
    assert.equal(budget.free, 4);
    // The connection goes on, and one that hangs up in the middle of a message leaves nothing.
    assert.ok(await client.answers());
    await client.send(whole.subarray(0, 20), Array(8).fill(irq));
    client.close();
    await until(() => local.gone === 1, 'it is gone');
    assert.equal(budget.free, 4);
    closeFd(irq);
  });

  test('lets a peer pipeline messages with descriptors: those of one are held at a time', async (t) => {
    const local = await LocalDevice.start(t, 4, { shared: shared(new DescriptorBudget(GUARANTEED, 0)) });
    const client = local.hostile();
    await client.negotiate();
    const irq = createEventfd();
    const one = message(COMMAND.setIrqs, route(0, 1));
    for (let sent = 0; sent < 100; sent++) {
      // Not received in between: all of them wait in the socket.
      assert.equal(sendBytes(client.fd, one, [irq]), one.length);
    }
    for (let answered = 0; answered < 100; answered++) {
      assert.equal((await client.receive())?.error, 0);
    }
    closeFd(irq);
  });

  test('counts the pipes of shadow queues', async (t) => {
    const budget = new DescriptorBudget(GUARANTEED, 0);
    const local = await LocalDevice.start(t, 4, { shared: shared(budget) });
    const client = local.remote(1 << 16);
    await client.negotiate();
    assert.equal(await client.map(), 0);
    const enable = async (queue: number): Promise<number> => {
      const at = RemoteClient.iova + queue * 4096;
      const low = at % 2 ** 32;
      const high = Math.floor(at / 2 ** 32);
      const setup = {
        queue,
        depth: 4,
        vector: queue,
        sqLow: low,
        sqHigh: high,
        cqLow: low + 1024,
        cqHigh: high,
      };
      return (await client.setUp(setup))('outcome');
    };
    for (let queue = 0; queue < GUARANTEED / 2; queue++) assert.equal(await enable(queue), 0);
    assert.equal(await enable(GUARANTEED / 2), ERRNO.EMFILE);
    client.close();
    await until(() => local.gone === 1, 'it is gone');
  });
});

describe('a device without room for another client', () => {
  test('refuses it, and keeps nothing of it', async (t) => {
    const local = await LocalDevice.start(t, 2);
    const clients = [await local.connect(), await local.connect()];
    const before = openFds();
    for (let round = 0; round < 10; round++) {
      await assert.rejects(
        local.connect(),
        (error) => error instanceof SystemError && error.errno === ERRNO.EBUSY,
      );
    }
    assert.equal(openFds(), before);
    for (const client of clients) await client.close();
  });

  test('leaves no descriptor when the process has none left for the rest', async (t) => {
    const local = await LocalDevice.start(t, 4);
    const fillers: number[] = [];
    const before = openFds();
    const fill = (): void => {
      for (;;) {
        try {
          fillers.push(...createPipe());
        } catch {
          break;
        }
      }
      try {
        fillers.push(createEventfd());
      } catch {
        // The last one was taken by a pipe.
      }
    };
    fill();
    // Room for none, for the doorbells' memory, and for that and the wake descriptor: only then is there a function.
    for (let room = 0; room <= 2; room++) {
      const create = () => local.device.createFunction({ sva: false });
      if (room < 2) assert.throws(create, SystemError);
      else await local.device.releaseFunction(create());
      closeFd(fillers.pop()!);
    }
    closeFds(fillers);
    assert.equal(openFds(), before);
  });

  test('leaves no descriptor when its doorbells cannot be mapped', async (t) => {
    const local = await LocalDevice.start(t, 4);
    const before = openFds();
    const limit = new BigUint64Array(2);
    assert.equal(getrlimit(RLIMIT_AS, limit), 0);
    const none = new BigUint64Array([0n, limit[1]!]);
    let refusal: unknown;
    // Nothing more can be mapped in this process: for as short as possible.
    setrlimit(RLIMIT_AS, none);
    try {
      local.device.createFunction({ sva: false });
    } catch (error) {
      refusal = error;
    } finally {
      setrlimit(RLIMIT_AS, limit);
    }
    assert.ok(refusal instanceof MemoryError);
    assert.equal(openFds(), before);
  });
});
