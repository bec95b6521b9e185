import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LIMITS } from '../../src/abi/queue.js';
import { IRQ, QUEUE_SETUP_OFFSET, REGION } from '../../src/abi/registers.js';
import {
  COMMAND,
  MAX_VERSION_BYTES,
  REGION_FLAG,
  REGION_INFO,
  REGION_IO_FDS,
} from '../../src/abi/vfio-user.js';
import { Account } from '../../src/device/account.js';
import { closeFd, closeFds, createEventfd, drainEventfd } from '../../src/sys/fd.js';
import { ERRNO } from '../../src/sys/libc.js';
import { createMemfd } from '../../src/sys/memfd.js';
import { MAX_FDS } from '../../src/sys/socket.js';
import { LocalDevice } from '../device/support-local-device.js';
import { type HostileClient, message, type Received, words } from '../support/hostile-client.js';

/** The body of a VERSION message with any text. */
function version(text: string | Buffer, minor = 1, major = 0): Buffer {
  return Buffer.concat([
    Buffer.from([major & 0xff, major >> 8, minor & 0xff, minor >> 8]),
    Buffer.from(text),
  ]);
}

async function negotiate(client: HostileClient, capabilities: object): Promise<Received> {
  const reply = await client.ask(COMMAND.version, version(`${JSON.stringify({ capabilities })}\0`));
  assert.equal(reply!.error, 0);
  return reply!;
}

const said = (reply: Received): Record<string, unknown> =>
  JSON.parse(reply.body.toString('utf8', 4, reply.body.length - 1)).capabilities;

