import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { DriverDevice } from '../../src/driver/driver.js';
import { SystemError } from '../../src/errors.js';
import { ERRNO } from '../../src/sys/libc.js';
import { Broker, gzip, noop, until } from './support-broker.js';

const isErrno = (errno: number) => (error: unknown) => error instanceof SystemError && error.errno === errno;

describe('clients of a broker', () => {
  test('two at once have devices of their own', async (t) => {
    const broker = await Broker.start(t);
    const [one, two] = await Promise.all([broker.device(), broker.device()]);
    assert.equal(one.sva, false, 'a broker never shares an address space');
    await Promise.all([noop(one), noop(two)]);
    const texts = [Buffer.from('first '.repeat(2000)), randomBytes(20_000)];
    const outputs = await Promise.all([gzip(one, texts[0]!), gzip(two, texts[1]!)]);
    outputs.forEach((output, index) => {
      assert.deepEqual(gunzipSync(output), texts[index]);
    });
    await one.close();
    await noop(two);
    await two.close();
    await until(() => broker.logs.filter(({ message }) => message === 'client gone').length === 2, 'both go');
  });

  test('whom no list names is refused with EACCES', async (t) => {
    const others = { users: [process.getuid!() + 1], groups: [] };
    const broker = await Broker.start(t, [], { config: { allow: others } });
    await assert.rejects(broker.connect(), isErrno(ERRNO.EACCES));
    const line = await broker.logged('client refused');
    assert.equal(line['uid'], process.getuid!());
    assert.equal(line['pid'], process.pid);
  });

  test('a user, and a group, can be let in by number', async (t) => {
    const me = process.getuid!();
    const broker = await Broker.start(t, [], { config: { allow: { users: [me] } } });
    await (await broker.connect()).close();
    await broker.reload({ allow: { users: [me + 1], groups: [process.getgid!()] } });
    await (await broker.connect()).close();
  });

  test('a user cannot have more clients than it may: EDQUOT, until one goes', async (t) => {
    const broker = await Broker.start(t, [], { config: { limits: { user: { clients: 2 } } } });
    const first = await broker.device();
    const second = await broker.device();
    await assert.rejects(broker.connect(), isErrno(ERRNO.EDQUOT));
    await noop(first);
    await second.close();
    await broker.logged('client gone');
    await (await broker.connect()).close();
    await first.close();
  });

  test('a device cannot have more clients than it has: EBUSY', async (t) => {
    const broker = await Broker.start(t, ['--max-clients', '1']);
    const only = await broker.device();
    await assert.rejects(broker.connect(), isErrno(ERRNO.EBUSY));
    await noop(only);
    await only.close();
  });

  test('what is beyond the quota of a client fails with EDQUOT, and all else works', async (t) => {
    const client = { queues: 2, mappedBytes: '1 MiB', depth: 64 };
    const broker = await Broker.start(t, [], { config: { limits: { client } } });
    const device = await broker.device();
    const other = await broker.device();
    const queues = [await device.createQueue({ depth: 4 }), await device.createQueue({ depth: 64 })];
    await assert.rejects(device.createQueue({ depth: 4 }), isErrno(ERRNO.EDQUOT));
    await queues[0]!.release();
    await assert.rejects(device.createQueue({ depth: 128 }), isErrno(ERRNO.EDQUOT));
    await assert.rejects(device.allocate(2 << 20), isErrno(ERRNO.EDQUOT));
    const memory = await device.allocate(512 << 10);
    await memory.free();
    for (const each of [device, other]) await noop(each);
    await queues[1]!.release();
    for (const each of [device, other]) await each.close();
  });

  test('the clients of a user share the quota of the user', async (t) => {
    const uid = process.getuid!();
    const limits = { user: { queues: 1 }, users: { [uid]: { user: { queues: 3 } } } };
    const broker = await Broker.start(t, [], { config: { limits } });
    const devices = await Promise.all([broker.device(), broker.device()]);
    const take = (device: DriverDevice) => device.createQueue({ depth: 4 });
    await take(devices[0]!);
    await take(devices[1]!);
    await take(devices[0]!);
    await assert.rejects(take(devices[1]!), isErrno(ERRNO.EDQUOT));
    await devices[0]!.close();
    await broker.logged('client gone');
    await noop(devices[1]!);
    await devices[1]!.close();
  });

  test('an engine thread that dies is replaced, and only its request fails', async (t) => {
    const broker = await Broker.start(t, [], { env: { WARPDRIVE_INJECT: 'kill:compress:1' } });
    const devices = [await broker.device(), await broker.device()];
    await assert.rejects(gzip(devices[0]!, Buffer.from('bytes')));
    await broker.logged('an engine thread died, and is replaced');
    for (const device of devices) {
      assert.equal(gunzipSync(await gzip(device, Buffer.from('bytes'))).toString(), 'bytes');
      await device.close();
    }
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
  });

  test('a device that dies is started again for the next ones', async (t) => {
    const broker = await Broker.start(t, [], { env: { WARPDRIVE_INJECT: 'kill:compress' } });
    const device = await broker.device();
    let isLost = false;
    device.onLost(() => {
      isLost = true;
    });
    // One after the other, the successors of its engine thread die, too, until it gives up.
    while (!isLost) await assert.rejects(gzip(device, Buffer.from('bytes')));
    await device.close();
    await broker.logged('the device was started again');
    const next = await broker.device();
    await noop(next);
    await next.close();
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
  });

  test('memory that can shrink is refused, unless that was asked for by name', async (t) => {
    const shrinkable = async (broker: Broker): Promise<void> => {
      const client = await broker.connect();
      const fd = openSync(join(broker.folder, 'memory'), 'w+');
      try {
        ftruncateSync(fd, 4096);
        await client.dmaMap({ fd, offset: 0, iova: 4096, length: 4096, writable: true });
      } finally {
        closeSync(fd);
        await client.close();
      }
    };
    const safe = await Broker.start(t);
    await assert.rejects(shrinkable(safe), isErrno(ERRNO.EINVAL));
    const unsafe = await Broker.start(t, ['--allow-unsafe-unsealed-memory']);
    await shrinkable(unsafe);
    const device = await unsafe.device();
    assert.deepEqual(device.description.unsafe, ['unsealed-memory']);
    await device.close();
    assert.ok(unsafe.logs.some(({ level, message }) => level === 'WARN' && message.startsWith('unsafe:')));
  });
});
