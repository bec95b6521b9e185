import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { type AddressInfo, connect, createServer as listen } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import type { ZlibStats } from '../../src/compat/zlib/counters.js';
import { Broker, until } from '../broker/support-broker.js';

/* The programs of docs/servers.md, as they stand there, in processes of their own. */

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MAIN = join(ROOT, 'dist/src/cli/main.js');
const REGISTER = ['--import', 'warpdrive/register'];

/** Opens the accelerator before a program begins, and says at its end what was done where. */
const OBSERVER = `
  import { writeSync } from 'node:fs'
  import { promisify } from 'node:util'
  import zlib from 'warpdrive/zlib'
  const stats = zlib[Symbol.for('warpdrive.zlib')]
  while (stats().accelerated.calls === 0) await promisify(zlib.gzip)('text')
  const { starting } = stats().node.reasons
  process.on('SIGTERM', () => process.exit())
  process.on('exit', () => {
    const { accelerated, caller, node } = stats()
    if (node.reasons.starting === starting) delete node.reasons.starting
    writeSync(3, JSON.stringify({ accelerated, caller, node }))
  })`;

/** More than all tests of a package say. */
const OUTPUT_BYTES = 64 * 1024 * 1024;

const RECORDS = Array.from({ length: 500 }, (_, id) => ({ id, name: `Record ${id}` }));

/** As much of `ws` as is used here; it comes without types. */
interface Socket extends NodeJS.EventEmitter {
  send(data: string | Buffer): void;
  close(): void;
}
const { WebSocket }: { WebSocket: new (url: string) => Socket } = createRequire(import.meta.url)('ws');

describe('the programs of docs/servers.md', () => {
  let folder: string;

  before(() => {
    // Within the package: its name and those of its dependencies are looked for from there.
    folder = mkdtempSync(join(ROOT, 'dist', 'servers-'));
    const text = readFileSync(join(ROOT, 'docs/servers.md'), 'utf8');
    for (const [, program, name] of text.matchAll(/```js\n(\/\/ (\w+\.mjs): .*?)```/gs)) {
      writeFileSync(join(folder, name!), program!);
    }
    writeFileSync(join(folder, 'observer.mjs'), OBSERVER);
  });
  after(() => rmSync(folder, { recursive: true }));

  /** A program under observation; it ends with the test. */
  function start(t: TestContext, options: string[], args: string[], port?: number): ChildProcess {
    const observer = ['--import', join(folder, 'observer.mjs')];
    const child = spawn(process.execPath, [...options, ...observer, ...args], {
      cwd: folder,
      env: { ...process.env, WARPDRIVE_DEVICE: 'embedded', PORT: String(port) },
      stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
    });
    t.after(() => child.kill('SIGKILL'));
    return child;
  }

  /** A server that listens; its port, and what it says when it has been stopped. */
  async function serve(
    t: TestContext,
    name: string,
    options: string[] = [],
  ): Promise<{ port: number; stop: () => Promise<ZlibStats> }> {
    const port = await freePort();
    const child = start(t, options, [name], port);
    const ended = endOf(child);
    await until(() => listens(port), `${name} listens`);
    const stop = async () => {
      child.kill('SIGTERM');
      return (await ended).stats;
    };
    return { port, stop };
  }

  it('fastify: answers are compressed in one call', async (t) => {
    const { port, stop } = await serve(t, 'fastify.mjs');
    for (let i = 0; i < 20; i++) await checkRecords(port);
    const { caller, node } = await stop();
    assert.equal(caller.calls, 20);
    assert.deepEqual(node.reasons, {});
  });

  it('express, with compression', async (t) => {
    const { port, stop } = await serve(t, 'express.mjs', REGISTER);
    await Promise.all(Array.from({ length: 20 }, () => checkRecords(port)));
    const { accelerated, node } = await stop();
    assert.equal(accelerated.streams, 20);
    assert.deepEqual(node.reasons, {});
  });

  it('ws: short messages by node:zlib, long ones by the accelerator', async (t) => {
    const { port, stop } = await serve(t, 'ws.mjs', REGISTER);
    const long = JSON.stringify(Array.from({ length: 20 }, () => RECORDS));
    await echo(port, ['short', 'of some length '.repeat(100), 'of some length '.repeat(110)]);
    await echo(port, [long, long, 'of some length '.repeat(100)]);
    const { accelerated, node } = await stop();
    assert.equal(node.reasons['small flushes'], 1);
    assert.deepEqual(Object.keys(node.reasons), ['small flushes']);
    assert.equal(accelerated.streams, 3, 'two connections decompress, one compresses');
  });

  it('undici and fetch decompress', async (t) => {
    const text = JSON.stringify(RECORDS);
    const server = createServer((_, response) => {
      response.setHeader('content-encoding', 'gzip').end(gzipSync(text));
    }).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { stdout, stats } = await endOf(start(t, REGISTER, ['undici.mjs', `http://127.0.0.1:${port}/`]));
    assert.equal(stdout, `${text.length} ${text.length} ${text.length}\n`);
    assert.equal(stats.accelerated.streams, 3);
    assert.deepEqual(stats.node.reasons, {});
  });

  it('files, through pipelines', async (t) => {
    const from = join(folder, 'text.json');
    const text = JSON.stringify(Array.from({ length: 200 }, () => RECORDS));
    writeFileSync(from, text);
    const packed = join(folder, 'text.json.gz');
    const { stats } = await endOf(start(t, [], ['pack.mjs', from, packed]));
    assert.ok(gunzipSync(readFileSync(packed)).equals(Buffer.from(text)));
    assert.ok(readFileSync(`${packed}.unpacked`).equals(Buffer.from(text)));
    assert.equal(stats.accelerated.streams, 2);
    assert.deepEqual(stats.node.reasons, {});
  });

  it('a cluster, whose workers share one broker', async (t) => {
    const broker = await Broker.start(t);
    const port = await freePort();
    const child = spawn(process.execPath, [...REGISTER, 'cluster.mjs'], {
      cwd: folder,
      env: { ...process.env, WARPDRIVE_DEVICE: `unix:${broker.socket}`, PORT: String(port) },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    await until(() => listens(port), 'the cluster listens');
    const parents = (): string[] =>
      clientsOf(broker).map(
        ({ pid }) => /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]!,
      );
    const workers = new Set<string>();
    await until(async () => {
      workers.add(await checkRecords(port));
      return workers.size === 2 && parents().length === 2;
    }, 'both workers are clients of the broker');
    assert.deepEqual(parents(), [String(child.pid), String(child.pid)]);
    for (let i = 0; i < 20; i++) await checkRecords(port);
    await broker.kill();
    for (let i = 0; i < 4; i++) await checkRecords(port);
  });
});

describe('@fastify/compress', () => {
  it("passes its own tests under register, but for one that wants zlib's own bytes", () => {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [`--import=${import.meta.resolve('warpdrive/register')}`, '--test', '--test-reporter=tap'],
      {
        cwd: join(ROOT, 'node_modules/@fastify/compress'),
        env: { ...env, WARPDRIVE_DEVICE: 'embedded', WARPDRIVE_REPORT: '1' },
        encoding: 'utf8',
        maxBuffer: OUTPUT_BYTES,
      },
    );
    const count = (what: string): number => Number(new RegExp(`^# ${what} (\\d+)$`, 'm').exec(stdout)?.[1]);
    // It compares what a stream and a call make of the same text: with us their headers differ.
    assert.deepEqual(failures(stdout), ['when using gzip encoding'], stdout + stderr);
    assert.equal(count('fail'), 1);
    assert.ok(count('pass') > 200);
    assert.match(
      stdout,
      /^# warpdrive .* [1-9]\d* streams accelerated; [1-9]\d* calls by engines of the calling thread/m,
    );
  });
});

