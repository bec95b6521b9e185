import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runChild } from '../support/expect.js';

/* What an accelerator means for the process it lives in: each test is a process of its own. */

const BUSY = `
  const { open } = await import(library);
  const acc = await open({ engines: 2 });
  const data = Buffer.alloc(1 << 20, 'some text to be compressed; ');
  const work = Array.from({ length: 40 }, () => acc.compress(data, { level: 9 }));
  for (const each of work) each.catch(() => {});
`;

async function ends(
  source: string,
  expected: { code: number; stdout?: string },
  nodeArguments: string[] = [],
) {
  const { code, signal, stdout, stderr } = await runChild(source, nodeArguments);
  assert.deepEqual({ code, signal }, { code: expected.code, signal: null }, stderr);
  if (expected.stdout !== undefined) assert.equal(stdout, expected.stdout);
  return stderr;
}

describe('a process', () => {
  it('ends by itself while an accelerator is open and idle', async () => {
    for (const options of ['{}', '{ sva: false }']) {
      const stderr = await ends(
        `
        const { open } = await import(library);
        const acc = await open(${options});
        await acc.alloc(4096);
        await acc.requestQueue();
        console.log((await acc.compress(Buffer.from('x'))).length > 0);
        `,
        { code: 0, stdout: 'true\n' },
      );
      assert.equal(stderr, '');
    }
  });

  it('stays until what is in flight is done', async () => {
    await ends(`${BUSY} Promise.all(work).then((all) => console.log(all.length));`, {
      code: 0,
      stdout: '40\n',
    });
  });

  it('can exit at any moment with requests in flight', async () => {
    for (const when of [
      '',
      'await new Promise(setImmediate);',
      'await new Promise((r) => setTimeout(r, 30));',
    ]) {
      await ends(`${BUSY} ${when} process.exit(3);`, { code: 3 });
    }
    await ends(`${BUSY} acc.close(); process.exit(4);`, { code: 4 });
    await ends(
      `
      const { open } = await import(library);
      open(); open();
      setTimeout(() => process.exit(5), 40);
      `,
      { code: 5 },
    );
  });

  it('can exit while threads of an accelerator are starting', async () => {
    for (let run = 0; run < 10; run++) {
      await ends(
        `
        const { open } = await import(library);
        setTimeout(() => process.exit(6), ${20 + run * 15});
        const acc = await open({ engines: 32 });
        const data = Buffer.alloc(1 << 24, 'some text to be compressed; ');
        acc.compress(data, { level: 9 }).catch(() => {});
        setTimeout(() => process.exit(6), ${20 + run * 15});
        `,
        { code: 6 },
      );
    }
  });

  it('dies of an uncaught exception as it would without us', async () => {
    for (const when of ['', 'await new Promise((r) => setTimeout(r, 20));']) {
      const stderr = await ends(`${BUSY} ${when} setImmediate(() => { throw new Error('mine'); });`, {
        code: 1,
      });
      assert.match(stderr, /Error: mine/);
    }
    const stderr = await ends(`${BUSY} Promise.reject(new Error('also mine'));`, { code: 1 });
    assert.match(stderr, /also mine/);
  });

  it('outlives worker threads that are terminated with work in flight', async () => {
    await ends(
      `
      const { Worker } = await import('node:worker_threads');
      const source = \`
        (async () => {
          const { parentPort } = await import('node:worker_threads');
          const { open } = await import('\${library}');
          // A second engine thread would just be starting (docs/security.md, "Known limits").
          const acc = await open({ engines: 1 });
          const data = Buffer.alloc(300000, 'some text');
          const queue = await acc.requestQueue({ depth: 4 });
          for (let i = 0; i < 60; i++) acc.compress(data, { level: 9 }).catch(() => {});
          parentPort.postMessage('busy');
          for (;;) await acc.compress(data, { level: 1 });
        })();
      \`;
      for (let round = 0; round < 8; round++) {
        const worker = new Worker(source, { eval: true });
        await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject); });
        if (round % 2) await new Promise((resolve) => setTimeout(resolve, round * 5));
        await worker.terminate();
      }
      const { open } = await import(library);
      const acc = await open();
      console.log((await acc.decompress(await acc.compress(Buffer.from('alive')))).toString());
      await acc.close();
      `,
      { code: 0, stdout: 'alive\n' },
    );
  });

  it('outlives worker threads that end by themselves with an accelerator open', async () => {
    await ends(
      `
      const { Worker } = await import('node:worker_threads');
      const source = \`
        (async () => {
          const { open } = await import('\${library}');
          const acc = await open();
          await acc.compress(Buffer.from('x'));
        })();
      \`;
      for (let round = 0; round < 4; round++) {
        const worker = new Worker(source, { eval: true });
        const code = await new Promise((resolve, reject) => { worker.once('exit', resolve); worker.once('error', reject); });
        if (code !== 0) throw new Error('code ' + code);
      }
      console.log('alive');
      `,
      { code: 0, stdout: 'alive\n' },
    );
  });

  it('is left as it was by accelerators that were opened and closed', async () => {
    await ends(
      `
      const { readdirSync, readFileSync } = await import('node:fs');
      const { open } = await import(library);
      const { mappingCount } = await import(memory);
      const look = () => ({
        fds: readdirSync('/proc/self/fd').length,
        threads: readdirSync('/proc/self/task').length,
        mappings: mappingCount().mappings,
        maps: readFileSync('/proc/self/maps', 'utf8').split('\\n').length,
        megabytes: process.memoryUsage().rss / 1e6,
      });
      const cycle = async (round) => {
        const acc = await open({ sva: round % 2 === 0, engines: 2, ...(round % 5 === 4 ? { inject: ['kill:compress:3'] } : {}) });
        const queue = await acc.requestQueue({ depth: 8 });
        const data = Buffer.alloc(200000, 'text ');
        const work = Promise.allSettled(Array.from({ length: 10 }, () => acc.compress(data)));
        const stream = acc.decompressStream([Buffer.from([0x1f, 0x8b, 8, 0])]);
        await stream.next().catch(() => {});
        if (round % 3 === 0) await work;
        await acc.close();
        await work;
      };
      const settle = async (wanted) => {
        for (let turn = 0; turn < 100; turn++) {
          await new Promise((resolve) => setTimeout(resolve, 10));
          globalThis.gc();
          const now = look();
          if (Object.keys(wanted).every((key) => now[key] <= wanted[key])) return;
        }
        throw new Error('left behind: ' + JSON.stringify({ wanted, now: look() }));
      };
      for (let round = 0; round < 15; round++) await cycle(round);
      await new Promise((resolve) => setTimeout(resolve, 100));
      globalThis.gc();
      const before = look();
      for (let round = 0; round < 20; round++) await cycle(round);
      // The C library keeps arenas of threads that are gone. koffi keeps three mappings of each, which hold next to
      // nothing; three threads a cycle. What an engine needs is half a megabyte and more.
      await settle({ ...before, maps: before.maps + 20 * 3 * 3 + 40, megabytes: before.megabytes + 24 });
      console.log('clean');
      `,
      { code: 0, stdout: 'clean\n' },
      ['--expose-gc'],
    );
  });

  it('gets everything back from an open that failed', async () => {
    await ends(
      `
      const { readdirSync } = await import('node:fs');
      const { open } = await import(library);
      const fds = () => readdirSync('/proc/self/fd').length;
      await (await open()).close();
      const before = fds();
      for (const options of [{ queueDepth: 7 }, { device: 'none' }, { inject: ['x'] }, { engines: 99 }]) {
        await open(options).then(() => { throw new Error('opened'); }, () => {});
      }
      for (let turn = 0; turn < 300 && fds() > before; turn++) await new Promise((r) => setTimeout(r, 10));
      console.log(fds() - before);
      `,
      { code: 0, stdout: '0\n' },
    );
  });
});
