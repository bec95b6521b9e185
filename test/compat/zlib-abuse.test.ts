import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Broker } from '../broker/support-broker.js';
import { runChild } from '../support/expect.js';

/* What careless programs do to streams and calls, and what may happen to them: each in a process of its own. */

const HEAD = `
  const zlib = (await import(new URL('./compat/zlib/index.js', library))).default;
  const node = (await import('node:zlib')).default;
  const stats = zlib[Symbol.for('warpdrive.zlib')];
  const { promisify } = await import('node:util');
  const ready = async () => { while (stats().accelerated.calls === 0) await promisify(zlib.gzip)('x'); };
  const data = Buffer.alloc(3_000_000, 'some text to be compressed, and more of it; ');
`;

async function ends(
  source: string,
  expected: { code: number; stdout?: string },
  env: Record<string, string> = {},
  flags: string[] = [],
): Promise<string> {
  const { code, signal, stdout, stderr } = await runChild(HEAD + source, flags, {
    WARPDRIVE_DEVICE: 'embedded',
    ...env,
  });
  assert.deepEqual({ code, signal }, { code: expected.code, signal: null }, stderr);
  if (expected.stdout !== undefined) assert.equal(stdout, expected.stdout, stderr);
  return stderr;
}

describe('warpdrive/zlib, abused', () => {
  it('lets a process end that has nothing left to do', async () => {
    const code = 0;
    await ends(`console.log(zlib.gunzipSync(zlib.gzipSync('all')).toString());`, { code, stdout: 'all\n' });
    await ends(`zlib.gzip('x', () => console.log('done'));`, { code, stdout: 'done\n' });
    await ends(`await ready(); zlib.gzip('x', () => console.log('done'));`, { code, stdout: 'done\n' });
    await ends(`await ready(); zlib.createGzip().write(data); zlib.createGunzip().write('\\x1f');`, { code });
    await ends(
      `zlib.createGunzip().on('data', () => {}).on('end', () => console.log('end')).end(node.gzipSync(data));`,
      { code, stdout: 'end\n' },
    );
  });

  it('does not wait for a device that never answers', async () => {
    const source = `
      const { createServer } = await import('node:net');
      const { mkdtempSync, rmSync } = await import('node:fs');
      const folder = mkdtempSync('/tmp/warpdrive-silent-');
      const path = folder + '/socket';
      // Takes connections, and never says a word: what a stopped broker looks like.
      const server = createServer(() => {}).listen(path);
      await new Promise((resolve) => server.once('listening', resolve));
      process.env.WARPDRIVE_DEVICE = 'unix:' + path;
      const packed = node.gzipSync(data);
      const results = await Promise.all(Array.from({ length: 20 }, () => promisify(zlib.gunzip)(packed)));
      const stream = zlib.createGunzip();
      let length = 0;
      stream.on('data', (part) => (length += part.length)).end(packed);
      await new Promise((resolve) => stream.once('end', resolve));
      console.log(results.every((each) => each.equals(data)), length === data.length, stats().accelerated);
      rmSync(folder, { recursive: true });
      process.exit(0);
    `;
    const began = performance.now();
    await ends(source, { code: 0, stdout: 'true true { calls: 0, streams: 0 }\n' });
    // No more than a bound for a hang: opening itself gives up after half a minute.
    assert.ok(performance.now() - began < 15_000);
  });

  it('lets a process exit with work pending', async () => {
    for (const when of [
      '',
      'await ready();',
      'await ready(); setImmediate(() => process.exit(7)); await 0;',
    ]) {
      await ends(
        `${when}
        for (let i = 0; i < 20; i++) zlib.gzip(data, { level: 9 }, () => {});
        const stream = zlib.createGzip({ level: 9 });
        stream.write(data);
        zlib.createGunzip().write(node.gzipSync(data));
        setTimeout(() => process.exit(7), 20);
        `,
        { code: 7 },
      );
    }
  });

  it('makes what a callback throws an uncaught exception', async () => {
    for (const call of [`zlib.gzip('x', f)`, `zlib.gunzip('bad', f)`, `zlib.createGzip().write(data, f)`]) {
      await ends(
        `await ready();
        process.on('unhandledRejection', () => process.exit(3));
        process.on('uncaughtException', (error) => process.exit(error.message === 'mine' ? 5 : 4));
        const f = () => { throw new Error('mine'); };
        ${call};
        setTimeout(() => {}, 5000);
        `,
        { code: 5 },
      );
    }
  });

  it('outlives worker threads that are terminated with work in flight', async () => {
    await ends(
      `
      const { Worker } = await import('node:worker_threads');
      const source = \`
        (async () => {
          const zlib = (await import('\${new URL('./compat/zlib/index.js', library)}')).default;
          const packed = (await import('node:zlib')).gzipSync(Buffer.alloc(3000000, 'some text'));
          const { parentPort } = await import('node:worker_threads');
          const data = Buffer.alloc(3000000, 'some text');
          const stats = zlib[Symbol.for('warpdrive.zlib')];
          // A thread that ends while it loads a library is another matter (docs/security.md, "Known limits").
          while (stats().accelerated.calls === 0) await new Promise((resolve) => zlib.gzip('x', resolve));
          const stream = zlib.createGzip({ level: 9 });
          (function more() { stream.write(data, more); stream.read(); })();
          const back = zlib.createGunzip();
          (function more() { back.write(packed, more); back.read(); })();
          parentPort.postMessage('busy');
          for (;;) await new Promise((resolve) => zlib.gzip(data, resolve));
        })();
      \`;
      for (let round = 0; round < 6; round++) {
        const worker = new Worker(source, { eval: true });
        await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject); });
        await new Promise((resolve) => setTimeout(resolve, round * 10));
        await worker.terminate();
      }
      console.log(zlib.gunzipSync(zlib.gzipSync('alive')).toString());
      `,
      { code: 0, stdout: 'alive\n' },
      { WARPDRIVE_ENGINES: '1' },
    );
  });

  it('leaves nothing of what threads used that have ended', async () => {
    await ends(
      `const { Worker } = await import('node:worker_threads');
      const source = \`
        import zlib from '\${new URL('./compat/zlib/index.js', library)}';
        zlib.gunzipSync(zlib.gzipSync(Buffer.alloc(50_000)));
      \`;
      const url = new URL('data:text/javascript,' + encodeURIComponent(source));
      let before = 0;
      for (let index = 0; index < 35; index++) {
        const worker = new Worker(url);
        await new Promise((resolve) => worker.on('exit', resolve));
        if (index === 9) before = process.memoryUsage().rss;
      }
      const grown = (process.memoryUsage().rss - before) / 1e6;
      console.log(grown < 14 || 'grown by ' + grown);`,
      { code: 0, stdout: 'true\n' },
    );
  });

  it('is not hurt by buffers that change or go away while it works', async () => {
    await ends(
      `await ready();
      const copy = () => { const made = new Uint8Array(data.length); made.set(data); return made; };
      const goAway = (bytes) => structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
      for (const spoil of [(bytes) => bytes.fill(1), goAway]) {
        const results = [];
        for (let i = 0; i < 8; i++) {
          const bytes = copy();
          results.push(new Promise((resolve) => zlib.gzip(bytes, resolve)));
          spoil(bytes);
        }
        await Promise.all(results);
        for (const create of ['createGzip', 'createGunzip']) {
          const stream = zlib[create]();
          const bytes = copy();
          if (create === 'createGunzip') bytes.set(node.gzipSync(data));
          stream.on('error', () => {});
          const closed = new Promise((resolve) => stream.on('close', resolve));
          stream.resume();
          stream.write(bytes);
          spoil(bytes);
          stream.end();
          await closed;
        }
      }
      console.log('alive');
      `,
      { code: 0, stdout: 'alive\n' },
    );
  });

  it('gives each result memory of its own', async () => {
    await ends(
      `await ready();
      const texts = ['one', 'two', 'text '.repeat(1000)];
      const made = await Promise.all(texts.map((text) => promisify(zlib.gzip)(text)));
      const back = await Promise.all(made.map((bytes) => promisify(zlib.gunzip)(bytes)));
      const packed = texts.map((text) => zlib.gzipSync(text));
      const unpacked = packed.map((bytes) => zlib.gunzipSync(bytes));
      for (const [first, ...others] of [made, back, packed, unpacked]) {
        structuredClone(first.buffer, { transfer: [first.buffer] });
        console.log(first.length, others.every(({ length }) => length > 0));
      }`,
      { code: 0, stdout: '0 true\n'.repeat(4) },
    );
  });

  it('makes Web streams where built-ins are frozen', async () => {
    await ends(
      `const web = await import(new URL('./compat/web/index.js', library));
      Object.freeze(node);
      const packed = new Blob(['text']).stream().pipeThrough(new web.CompressionStream('gzip'));
      console.log(await new Response(packed.pipeThrough(new web.DecompressionStream('gzip'))).text());`,
      { code: 0, stdout: 'text\n' },
    );
  });

  it('calls back with an error, and never with nothing compressed, where a buffer goes away while its call waits', async () => {
    const source = `
      const error = [];
      await Promise.all(Array.from({ length: count }, (_, index) => new Promise((resolve) => {
        const bytes = new Uint8Array(1000);
        zlib.gzip(bytes, (cause, result) => {
          if (cause) error[index] = cause.code;
          else if (node.gunzipSync(result).length !== 1000) error[index] = 'wrong';
          resolve();
        });
        if (index >= count / 2) structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
      })));
      console.log(error.filter(Boolean).length, [...new Set(Object.values(error))].join());`;
    const stdout = '4 ERR_WARPDRIVE_DETACHED\n';
    for (const device of ['embedded', 'unix:/nowhere/at/all']) {
      await ends(`const count = 8; ${source}`, { code: 0, stdout }, { WARPDRIVE_DEVICE: device });
    }
    await ends(`await ready(); const count = 6000; ${source}`, {
      code: 0,
      stdout: '3000 ERR_WARPDRIVE_DETACHED\n',
    });
  });

  it('calls back in the asynchronous context of the call, however long it waited', async () => {
    const source = `
      const { AsyncLocalStorage } = await import('node:async_hooks');
      const store = new AsyncLocalStorage();
      const call = (index) => new Promise((resolve) => {
        store.run(index, () => zlib.gzip('x', () => resolve(store.getStore() === index)));
      });
      const all = async (count) => (await Promise.all(Array.from({ length: count }, (_, index) => call(index)))).every(Boolean);
      console.log(await all(20));
      await ready();
      console.log(await all(5000));`;
    for (const device of ['embedded', 'unix:/nowhere/at/all']) {
      const opened = device === 'embedded' ? source : source.replace('await ready();', '');
      await ends(opened, { code: 0, stdout: 'true\ntrue\n' }, { WARPDRIVE_DEVICE: device });
    }
  });

  it('keeps little of what a slow reader has not taken, however large the chunk', async () => {
    await ends(
      `await ready();
      const large = Buffer.allocUnsafeSlow(120_000_000);
      const some = (await import('node:crypto')).randomBytes(1_000_000);
      for (let at = 0; at < large.length; at += some.length) large.set(some, at);
      const stream = zlib.createGzip({ level: 1 });
      stream.end(large);
      let most = 0;
      const before = process.memoryUsage().arrayBuffers;
      let parts = 0;
      for await (const part of stream) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        if (parts++ % 50 !== 0) continue;
        gc();
        most = Math.max(most, process.memoryUsage().arrayBuffers - before);
      }
      console.log(parts > 500, most < 40_000_000 || most);`,
      { code: 0, stdout: 'true true\n' },
      {},
      ['--expose-gc'],
    );
  });

  it('keeps nothing of streams that are destroyed in the middle', async () => {
    await ends(
      `await ready();
      const packed = node.gzipSync(data);
      let late = 0;
      for (let round = 0; round < 300; round++) {
        for (const [stream, bytes] of [[zlib.createGzip(), data], [zlib.createGunzip(), packed]]) {
          let gone = false;
          stream.on('data', () => { if (gone) late++; });
          stream.on('error', () => {});
          stream.write(bytes.subarray(0, 200_000 + round));
          if (round % 3 === 0) await new Promise(setImmediate);
          if (round % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
          stream.destroy();
          gone = true;
        }
      }
      await promisify(zlib.gunzip)(packed);
      console.log(late, process.memoryUsage.rss() < 600e6);
      `,
      { code: 0, stdout: '0 true\n' },
    );
  });

  it('holds thousands of idle streams in little memory', async () => {
    await ends(
      `await ready();
      const before = process.memoryUsage.rss();
      const streams = [];
      for (let i = 0; i < 5000; i++) streams.push(zlib.createGzip(), zlib.createGunzip());
      const each = (process.memoryUsage.rss() - before) / streams.length;
      console.log(each < 12_000 || each);
      `,
      { code: 0, stdout: 'true\n' },
    );
  });

  it('answers from node:zlib where there is no accelerator, and counts it', async () => {
    await ends(
      `const [packed, more] = await Promise.all([promisify(zlib.gzip)(data), promisify(zlib.gzip)('more')]);
      const again = await promisify(zlib.gunzip)(packed);
      const parts = [];
      for await (const part of zlib.createGunzip().end(packed)) parts.push(part);
      const { accelerated, node: { calls, streams } } = stats();
      console.log(again.equals(data), Buffer.concat(parts).equals(data), accelerated.calls, calls, streams);
      `,
      { code: 0, stdout: 'true true 0 3 1\n' },
      { WARPDRIVE_DEVICE: 'unix:/nowhere/at/all' },
    );
  });

  it('does not take the end of a stream on a lost device for that of the next device', async (t) => {
    const broker = await Broker.start(t);
    await ends(
      `await ready();
      const packed = node.gzipSync(data);
      const streams = [zlib.createGzip(), zlib.createGunzip()];
      for (const stream of streams) stream.resume();
      await new Promise((resolve) => streams[0].write(data, resolve));
      await new Promise((resolve) => streams[1].write(packed.subarray(0, 4000), resolve));
      process.kill(${broker.pid}, 'SIGKILL');
      process.env.WARPDRIVE_DEVICE = 'embedded';
      const before = stats().node.calls;
      while (stats().node.calls === before) await promisify(zlib.gzip)('x');
      const { calls } = stats().accelerated;
      while (stats().accelerated.calls === calls) await promisify(zlib.gzip)('x');
      const seen = [];
      for (const stream of streams) {
        const failed = new Promise((resolve) => stream.on('error', (error) => resolve(error.code)));
        stream.end(stream === streams[0] ? data : packed.subarray(4000));
        seen.push(stream === streams[0] ? 'any' : await failed);
        await new Promise((resolve) => setTimeout(resolve, 50));
        const { calls } = stats().accelerated;
        await promisify(zlib.gzip)('x');
        seen.push(stats().accelerated.calls - calls);
      }
      console.log(JSON.stringify(seen));
      process.exit(0);
      `,
      { code: 0, stdout: '["any",1,"ERR_WARPDRIVE_DEVICE_LOST",1]\n' },
      { WARPDRIVE_DEVICE: `unix:${broker.socket}` },
    );
  });

  it('ends streams with an error when their broker goes away, and goes on without it', async (t) => {
    const broker = await Broker.start(t);
    await ends(
      `await ready();
      const packed = node.gzipSync(data);
      const ended = [[zlib.createGzip(), data], [zlib.createGunzip(), packed]].map(([stream, bytes]) => {
        stream.resume();
        stream.write(bytes.subarray(0, 4000));
        const more = () => { if (!stream.destroyed) { stream.write(data.subarray(0, 100_000)); setTimeout(more, 5); } };
        return new Promise((resolve) => {
          stream.on('error', (error) => resolve(error.code));
          setTimeout(() => stream.write(bytes.subarray(4000, 8000)), 50);
          if (bytes === data) setTimeout(more, 60);
          else setTimeout(() => stream.write(bytes.subarray(8000)), 600);
        });
      });
      setTimeout(() => process.kill(${broker.pid}, 'SIGKILL'), 200);
      console.log(JSON.stringify(await Promise.all(ended)));
      const results = await Promise.all([promisify(zlib.gzip)(data), promisify(zlib.gunzip)(packed)]);
      console.log(node.gunzipSync(results[0]).equals(data), results[1].equals(data));
      process.exit(0);
      `,
      { code: 0, stdout: '["ERR_WARPDRIVE_DEVICE_LOST","ERR_WARPDRIVE_DEVICE_LOST"]\ntrue true\n' },
      { WARPDRIVE_DEVICE: `unix:${broker.socket}` },
    );
  });

  it('does not read what became very much again to say what is wrong at its end', async () => {
    await ends(
      `await ready();
      const packed = node.gzipSync(Buffer.alloc(100_000_000));
      packed[packed.length - 8] ^= 1;
      const stream = zlib.createGunzip().resume();
      const failed = new Promise((resolve) => stream.on('error', (error) => resolve(error.code)));
      stream.write(packed.subarray(0, 50_000));
      stream.end(packed.subarray(50_000));
      console.log(await failed, stats().accelerated.streams, stats().node.reasons.failure);
      process.exit(0);
      `,
      { code: 0, stdout: 'Z_DATA_ERROR 1 undefined\n' },
    );
  });

  it('says what is wrong with what follows, also where it has not kept what became very much', async () => {
    await ends(
      `await ready();
      const packed = node.gzipSync(Buffer.alloc(9_000_000));
      const say = async (lib, tail) => {
        const stream = lib.createGunzip().resume();
        const failed = new Promise((resolve) => stream.on('error', ({ message }) => resolve(message)).on('end', resolve));
        stream.end(Buffer.concat([packed, Buffer.from(tail)]));
        return failed;
      };
      for (const tail of [[0x1f], [0x1f, 0x8b], [0x1f, 0x8c], [0x1f, 0x8b, 9], [0x1f, 0x8b, 8],
        [0x1f, 0x8b, 9, 0], [0x1f, 0x8b, 8, 0xe0], [0x50], [0x50, 1], [0, 1]]) {
        const [ours, nodes] = [await say(zlib, tail), await say(node, tail)];
        if (ours !== nodes) console.log(tail, ours, nodes);
      }
      console.log(stats().accelerated.streams);
      process.exit(0);
      `,
      { code: 0, stdout: '10\n' },
    );
  });

  it('finishes streams that were given whole when their broker goes away', async (t) => {
    const broker = await Broker.start(t);
    await ends(
      `await ready();
      const text = data.subarray(0, 100_000);
      process.kill(${broker.pid}, 'SIGSTOP');
      const ended = Array.from({ length: 20 }, async (_, index) => {
        const parts = [];
        for await (const part of zlib.createGzip({ level: index % 2 ? 1 : 6 }).end(text)) parts.push(part);
        return node.gunzipSync(Buffer.concat(parts)).equals(text);
      });
      setTimeout(() => process.kill(${broker.pid}, 'SIGKILL'), 100);
      const whole = await Promise.all(ended);
      console.log(whole.length, whole.every(Boolean), stats().node.reasons.failure);
      process.exit(0);
      `,
      { code: 0, stdout: '20 true 20\n' },
      { WARPDRIVE_DEVICE: `unix:${broker.socket}` },
    );
  });
});
