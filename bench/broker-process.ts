import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { scriptPath } from './measure.js';

const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
/** How long a broker may take to listen, and to stop. */
const START_MS = 60_000;
const STOP_MS = 15_000;

/**
 * A `warpdrive serve` in a process of its own, on a socket in a temporary folder. A second process watches this one: if
 * it ends without a chance to clean up, whatever the reason, the broker and the folder go all the same.
 */
export class BenchBroker {
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #watcher: ChildProcess;
  readonly #ended: Promise<void>;
  #stderr = '';

  private constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), 'warpdrive-bench-'));
    this.#child = spawn(
      process.execPath,
      [MAIN, 'serve', '--socket', this.#socket, '--log-level', 'warning'],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', () => resolve());
      this.#child.once('error', (error) => {
        this.#stderr += error.message;
        resolve();
      });
    });
    // Detached: an interruption at the terminal is not for the watcher, who has to clean up after it.
    this.#watcher = spawn(
      process.execPath,
      [scriptPath('./broker-watch-child.js'), String(this.#child.pid), this.#folder],
      { stdio: ['pipe', 'ignore', 'ignore'], detached: true },
    );
    this.#watcher.on('error', () => {});
    this.#watcher.stdin!.on('error', () => {});
  }

  /** Starts one; resolves when it takes clients. The caller stops it. */
  static async start(): Promise<BenchBroker> {
    const broker = new BenchBroker();
    try {
      await broker.#listening();
      return broker;
    } catch (error) {
      await broker.stop();
      throw error;
    }
  }

  #listening(): Promise<void> {
    return new Promise((resolve, reject) => {
      const give = (reason: string): void =>
        reject(new Error(`warpdrive serve ${reason}: ${this.#stderr.trim()}`));
      const timer = setTimeout(() => give('does not listen'), START_MS);
      let out = '';
      this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
        out += text;
        if (!out.includes('listening')) return;
        clearTimeout(timer);
        resolve();
      });
      void this.#ended.then(() => {
        clearTimeout(timer);
        give('ended');
      });
    });
  }

  get #socket(): string {
    return join(this.#folder, 'broker.sock');
  }

  /** What `open` calls it. */
  get device(): string {
    return `unix:${this.#socket}`;
  }

  /** The processor time it has used, on all its threads, in seconds. */
  cpuSeconds(): number {
    // proc(5): fields after the name, which is in parentheses: utime is the 12th, then stime, in hundredths of a second.
    const [utime, stime] = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
      .slice(11, 13)
      .map(Number);
    return (utime! + stime!) / 100;
  }

  /** Ends it, and removes what it left. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    await this.#ended;
    clearTimeout(timer);
    rmSync(this.#folder, { recursive: true, force: true });
    this.#watcher.kill('SIGKILL');
  }
}

/** Runs something with brokers of its own, and stops them whatever comes of it. */
export async function withBrokers<T>(count: number, use: (brokers: BenchBroker[]) => Promise<T>): Promise<T> {
  const brokers: BenchBroker[] = [];
  try {
    while (brokers.length < count) brokers.push(await BenchBroker.start());
    return await use(brokers);
  } finally {
    await Promise.all(brokers.map((broker) => broker.stop()));
  }
}