/** The names of tests that failed by themselves. */
function failures(tap: string): string[] {
  const all = tap.matchAll(/^ *not ok \d+ - ([^\n]*)\n *---\n(.*?)^ *\.\.\.$/gms);
  return [...all].filter(([, , why]) => !why!.includes("'subtestsFailed'")).map(([, name]) => name!);
}

/** What the broker's own command says of its clients. */
function clientsOf(broker: Broker): { pid: number }[] {
  const args = [MAIN, 'clients', '--socket', broker.socket, '--json'];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.equal(stderr, '');
  return JSON.parse(stdout).clients;
}

/** Waits until a program has ended; what it wrote, and the observer's figures. */
async function endOf(child: ChildProcess): Promise<{ stdout: string; stats: ZlibStats }> {
  let stdout = '';
  let figures = '';
  child.stdout!.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stdio[3]!.on('data', (chunk) => {
    figures += chunk;
  });
  const [code] = await once(child, 'close');
  assert.equal(code, 0);
  return { stdout, stats: JSON.parse(figures) as ZlibStats };
}

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = listen().listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, 'localhost', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** Asks a server for its records, on a connection of their own; resolves with the worker that answered. */
async function checkRecords(port: number): Promise<string> {
  const answer = await fetch(`http://localhost:${port}/`, { headers: { connection: 'close' } });
  assert.equal(answer.headers.get('content-encoding'), 'gzip');
  assert.deepEqual(await answer.json(), RECORDS);
  return answer.headers.get('x-worker') ?? '';
}

/** Sends messages and waits for each to come back. */
async function echo(port: number, messages: string[]): Promise<void> {
  const socket = new WebSocket(`ws://localhost:${port}/`);
  await once(socket, 'open');
  for (const message of messages) {
    socket.send(message);
    const [answer] = await once(socket, 'message');
    assert.equal(String(answer), message);
  }
  socket.close();
  await once(socket, 'close');
}
