import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { DEVICE_STATE, OPCODE, STATUS, STATUS_PAGE } from '../../src/abi/queue.js';
import { REGION } from '../../src/abi/registers.js';
import { Submission } from '../../src/driver/driver.js';
import { wva } from '../../src/driver/wva/wva.js';
import { SystemError } from '../../src/errors.js';
import { type Accelerator, DeviceLostError, type OpenOptions, open } from '../../src/index.js';
import { closeFd } from '../../src/sys/fd.js';
import { ERRNO } from '../../src/sys/libc.js';
import { sampleText } from '../device/support-device.js';
import { settles } from '../support/expect.js';
import { Broker, type BrokerOptions, completion, noop, until } from './support-broker.js';
import { childrenOf, hostOf, isAlive } from './support-processes.js';
import { checkInFlight, checkSessions, report } from './support-user-quotas.js';

/* A broker that serves each client in a process of its own. */

const TEXT = sampleText(2_000_000);

const isErrno = (errno: number) => (error: unknown) => error instanceof SystemError && error.errno === errno;

function start(t: TestContext, options: BrokerOptions = {}, args: string[] = []): Promise<Broker> {
  return Broker.start(t, ['--isolate', ...args], options);
}

async function opened(t: TestContext, broker: Broker, options: OpenOptions = {}): Promise<Accelerator> {
  const acc = await open(`unix:${broker.socket}`, options);
  t.after(() => acc.close());
  return acc;
}

/** Works without end, and checks every result, until it is stopped; `answers` counts them. */
class Worker {
  answers = 0;
  #stop = false;
  readonly done: Promise<unknown>;

  constructor(acc: Accelerator, width = 4) {
    const work = async (index: number): Promise<void> => {
      for (let round = index; !this.#stop; round = (round + 7) % 1000) {
        const input = TEXT.subarray(round * 1000, round * 1000 + 20_000 + index);
        assert.ok(gunzipSync(await acc.compress(input, { level: 1 })).equals(input));
        this.answers++;
      }
    };
    this.done = Promise.all(Array.from({ length: width }, (_, index) => work(index)));
  }

  async goesOn(): Promise<void> {
    const before = this.answers;
    await Promise.race([until(() => this.answers > before + 20, 'more answers'), this.done]);
  }

  stop(): Promise<unknown> {
    this.#stop = true;
    return settles(this.done, 'the work');
  }
}

