import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, STATUS } from '../../src/abi/queue.js';
import { Completion, type DeviceQueue, type DriverDevice, Submission } from '../../src/driver/driver.js';
import { wva } from '../../src/driver/wva/wva.js';
import { connectUnix } from '../../src/sys/unix-socket.js';
import { VfioUserTransport } from '../../src/transport/vfio-user/client.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

/** How long anything awaited may take before a test gives up: a bound against hanging, not a claim about speed. */
const PATIENCE_MS = 30_000;

/** One line of the broker's log. */
export interface LogLine extends Record<string, unknown> {
  level: string;
  message: string;
  logger: string;
}

export interface BrokerOptions {
  /** Written to a file that `--config` names; `configure` changes it later. */
  config?: object;
  env?: Record<string, string>;
  /** Where to listen; by default in a folder of its own. */
  socket?: string;
  /** Instead of node: what to run it with, for example another user (see `unshare`, `prlimit`). */
  wrapper?: string[];
  /** A listening descriptor to be passed as number 3, and further ones after it. */
  passed?: number[];
}

/** How a process ended. */
export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** Polls until something holds. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > end) assert.fail(`gave up waiting: ${what}`);
    await sleep(5);
  }
}

/** A `warpdrive serve` in a process of its own, ready for clients. */
export class Broker {
  readonly folder: string;
  readonly socket: string;
  /** How the process ended, once it has. */
  readonly ended: Promise<Ended>;
  /** What it has logged so far. */
  readonly logs: LogLine[] = [];
  /** What it has said on its standard output so far. */
  stdout = '';
  readonly #child: ChildProcess;
  #stderr = '';
  #end: Ended | undefined;

  private constructor(args: string[], options: BrokerOptions) {
    this.folder = mkdtempSync(join(tmpdir(), 'warpdrive-broker-test-'));
    this.socket = options.socket ?? join(this.folder, 'broker.sock');
    const command = [process.execPath, MAIN, 'serve', '--socket', this.socket];
    if (options.config) {
      this.configure(options.config);
      command.push('--config', this.#configFile);
    }
    const [program, ...rest] = [...(options.wrapper ?? []), ...command, ...args];
    this.#child = spawn(program!, rest, {
      stdio: ['ignore', 'pipe', 'pipe', ...(options.passed ?? [])],
      env: { ...process.env, ...options.env },
    });
    this.#child.stdout!.on('data', (chunk) => {
      this.stdout += chunk;
    });
    this.#readLog(this.#child.stderr!);
    this.ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (code, signal) => {
        this.#end = { code, signal };
        resolve(this.#end);
      });
    });
  }

  /** Starts one that ends with the test; resolves when it takes clients. */
  static async start(t: TestContext, args: string[] = [], options: BrokerOptions = {}): Promise<Broker> {
    const broker = new Broker(args, options);
    t.after(() => broker.dispose());
    await until(() => broker.stdout.includes('listening') || broker.#end !== undefined, 'the broker listens');
    if (broker.#end) throw new Error(`the broker ended (${broker.#end.code}): ${broker.#stderr}`);
    return broker;
  }

  #readLog(stream: Readable): void {
    let rest = '';
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      this.#stderr += chunk;
      const lines = (rest + chunk).split('\n');
      rest = lines.pop()!;
      for (const line of lines) if (line.startsWith('{')) this.logs.push(JSON.parse(line) as LogLine);
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get #configFile(): string {
    return join(this.folder, 'warpdrive.json');
  }

  /** Writes the configuration file anew; the broker reads it at SIGHUP. */
  configure(config: object | string): void {
    writeFileSync(this.#configFile, typeof config === 'string' ? config : JSON.stringify(config));
  }

  /** Waits for a line of the log, the first one after `from` lines. */
  async logged(message: string, from = 0): Promise<LogLine> {
    const find = (): LogLine | undefined => this.logs.slice(from).find((line) => line.message === message);
    await until(() => find() !== undefined || this.#end !== undefined, `the broker logs "${message}"`);
    const found = find();
    assert.ok(found, `the broker ended (${this.#end?.code}) without "${message}": ${this.#stderr}`);
    return found;
  }

  /** Makes it load its configuration again, and waits until it has, or has refused to. */
  async reload(config?: object | string): Promise<LogLine> {
    if (config !== undefined) this.configure(config);
    const from = this.logs.length;
    this.signal('SIGHUP');
    const outcome = /^(configuration reloaded|the configuration was not reloaded)$/;
    await until(() => this.logs.slice(from).some(({ message }) => outcome.test(message)), 'a reload');
    return this.logs.slice(from).find(({ message }) => outcome.test(message))!;
  }

  /** A connected socket. The caller closes it. */
  open(): number {
    return connectUnix(this.socket);
  }

  /** A client that keeps to the protocol. The caller closes it. */
  connect(): Promise<VfioUserTransport> {
    return VfioUserTransport.connect(this.open(), 'broker');
  }

  /** The same with its driver. The caller closes it. */
  async device(): Promise<DriverDevice> {
    return wva.open(await this.connect());
  }

  /** How many descriptors the process has open. */
  get openFds(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Stops it as a service manager does. */
  stop(): Promise<Ended> {
    this.signal('SIGTERM');
    return this.ended;
  }

  /** Ends it with no chance to clean up. */
  kill(): Promise<Ended> {
    this.signal('SIGKILL');
    return this.ended;
  }

  /** Ends it, if it has not, and removes what it left. */
  async dispose(): Promise<void> {
    if (!this.#end) await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The next completion of a queue. @throws AssertionError once the device will complete nothing more */
export async function completion(queue: DeviceQueue): Promise<Completion> {
  const done = new Completion();
  let found = false;
  await until(() => {
    found = queue.poll(done);
    return found || queue.failed;
  }, 'a completion');
  assert.ok(found, 'the device has failed');
  return done;
}

/** Sends one request that touches no memory, and waits until it is done. */
export async function noop(device: DriverDevice): Promise<void> {
  const queue = await device.createQueue({ depth: 4 });
  const request = new Submission();
  request.operation = OPCODE.noop;
  assert.ok(queue.submit(request));
  queue.publish();
  const done = await completion(queue);
  assert.equal(done.status, STATUS.ok);
  await queue.release();
}

/** Compresses through a queue of its own. */
export async function gzip(device: DriverDevice, input: Uint8Array): Promise<Buffer> {
  const queue = await device.createQueue({ depth: 4 });
  const memory = await device.allocate(3 * input.byteLength + 4096);
  memory.mapping.bytes.set(input);
  const request = new Submission();
  request.operation = OPCODE.compress;
  request.algorithm = ALGORITHM.gzip;
  request.level = 1;
  request.source = memory.iova;
  request.sourceLength = input.byteLength;
  request.destination = memory.iova + input.byteLength;
  request.capacity = memory.mapping.length - input.byteLength;
  assert.ok(queue.submit(request));
  queue.publish();
  const done = await completion(queue);
  assert.equal(done.status, STATUS.ok);
  const start = input.byteLength;
  const output = Buffer.from(memory.mapping.bytes.subarray(start, start + done.produced));
  await queue.release();
  await memory.free();
  return output;
}
