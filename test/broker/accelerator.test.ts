import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import {
  type Accelerator,
  ArgumentError,
  Completion,
  DeviceLostError,
  type OpenOptions,
  open,
  Submission,
} from '../../src/index.js';
import { sampleText } from '../device/support-device.js';
import { fails, gather, runChild, settles } from '../support/expect.js';
import { Broker } from './support-broker.js';

const TEXT = sampleText(3_000_000);
const SMALL = TEXT.subarray(0, 5000);

async function opened(t: TestContext, broker: Broker, options: OpenOptions = {}): Promise<Accelerator> {
  const acc = await open(`unix:${broker.socket}`, options);
  t.after(() => acc.close());
  return acc;
}

describe('an accelerator in a broker', () => {
  test('does all that the embedded one does', async (t) => {
    const acc = await opened(t, await Broker.start(t));
    const [device] = acc.devices();
    assert.match(device!.name, /^unix:/);
    assert.ok(device!.flags.includes('mapped-memory'));
    for (const input of [Buffer.alloc(0), SMALL, TEXT]) {
      for (const algorithm of ['gzip', 'deflate', 'deflate-raw'] as const) {
        const packed = await acc.compress(input, { algorithm, level: 6 });
        assert.ok((await acc.decompress(packed, { algorithm })).equals(input));
        const sync = acc.compressSync(input, { algorithm, level: 1 });
        assert.ok(acc.decompressSync(sync, { algorithm }).equals(input));
      }
    }
    assert.ok(gunzipSync(await acc.compress(TEXT)).equals(TEXT));
    assert.ok((await acc.decompress(gzipSync(TEXT))).equals(TEXT));
    const many = await acc.compressMany(Array.from({ length: 500 }, (_, i) => SMALL.subarray(i)));
    many.forEach((packed, i) => {
      assert.ok(gunzipSync(packed).equals(SMALL.subarray(i)));
    });
    const stream = await gather(acc.compressStream([TEXT.subarray(0, 1_000_000), TEXT.subarray(1_000_000)]));
    assert.ok(gunzipSync(stream).equals(TEXT));
    assert.ok((await gather(acc.decompressStream([stream]))).equals(TEXT));
    acc.noopSync();
    await acc.noop();
  });

  test('reads buffers of alloc() where they lie', async (t) => {
    const acc = await opened(t, await Broker.start(t));
    const memory = await acc.alloc(TEXT.length);
    memory.set(TEXT);
    assert.ok(gunzipSync(await acc.compress(memory, { level: 1 })).equals(TEXT));
    assert.ok(gunzipSync(acc.compressSync(memory.subarray(100, 9000))).equals(TEXT.subarray(100, 9000)));
  });

  test('has raw queues', async (t) => {
    const acc = await opened(t, await Broker.start(t));
    const queue = await acc.requestQueue({ depth: 16 });
    const request = new Submission();
    const done = new Completion();
    for (let i = 0; i < 1000; i++) {
      request.requestId = i;
      assert.ok(queue.send(request));
      assert.ok(queue.recvSync(done));
      assert.equal(done.requestId, i);
    }
    await acc.releaseQueue(queue);
  });

  test('is found at its default socket, and by WARPDRIVE_DEVICE; without one there is the embedded one', async (t) => {
    const ask = `
      const { open } = await import(library);
      const acc = await open();
      console.log(acc.devices()[0].name, (await acc.compress(Buffer.from('x'))).length > 0);
      await acc.close();
    `;
    const asked = async (env: Record<string, string>): Promise<string> => {
      const { stdout, stderr, code } = await runChild(ask, [], env);
      assert.equal(code, 0, stderr);
      return stdout.trim();
    };
    const broker = await Broker.start(t);
    const atDefault = await Broker.start(t, [], { socket: join(broker.folder, 'warpdrive.sock') });
    assert.equal(await asked({ XDG_RUNTIME_DIR: broker.folder }), `unix:${atDefault.socket} true`);
    assert.equal(await asked({ WARPDRIVE_DEVICE: `unix:${broker.socket}` }), `unix:${broker.socket} true`);
    const embedded = { XDG_RUNTIME_DIR: broker.folder, WARPDRIVE_DEVICE: 'embedded' };
    assert.equal(await asked(embedded), 'embedded true');
    await atDefault.kill();
    assert.equal(await asked({ XDG_RUNTIME_DIR: broker.folder }), 'embedded true');
    assert.equal(await asked({ XDG_RUNTIME_DIR: join(broker.folder, 'none') }), 'embedded true');
  });

  test('that is not there, or is asked for what it cannot do, says so', async (t) => {
    const broker = await Broker.start(t);
    await fails(open('unix:/nowhere/at/all'), DeviceLostError, 'DEVICE_LOST', /no broker answers at .*serve/);
    await fails(
      open(`unix:${broker.socket}`, { engines: 2 }),
      ArgumentError,
      'ARGUMENT',
      /engines is the broker's/,
    );
    for (const reconnect of [{ timeoutMs: 0 }, { timeoutMs: 'x' }, 1] as unknown as true[]) {
      await fails(open(`unix:${broker.socket}`, { reconnect }), ArgumentError, 'ARGUMENT', /reconnect/);
    }
    await broker.kill();
    await fails(open(`unix:${broker.socket}`), DeviceLostError, 'DEVICE_LOST', /no broker answers/);
  });

  test('that lets this process in no more says why; found by itself, it is passed over', async (t) => {
    const folder = (await Broker.start(t)).folder;
    const limits = { user: { clients: 1 } };
    const broker = await Broker.start(t, [], { socket: join(folder, 'warpdrive.sock'), config: { limits } });
    await opened(t, broker);
    await fails(
      open(`unix:${broker.socket}`),
      DeviceLostError,
      'DEVICE_LOST',
      /all the clients that it may have/,
    );
    const source = `
      const { open } = await import(library);
      const acc = await open();
      console.log(acc.devices()[0].name);
      await acc.close();
    `;
    const { stdout, stderr } = await runChild(source, [], { XDG_RUNTIME_DIR: folder });
    assert.equal(stdout.trim(), 'embedded', stderr);
  });
});