describe('clients with processes of their own', () => {
  test('one whose process crashes loses its device, and nobody else notices', async (t) => {
    const broker = await start(t);
    const bystander = await opened(t, broker);
    const victim = await opened(t, broker);
    const honest = new Worker(bystander);
    for (const signal of ['SIGSEGV', 'SIGABRT'] as const) {
      const acc = signal === 'SIGSEGV' ? victim : await opened(t, broker);
      const work = new Worker(acc);
      const failed = assert.rejects(work.done, (error: unknown) => {
        assert.ok(error instanceof DeviceLostError, String(error));
        assert.equal(error.code, 'ERR_WARPDRIVE_DEVICE_LOST');
        return true;
      });
      await work.goesOn();
      const from = broker.logs.length;
      process.kill(await hostOf(broker, signal === 'SIGSEGV' ? 2 : 3), signal);
      await settles(failed, 'what the victim has in flight');
      assert.match(
        String((await broker.logged("a client's process died", from))['reason']),
        new RegExp(signal),
      );
      await broker.logged('client gone', from);
      assert.throws(() => acc.compressSync(TEXT.subarray(0, 100)), DeviceLostError);
      await honest.goesOn();
    }
    await honest.stop();
    assert.deepEqual(
      (await report(broker)).clients.map(({ id }) => id),
      [1],
    );
  });

  test('one that reconnects gets every answer once, however often its process crashes', async (t) => {
    const broker = await start(t);
    const acc = await opened(t, broker, { reconnect: true });
    const packed = await acc.compress(TEXT);
    const work = new Worker(acc);
    let stop = false;
    const streams = (async () => {
      while (!stop) assert.ok((await acc.decompress(packed)).equals(TEXT));
    })();
    for (let life = 1; life <= 4; life++) {
      await work.goesOn();
      const from = broker.logs.length;
      process.kill(await hostOf(broker, life), 'SIGSEGV');
      await broker.logged('client connected', from);
    }
    await work.goesOn();
    stop = true;
    await work.stop();
    await settles(streams, 'the streams');
    await acc.close();
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
  });

  test('50 come and go, some are killed off, and nothing is left of them', async (t) => {
    const broker = await start(t);
    const settled = async (): Promise<void> => {
      await until(() => childrenOf(broker.pid).length === 1, 'one spare process is left');
      await until(async () => (await report(broker)).clientCount === 0, 'all have gone');
    };
    await noopAndClose(broker);
    await settled();
    const fds = broker.openFds;
    for (let come = 0; come < 50; come += 5) {
      const devices = await Promise.all(Array.from({ length: 5 }, () => broker.device()));
      await Promise.all(devices.map(noop));
      const [first] = (await report(broker)).clients;
      process.kill(first!.hostPid!, 'SIGKILL');
      for (const device of devices) await device.close();
    }
    await settled();
    await until(() => broker.openFds === fds, `${broker.openFds} descriptors are ${fds} again`);
  });

  test('none outlives the broker, however that ends', async (t) => {
    for (const end of ['kill', 'stop', 'kill, with a process that is stopped'] as const) {
      const broker = await start(t, { env: { WARPDRIVE_INJECT: 'delay=60000:noop' } }, [
        '--drain-seconds',
        '0',
      ]);
      const device = await broker.device();
      const queue = await device.createQueue({ depth: 4 });
      if (end !== 'stop') {
        // With an engine thread in the middle of something that would take a minute.
        queue.submit(new Submission());
        queue.publish();
        await sleep(50);
      }
      await until(
        () => childrenOf(broker.pid).length === 2,
        'the client has a process, and there is a spare one',
      );
      const hosts = childrenOf(broker.pid);
      if (end.includes('stopped')) process.kill(await hostOf(broker, 1), 'SIGSTOP');
      await (end === 'stop' ? broker.stop() : broker.kill());
      await until(() => !hosts.some(isAlive), 'no process is left');
      await device.close();
    }
  });

  test('what was published completes before the broker stops, and clients are told', async (t) => {
    const broker = await start(t, { env: { WARPDRIVE_INJECT: 'delay=700:noop:1' } });
    const transport = await broker.connect();
    const device = await wva.open(transport);
    const status = await transport.mapRegion(REGION.status, 0, STATUS_PAGE.pageBytes);
    const queue = await device.createQueue({ depth: 4 });
    const request = new Submission();
    request.operation = OPCODE.noop;
    for (let i = 0; i < 2; i++) queue.submit(request);
    queue.publish();
    const ended = broker.stop();
    const isIn = (state: number) => () => status.words[STATUS_PAGE.stateWord] === state;
    await until(isIn(DEVICE_STATE.stopping), 'the device is stopping');
    for (let i = 0; i < 2; i++) assert.equal((await completion(queue)).status, STATUS.ok);
    assert.deepEqual(await ended, { code: 0, signal: null });
    assert.ok(isIn(DEVICE_STATE.stopped)());
    assert.ok(!broker.logs.some(({ message }) => message.startsWith('some clients still')));
    status.unmap();
    await device.close();
  });

  test('a signal that a terminal sends to all of them is left to the broker', async (t) => {
    const broker = await start(t);
    const device = await broker.device();
    const host = await hostOf(broker, 1);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(host, signal);
    await noop(device);
    assert.ok(isAlive(host));
    await device.close();
  });

  test('one whose process is stopped is listed all the same, and does not keep the broker', async (t) => {
    const broker = await start(t, { config: { drainSeconds: 1 } });
    const device = await broker.device();
    await device.createQueue({ depth: 4 });
    const other = await broker.device();
    const host = await hostOf(broker, 1);
    process.kill(host, 'SIGSTOP');
    const { clients } = await report(broker);
    assert.deepEqual(
      clients.map(({ id, ready, held }) => [id, ready, held.queues]),
      [
        [1, false, 1],
        [2, true, 0],
      ],
    );
    await noop(other);
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
    assert.ok(!isAlive(host));
    for (const each of [device, other]) await each.close();
  });

  test('an engine thread that dies is replaced; a device that fails ends its client alone', async (t) => {
    const broker = await start(t, { env: { WARPDRIVE_INJECT: 'kill:compress' } });
    const other = await broker.device();
    const acc = await opened(t, broker);
    // One after the other the threads die, until the device gives up.
    let lost = false;
    while (!lost) {
      const outcome = await acc.compress(TEXT.subarray(0, 1000)).catch((error: unknown) => error);
      assert.ok(outcome instanceof Error);
      lost = outcome instanceof DeviceLostError;
    }
    assert.equal((await broker.logged('an engine thread died, and is replaced'))['client'], 2);
    assert.equal((await broker.logged('the device failed'))['client'], 2);
    assert.equal((await broker.logged('client gone'))['reason'], 'the device failed');
    await noop(other);
    await other.close();
  });

  test('one that says nothing is hung up on', async (t) => {
    const broker = await start(t, { config: { handshakeSeconds: 1 } });
    const fd = broker.open();
    assert.match(String((await broker.logged('client gone'))['reason']), /no version was agreed on in time/);
    closeFd(fd);
  });
});