describe('the version', () => {
  test('data that is malformed is refused, and nothing is agreed on', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.hostile();
    for (const body of [
      Buffer.alloc(0),
      Buffer.alloc(3),
      version('{}'),
      version('\0\0'),
      version('{}\0{}\0'),
      version('{"capabilities"\0'),
      version('not JSON at all\0'),
      version('[]\0'),
      version('null\0'),
      version('7\0'),
      version('{"capabilities":[]}\0'),
      version('{"capabilities":7}\0'),
      version('{"capabilities":null}\0'),
      version('{"capabilities":{"max_msg_fds":-1}}\0'),
      version('{"capabilities":{"max_msg_fds":1.5}}\0'),
      version('{"capabilities":{"max_msg_fds":"8"}}\0'),
      version('{"capabilities":{"max_data_xfer_size":0}}\0'),
      version('{"capabilities":{"max_data_xfer_size":1e300}}\0'),
      version('{"capabilities":{"twin_socket":true}}\0'),
      version('{"capabilities":{"twin_socket":{"supported":1}}}\0'),
      version('{"capabilities":{"write_multiple":"yes"}}\0'),
      version(`${'['.repeat(MAX_VERSION_BYTES - 1)}\0`),
      version(`{"a":"${'x'.repeat(MAX_VERSION_BYTES)}"}\0`),
      version(Buffer.from([0xff, 0xfe, 0x7b, 0x7d, 0])),
      version('{}\0', 0, 1),
      version('{}\0', 1, 0xffff),
    ]) {
      const reply = await client.ask(COMMAND.version, body);
      assert.equal(reply!.error, ERRNO.EINVAL, body.toString('latin1', 0, 60));
      assert.equal(reply!.body.length, 0);
      assert.equal((await client.ask(COMMAND.getInfo, words(16, 0, 0, 0)))!.error, ERRNO.EINVAL);
    }
    await negotiate(client, {});
    assert.ok(await client.answers());
  });

  test('keys that nobody knows are ignored, and defaults are filled in', async (t) => {
    const local = await LocalDevice.start(t, 3);
    for (const text of [
      '',
      '{}\0',
      '{"more":{"a":[1]},"capabilities":{"migration":{"pgsize":4096},"__proto__":{"max_msg_fds":-1}}}\0',
    ]) {
      const client = local.hostile();
      const reply = await client.ask(COMMAND.version, version(text));
      assert.equal(reply!.error, 0, text);
      assert.equal(reply!.fdCount, 0);
      assert.deepEqual(said(reply!), {
        max_msg_fds: MAX_FDS,
        max_data_xfer_size: 1 << 20,
        max_dma_maps: LIMITS.maxRegions,
        pgsizes: 4096,
      });
    }
  });

  test('the minor version is the lesser of both', async (t) => {
    const local = await LocalDevice.start(t, 3);
    for (const [proposed, agreed] of [
      [0, 0],
      [1, 1],
      [0xffff, 1],
    ] as const) {
      const reply = await local.hostile().ask(COMMAND.version, version('{}\0', proposed));
      assert.deepEqual([reply!.body.readUInt16LE(0), reply!.body.readUInt16LE(2)], [0, agreed]);
    }
  });

  test('a second one is an error, and the first stays', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.hostile();
    await negotiate(client, { max_data_xfer_size: 4096 });
    const second = await client.ask(
      COMMAND.version,
      version('{"capabilities":{"twin_socket":{"supported":true}}}\0'),
    );
    assert.equal(second!.error, ERRNO.EINVAL);
    assert.equal(second!.fdCount, 0);
    assert.equal((await client.ask(COMMAND.regionRead, words(0, 0, REGION.doorbells, 4096)))!.error, 0);
    const large = await client.ask(COMMAND.regionRead, words(0, 0, REGION.doorbells, 4097));
    assert.equal(large!.error, ERRNO.EINVAL, 'no more than it takes at once');
  });

  test('a client that takes no descriptors is sent none, and told of nothing to map', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.hostile();
    const reply = await negotiate(client, { max_msg_fds: 0, twin_socket: { supported: true } });
    assert.equal(reply.fdCount, 0);
    assert.equal(said(reply)['twin_socket'], undefined);
    const region = await client.ask(COMMAND.getRegionInfo, words(4096, 0, REGION.doorbells, 0, 0, 0, 0, 0));
    assert.equal(region!.fdCount, 0);
    const flags = region!.body.readUInt32LE(REGION_INFO.offset.flags);
    assert.equal(flags, REGION_FLAG.read | REGION_FLAG.write);
    const wake = await client.ask(COMMAND.getRegionIoFds, words(4096, 0, REGION.doorbells, 0));
    assert.equal(wake!.fdCount, 0);
    assert.equal(wake!.body.readUInt32LE(REGION_IO_FDS.offset.count), 0);
  });

  test('one in pieces, with a descriptor on the first, before a mapping in pieces', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.hostile();
    const fd = createMemfd('pieces', 8192);
    const stray = createEventfd();
    const greeting = message(COMMAND.version, version('{}\0'), { id: 1 });
    const mapping = message(COMMAND.dmaMap, words(32, 3, 0, 0, 0x10000, 1, 8192, 0), { id: 2 });
    await client.send(greeting.subarray(0, 1), [stray]);
    for (const [from, to] of [
      [1, 7],
      [7, 16],
      [16, 18],
      [18, undefined],
    ] as const) {
      await client.send(greeting.subarray(from, to));
    }
    assert.equal((await client.receive())!.error, 0);
    await client.send(mapping.subarray(0, 3), [fd]);
    await client.send(mapping.subarray(3, 40));
    // The rest, and the next two commands, at once.
    const unmapping = message(COMMAND.dmaUnmap, words(24, 0, 0x10000, 1, 8192, 0), { id: 3 });
    await client.send(Buffer.concat([mapping.subarray(40), unmapping, unmapping]));
    assert.deepEqual(
      [await client.receive(), await client.receive(), await client.receive()].map((reply) => reply!.error),
      [0, 0, ERRNO.ENOENT],
    );
    closeFds([fd, stray]);
  });
});