describe('a broker that goes away', () => {
  test('fails all that is in flight at once, and all that comes after', async (t) => {
    const broker = await Broker.start(t, [], { env: { WARPDRIVE_INJECT: 'delay=60000:compress:3' } });
    const acc = await opened(t, broker);
    await acc.compress(SMALL);
    const queue = await acc.requestQueue({ depth: 4 });
    const work = Promise.allSettled(Array.from({ length: 20 }, () => acc.compress(SMALL)));
    await new Promise((resolve) => setTimeout(resolve, 50));
    await broker.kill();
    const outcomes = await settles(work, 'the requests in flight');
    const lost = outcomes.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
    assert.ok(lost.length >= 18);
    for (const { reason } of lost) assert.ok(reason instanceof DeviceLostError, String(reason));
    await fails(acc.compress(SMALL), DeviceLostError, 'DEVICE_LOST', /gone/);
    assert.throws(() => acc.compressSync(SMALL), DeviceLostError);
    queue.send(new Submission());
    assert.throws(() => queue.recvSync(new Completion()), DeviceLostError);
  });

  test('ends a synchronous wait, too', async (t) => {
    const broker = await Broker.start(t);
    const source = `
      const { open } = await import(library);
      const acc = await open('unix:${broker.socket}');
      process.kill(${broker.pid}, 'SIGSTOP');
      setTimeout(() => {}, 1000);
      const { spawn } = await import('node:child_process');
      spawn('sh', ['-c', 'sleep 0.3; kill -KILL ${broker.pid}'], { stdio: 'ignore' });
      try { acc.compressSync(Buffer.from('x')); } catch (error) { console.log(error.code); }
      process.exit();
    `;
    const { stdout, stderr } = await settles(runChild(source), 'the child', 30_000);
    assert.equal(stdout.trim(), 'ERR_WARPDRIVE_DEVICE_LOST', stderr);
  });

  test('completes what it has before it stops', async (t) => {
    const broker = await Broker.start(t, [], { env: { WARPDRIVE_INJECT: 'delay=300:compress' } });
    const acc = await opened(t, broker);
    const work = [acc.compress(SMALL), acc.compress(SMALL)];
    await new Promise((resolve) => setTimeout(resolve, 100));
    const ended = broker.stop();
    for (const packed of await Promise.all(work)) assert.ok(gunzipSync(packed).equals(SMALL));
    assert.deepEqual(await ended, { code: 0, signal: null });
  });

  test('is replaced by the next one at its socket, and every request is answered once', async (t) => {
    const first = await Broker.start(t);
    const acc = await opened(t, first, { reconnect: true });
    const memory = await acc.alloc(SMALL.length);
    memory.set(SMALL);
    let brokers = 1;
    let current = first;
    let stop = false;
    let answers = 0;
    const worker = async (index: number): Promise<void> => {
      while (!stop) {
        const input = index % 2 === 0 ? TEXT.subarray(index * 1000, index * 1000 + 40_000) : memory;
        const packed = await acc.compress(input, { level: 1 });
        assert.ok(gunzipSync(packed).equals(index % 2 === 0 ? input : SMALL));
        answers++;
      }
    };
    const streams = async (): Promise<void> => {
      const packed = gzipSync(TEXT);
      while (!stop) assert.ok((await acc.decompress(packed)).equals(TEXT));
    };
    const work = Promise.all([...Array.from({ length: 8 }, (_, index) => worker(index)), streams()]);
    for (; brokers <= 4; brokers++) {
      const before = answers;
      while (answers < before + 30) await new Promise((resolve) => setTimeout(resolve, 5));
      await current.kill();
      assert.throws(() => acc.compressSync(SMALL), DeviceLostError, 'nobody can wait for the next one here');
      current = await Broker.start(t, [], { socket: first.socket });
    }
    stop = true;
    await settles(work, 'all work', 30_000);
    assert.ok(gunzipSync(acc.compressSync(memory)).equals(SMALL));
    assert.ok(answers > 100);
  });

  test('without a next one, everything fails when the time is up', async (t) => {
    const broker = await Broker.start(t, [], { env: { WARPDRIVE_INJECT: 'delay=60000:compress:2' } });
    const acc = await opened(t, broker, { reconnect: { timeoutMs: 300 } });
    await acc.compress(SMALL);
    const work = Promise.allSettled([acc.compress(SMALL), acc.decompress(gzipSync(TEXT))]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await broker.kill();
    for (const outcome of await settles(work, 'the requests in flight')) {
      assert.equal(outcome.status, 'rejected');
      assert.match(String(outcome.reason), /DeviceLostError: .*within 300 ms/);
    }
    await fails(acc.compress(SMALL), DeviceLostError, 'DEVICE_LOST', /within 300 ms/);
  });
});