async function noopAndClose(broker: Broker): Promise<void> {
  const device = await broker.device();
  await noop(device);
  await device.close();
}

describe('the quota of a user, over clients with processes of their own', () => {
  test('holds for sessions; those of one that was killed come back', (t) => checkSessions(t, ['--isolate']));

  test('holds for bytes in flight, and each client gets on', (t) => checkInFlight(t, ['--isolate']));

  test('holds for queues; what a process held that crashed comes back', async (t) => {
    const limits = { user: { queues: 5, clients: 3 } };
    const broker = await start(t, { config: { limits } });
    const [hoarder, other] = [await broker.device(), await broker.device()];
    for (let i = 0; i < 4; i++) await hoarder.createQueue({ depth: 4 });
    await other.createQueue({ depth: 4 });
    await assert.rejects(other.createQueue({ depth: 4 }), isErrno(ERRNO.EDQUOT));
    const third = await broker.device();
    await assert.rejects(broker.device(), isErrno(ERRNO.EDQUOT));
    process.kill(await hostOf(broker, 1), 'SIGSEGV');
    await broker.logged('client gone');
    for (let i = 0; i < 4; i++) await other.createQueue({ depth: 4 });
    await assert.rejects(other.createQueue({ depth: 4 }), isErrno(ERRNO.EDQUOT));
    const { clients } = await report(broker);
    assert.deepEqual(
      clients.map(({ held }) => held.queues),
      [5, 0],
    );
    await (await broker.device()).close();
    for (const each of [hoarder, other, third]) await each.close();
  });
});

describe('a process that does not start', () => {
  /** A module that ends the processes of clients, and no others, as long as a file is there. */
  function trap(t: TestContext): { env: Record<string, string>; set: () => void; clear: () => void } {
    const folder = mkdtempSync(join(tmpdir(), 'warpdrive-isolation-test-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const [module, flag] = [join(folder, 'trap.cjs'), join(folder, 'flag')];
    writeFileSync(
      module,
      `if (/client-host/.test(process.argv[1]) && require('node:fs').existsSync(${JSON.stringify(flag)})) process.exit(9);`,
    );
    return {
      env: { NODE_OPTIONS: `--require ${module}` },
      set: () => writeFileSync(flag, ''),
      clear: () => rmSync(flag),
    };
  }

  /** A module that holds the second client process while it starts, and ends it when it is let go. */
  function holdingTrap(t: TestContext): {
    env: Record<string, string>;
    held: () => boolean;
    letGo: () => void;
  } {
    const folder = mkdtempSync(join(tmpdir(), 'warpdrive-isolation-test-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const at = (name: string): string => JSON.stringify(join(folder, name));
    writeFileSync(
      join(folder, 'trap.cjs'),
      `const fs = require('node:fs');
      const isFirst = (name) => { try { fs.mkdirSync(name); return true; } catch { return false; } };
      if (/client-host/.test(process.argv[1]) && !isFirst(${at('one')}) && isFirst(${at('two')})) {
        while (!fs.existsSync(${at('go')})) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
        process.exit(9);
      }`,
    );
    return {
      env: { NODE_OPTIONS: `--require ${join(folder, 'trap.cjs')}` },
      held: () => existsSync(join(folder, 'two')),
      letGo: () => writeFileSync(join(folder, 'go'), ''),
    };
  }

  test('ends a broker that starts, with the reason', async (t) => {
    const { env, set } = trap(t);
    set();
    await assert.rejects(start(t, { env }), /ended \(1\).*a process for clients did not start: exit code 9/s);
  });

  test('is an error in the log, and refuses its client; the next ones are served', async (t) => {
    const { env, set, clear } = trap(t);
    const broker = await start(t, { env });
    set();
    // The spare one that is there already.
    const first = await broker.device();
    await assert.rejects(broker.connect(), isErrno(ERRNO.ENOMEM));
    const line = await broker.logged("a client's process did not start");
    assert.equal(line['reason'], 'exit code 9');
    assert.equal(line['uid'], process.getuid!());
    await noop(first);
    clear();
    await noopAndClose(broker);
    await first.close();
    assert.deepEqual(await broker.stop(), { code: 0, signal: null });
  });

  test('refuses nobody who came after it was started', async (t) => {
    const { env, held, letGo } = holdingTrap(t);
    const broker = await start(t, { env });
    const first = await broker.device();
    await until(held, 'the next spare process to be held while it starts');
    const second = broker.device();
    // The second one's own process is being started by now; the spare ends long before that is ready.
    await sleep(50);
    letGo();
    await noop(await second);
    assert.equal((await broker.logged('a spare process did not start, or ended'))['reason'], 'exit code 9');
    await noop(first);
  });
});