describe('several writes in one message', () => {
  const entry = (region: number, offset: number, count: number, ...data: number[]): Buffer =>
    words(offset, 0, region, count, data[0] ?? 0, data[1] ?? 0);
  const multi = (count: number, ...entries: Buffer[]): Buffer => Buffer.concat([words(count, 0), ...entries]);

  test('are carried out in order, as far as they are right', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.hostile();
    const reply = await negotiate(client, { write_multiple: true });
    assert.equal(said(reply)['write_multiple'], true);
    const ask = async (body: Buffer): Promise<[number, number]> => {
      const answer = await client.ask(COMMAND.writeMulti, body);
      return [answer!.error, answer!.body.length === 8 ? answer!.body.readUInt32LE(0) : -1];
    };
    const doorbell = entry(REGION.doorbells, 4096, 8, 11, 22);
    const setup = entry(REGION.registers, QUEUE_SETUP_OFFSET, 8, 3, 128);
    assert.deepEqual(await ask(multi(2, doorbell, setup)), [0, 2]);
    const page = await client.ask(COMMAND.regionRead, words(4096, 0, REGION.doorbells, 8));
    assert.deepEqual([page!.body.readUInt32LE(16), page!.body.readUInt32LE(20)], [11, 22]);
    const registers = await client.ask(COMMAND.regionRead, words(QUEUE_SETUP_OFFSET, 0, 0, 8));
    assert.deepEqual([registers!.body.readUInt32LE(16), registers!.body.readUInt32LE(20)], [3, 128]);
    assert.deepEqual(await ask(multi(0)), [0, 0]);
    assert.deepEqual(await ask(multi(1, entry(REGION.doorbells, 1, 3, 0x030201))), [0, 1]);
    const wrong = entry(REGION.status, 0, 4);
    assert.deepEqual(await ask(multi(3, doorbell, wrong, doorbell)), [0, 1]);
    assert.deepEqual(await ask(multi(1, wrong)), [ERRNO.EINVAL, -1]);
    assert.deepEqual(await ask(multi(1, entry(REGION.doorbells, 0, 9))), [ERRNO.EINVAL, -1]);
    assert.deepEqual(await ask(multi(1, entry(77, 0, 4))), [ERRNO.EINVAL, -1]);
    assert.deepEqual(await ask(multi(2, doorbell)), [ERRNO.EINVAL, -1], 'fewer than announced');
    assert.deepEqual(await ask(multi(0xffffffff, doorbell)), [ERRNO.EINVAL, -1]);
    assert.deepEqual(await ask(Buffer.concat([words(1, 0xffffffff), doorbell])), [ERRNO.EINVAL, -1]);
    assert.deepEqual(await ask(words(1)), [ERRNO.EINVAL, -1]);
    assert.ok(await client.answers());
  });

  test('are for those who agreed on it', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.hostile();
    await negotiate(client, {});
    assert.equal((await client.ask(COMMAND.writeMulti, multi(0)))!.error, ERRNO.EOPNOTSUPP);
  });
});

test('what sets something up is counted for the rate limit, and doorbells are not', async (t) => {
  class Counted extends Account {
    spent = 0;
    override spendSetup(): number {
      this.spent++;
      return super.spendSetup();
    }
  }
  const account = new Counted();
  const local = await LocalDevice.start(t, 1, { account });
  const client = local.hostile();
  await negotiate(client, { write_multiple: true });
  for (let i = 0; i < 10; i++) {
    await client.ask(COMMAND.regionWrite, words(0, 0, REGION.doorbells, 4, i));
    await client.ask(COMMAND.regionRead, words(0, 0, REGION.registers, 4));
    await client.ask(COMMAND.writeMulti, words(1, 0, 0, 0, REGION.doorbells, 4, i, 0));
  }
  assert.equal(account.spent, 0);
  await client.ask(COMMAND.regionWrite, words(QUEUE_SETUP_OFFSET, 0, REGION.registers, 4, 0));
  await client.ask(COMMAND.writeMulti, words(1, 0, QUEUE_SETUP_OFFSET, 0, REGION.registers, 4, 0, 0));
  await client.ask(COMMAND.reset);
  await client.ask(COMMAND.dmaMap, words(32, 3, 0, 0, 0x10000, 1, 8192, 0));
  assert.equal(account.spent, 4);
});

