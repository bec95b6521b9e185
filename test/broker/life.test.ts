import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { DEVICE_STATE, OPCODE, STATUS, STATUS_PAGE } from '../../src/abi/queue.js';
import { REGION } from '../../src/abi/registers.js';
import { Submission } from '../../src/driver/driver.js';
import { wva } from '../../src/driver/wva/wva.js';
import { SystemError } from '../../src/errors.js';
import { closeFd } from '../../src/sys/fd.js';
import { ERRNO } from '../../src/sys/libc.js';
import { listenUnix } from '../../src/sys/unix-socket.js';
import { MAIN } from '../cli/support-cli.js';
import { Broker, completion, noop, until } from './support-broker.js';

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'warpdrive-broker-life-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** Runs `serve` where it cannot start. */
function refused(socket: string): string {
  const done = spawnSync(process.execPath, [MAIN, 'serve', '--socket', socket], { encoding: 'utf8' });
  assert.equal(done.status, 1, done.stderr);
  return done.stderr;
}

describe('a socket', () => {
  test('has the permissions that were asked for, and is gone afterwards', async (t) => {
    const broker = await Broker.start(t, ['--mode', '0600']);
    for (const path of [broker.socket, `${broker.socket}.info`]) {
      assert.equal(lstatSync(path).mode & 0o777, 0o600);
    }
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
    for (const path of [broker.socket, `${broker.socket}.info`]) assert.equal(existsSync(path), false);
  });

  test('of a broker that was killed is replaced', async (t) => {
    const socket = join(folder(t), 'stale.sock');
    await (await Broker.start(t, [], { socket })).kill();
    assert.ok(existsSync(socket));
    const next = await Broker.start(t, [], { socket });
    await (await next.connect()).close();
  });

  test('that somebody listens on is left alone', async (t) => {
    const broker = await Broker.start(t);
    const text = refused(broker.socket);
    assert.match(text, /cannot listen on .*broker\.sock: somebody listens there already/);
    await (await broker.connect()).close();
  });

  test('whose path is a file, or has no folder, or is too long, is an error that says so', (t) => {
    const path = join(folder(t), 'file');
    writeFileSync(path, 'precious');
    assert.match(refused(path), /cannot listen on .*file: /);
    assert.match(refused(join(path, 'x')), /its folder is no folder/);
    assert.match(refused(join(folder(t), 'none', 'x')), /its folder does not exist/);
    assert.match(refused(`/tmp/${'x'.repeat(120)}`), /1 to 107 bytes/);
  });

  test('that has taken the place of the broker’s own is not removed', async (t) => {
    const broker = await Broker.start(t);
    rmSync(broker.socket);
    const other = listenUnix(broker.socket, 0o600);
    t.after(() => closeFd(other));
    await broker.stop();
    assert.ok(existsSync(broker.socket));
  });

  test('can be passed by a service manager', async (t) => {
    const socket = join(folder(t), 'passed.sock');
    const fds = [listenUnix(socket, 0o600), listenUnix(`${socket}.info`, 0o600)];
    t.after(() => fds.forEach(closeFd));
    // The process that is to have the sockets says so itself: its number is not known before.
    const wrapper = ['sh', '-c', 'export LISTEN_PID=$$ LISTEN_FDS=2; exec "$@"', 'sh'];
    const broker = await Broker.start(t, [], { socket, passed: fds, wrapper });
    const device = await broker.device();
    await noop(device);
    await device.close();
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
    assert.ok(existsSync(socket), 'its maker removes it');
  });

  test('that is passed must be one', async (t) => {
    const wrapper = ['sh', '-c', 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3</dev/null', 'sh'];
    await assert.rejects(Broker.start(t, [], { wrapper }), /descriptor 3 is no listening socket/);
  });
});

describe('SIGHUP', () => {
  test('changes limits, for clients that are there, too', async (t) => {
    const config = (queues: number) => ({ limits: { client: { queues } } });
    const broker = await Broker.start(t, [], { config: config(1) });
    const device = await broker.device();
    await device.createQueue({ depth: 4 });
    const isQuota = (error: unknown) => error instanceof SystemError && error.errno === ERRNO.EDQUOT;
    await assert.rejects(device.createQueue({ depth: 4 }), isQuota);
    assert.equal((await broker.reload(config(2))).message, 'configuration reloaded');
    await device.createQueue({ depth: 4 });
    await assert.rejects(device.createQueue({ depth: 4 }), isQuota);
    await device.close();
  });

  test('changes nothing when the file is wrong', async (t) => {
    const broker = await Broker.start(t, [], { config: { limits: { user: { clients: 1 } } } });
    const line = await broker.reload({ limits: { user: { clients: 'many' } } });
    assert.equal(line.level, 'ERROR');
    assert.match(String(line['reason']), /limits\.user\.clients must be a whole number/);
    const only = await broker.connect();
    await assert.rejects(broker.connect());
    await only.close();
  });

  test('says what needs a restart', async (t) => {
    const broker = await Broker.start(t, [], { config: {} });
    await broker.reload({ engines: 7, spinMicroseconds: 1 });
    const line = await broker.logged('some changes need a restart');
    assert.deepEqual(line['needRestart'], ['engines', 'spinMicroseconds']);
  });

  test('hangs up on clients that are no longer allowed', async (t) => {
    const broker = await Broker.start(t, [], { config: {} });
    const client = await broker.connect();
    await broker.reload({ allow: { users: [process.getuid!() + 1] } });
    assert.equal((await broker.logged('client gone'))['reason'], 'the user is no longer allowed');
    await assert.rejects(client.readRegion(REGION.registers, 0, 4));
    await client.close();
  });
});

describe('SIGTERM', () => {
  test('lets what is in flight complete, and tells clients', async (t) => {
    const broker = await Broker.start(t, [], { env: { WARPDRIVE_INJECT: 'delay=700:noop:1' } });
    const transport = await broker.connect();
    const device = await wva.open(transport);
    const status = await transport.mapRegion(REGION.status, 0, STATUS_PAGE.pageBytes);
    const queue = await device.createQueue({ depth: 4 });
    const request = new Submission();
    request.operation = OPCODE.noop;
    queue.submit(request);
    queue.submit(request);
    queue.publish();
    const ended = broker.stop();
    await until(
      () => status.words[STATUS_PAGE.stateWord] === DEVICE_STATE.stopping,
      'the device is stopping',
    );
    for (let each = 0; each < 2; each++) assert.equal((await completion(queue)).status, STATUS.ok);
    assert.deepEqual(await ended, { code: 0, signal: null });
    assert.equal(status.words[STATUS_PAGE.stateWord], DEVICE_STATE.stopped);
    status.unmap();
    await device.close();
  });

  test('waits no longer than it was told to', async (t) => {
    const args = ['--drain-seconds', '0'];
    const broker = await Broker.start(t, args, { env: { WARPDRIVE_INJECT: 'delay=700:noop:1' } });
    const device = await broker.device();
    const queue = await device.createQueue({ depth: 4 });
    queue.submit(new Submission());
    queue.publish();
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
    await broker.logged('some clients still had requests in flight');
    await device.close();
  });

  test('twice ends it at once', async (t) => {
    const broker = await Broker.start(t, [], { env: { WARPDRIVE_INJECT: 'delay=3000:noop' } });
    const device = await broker.device();
    const queue = await device.createQueue({ depth: 4 });
    queue.submit(new Submission());
    queue.publish();
    broker.signal('SIGTERM');
    await broker.logged('draining');
    broker.signal('SIGINT');
    assert.deepEqual(await broker.ended, { code: 130, signal: null });
    assert.equal(existsSync(broker.socket), false);
    await device.close();
  });
});