describe('SET_IRQS', () => {
  const NONE = 1;
  const BOOL = 2;
  const EVENTFD = 4;
  const MASK = 8;
  const UNMASK = 16;
  const TRIGGER = 32;

  test('routes, triggers and takes routes away, as <linux/vfio.h> has it', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.hostile();
    await client.negotiate();
    const fds = [createEventfd(), createEventfd(), createEventfd()];
    const set = async (
      flags: number,
      [index, start, count]: [number, number, number],
      { bools = [], attached = [] }: { bools?: number[]; attached?: number[] } = {},
    ): Promise<number> => {
      const body = Buffer.concat([words(20 + bools.length, flags, index, start, count), Buffer.from(bools)]);
      return (await client.ask(COMMAND.setIrqs, body, attached))!.error;
    };
    const fired = (): boolean[] => fds.map(drainEventfd);

    assert.equal(await set(EVENTFD | TRIGGER, [IRQ.msix, 4, 3], { attached: fds }), 0);
    assert.equal(await set(NONE | TRIGGER, [IRQ.msix, 4, 2]), 0);
    assert.deepEqual(fired(), [true, true, false]);
    assert.equal(await set(BOOL | TRIGGER, [IRQ.msix, 4, 3], { bools: [0, 1, 1] }), 0);
    assert.deepEqual(fired(), [false, true, true]);
    assert.equal(await set(BOOL | TRIGGER, [IRQ.msix, 4, 3], { bools: [1, 1] }), ERRNO.EINVAL);
    assert.equal(await set(NONE | TRIGGER, [IRQ.msix, 0, LIMITS.maxQueues]), 0);
    assert.deepEqual(fired(), [true, true, true]);
    assert.equal(await set(NONE | TRIGGER, [IRQ.msix, 1, LIMITS.maxQueues]), ERRNO.EINVAL);

    // Without descriptors, one route is taken away; with neither start nor count, all are.
    assert.equal(await set(EVENTFD | TRIGGER, [IRQ.msix, 5, 1]), 0);
    assert.equal(await set(NONE | TRIGGER, [IRQ.msix, 4, 3]), 0);
    assert.deepEqual(fired(), [true, false, true]);
    assert.equal(await set(NONE | TRIGGER, [IRQ.msix, 0, 0]), 0);
    assert.equal(await set(NONE | TRIGGER, [IRQ.msix, 4, 3]), 0);
    assert.deepEqual(fired(), [false, false, false]);
    for (const index of [0, 1, 4]) assert.equal(await set(NONE | TRIGGER, [index, 0, 0]), 0);
    assert.equal(await set(NONE | TRIGGER, [5, 0, 0]), ERRNO.EINVAL);

    assert.equal(await set(EVENTFD | TRIGGER, [IRQ.error, 0, 1], { attached: [fds[0]!] }), 0);
    assert.equal(await set(NONE | TRIGGER, [IRQ.error, 0, 1]), 0);
    assert.deepEqual(fired(), [true, false, false]);

    for (const action of [MASK, UNMASK]) {
      assert.equal(await set(NONE | action, [IRQ.msix, 0, 1]), ERRNO.EOPNOTSUPP);
      assert.equal(await set(BOOL | action, [IRQ.msix, 0, 1], { bools: [1] }), ERRNO.EOPNOTSUPP);
      assert.equal(await set(EVENTFD | action, [IRQ.msix, 0, 1], { attached: [fds[0]!] }), ERRNO.EOPNOTSUPP);
      assert.equal(await set(action, [IRQ.msix, 0, 1]), ERRNO.EINVAL);
    }
    for (const flags of [TRIGGER, NONE, NONE | BOOL | TRIGGER, NONE | MASK | TRIGGER, 64 | NONE | TRIGGER]) {
      assert.equal(await set(flags, [IRQ.msix, 0, 1], { bools: [1] }), ERRNO.EINVAL, String(flags));
    }
    for (const fd of fds) closeFd(fd);
  });
});
