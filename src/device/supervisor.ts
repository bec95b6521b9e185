import { Worker } from 'node:worker_threads';
import { closeFds, createEventfd, signalEventfd } from '../sys/fd.js';
import type { EngineMessage, EngineWorkerData } from './engine-worker.js';
import { type DeviceState, HEADER, THREAD, THREAD_AWAY } from './state.js';

/** A thread beyond the first goes after sleeping this long. */
const THREAD_IDLE_MS = 2000;
/** How long a thread may take to leave by itself before it is terminated. */
const STOP_MS = 2000;

export interface SupervisorOptions {
  state: DeviceState;
  statusAddress: number;
  maxThreads: number;
  spinMicroseconds: number;
  disabledEngines: string[];
  faults: string[];
  lifeline: SharedArrayBuffer;
  /** An engine thread died by itself. */
  onDeath: (reason: string) => void;
}

/** Starts engine threads, one to begin with, more while long work waits, and lets them go again. */
export class Supervisor {
  readonly wakeFd = createEventfd();
  readonly #options: SupervisorOptions;
  readonly #threads = new Map<number, Worker>();
  #stopped: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  get threads(): number {
    return this.#threads.size;
  }

  /** Starts the first thread; resolves when it serves. */
  async start(): Promise<void> {
    await this.#spawn();
  }

  #spawn(): Promise<void> {
    const { state, statusAddress, spinMicroseconds, disabledEngines, faults, lifeline, maxThreads } =
      this.#options;
    let thread = 0;
    while (this.#threads.has(thread)) thread++;
    if (thread >= maxThreads) return Promise.resolve();
    const workerData: EngineWorkerData = {
      shape: state.shape,
      state: state.buffer,
      thread,
      statusAddress,
      wakeFd: this.wakeFd,
      spinMicroseconds,
      disabledEngines,
      faults,
      idleMs: THREAD_IDLE_MS,
      lifeline,
    };
    Atomics.store(state.words, state.thread(thread) + THREAD.retire, 0);
    const worker = new Worker(new URL('./engine-worker.js', import.meta.url), {
      workerData,
      name: `warpdrive-engine-${thread}`,
      execArgv: [],
    });
    this.#threads.set(thread, worker);
    return new Promise<void>((resolve, reject) => {
      let retired = false;
      worker.on('message', (message: EngineMessage) => {
        if (message === 'ready') {
          Atomics.store(state.words, HEADER.spawnPending, this.#threads.size < maxThreads ? 0 : 1);
          resolve();
        } else if (message === 'need-thread') {
          this.#spawn().catch((error: Error) => this.#died(error.message));
        } else if (thread > 0 && !retired) {
          retired = true;
          Atomics.store(state.words, state.thread(thread) + THREAD.retire, 1);
          signalEventfd(this.wakeFd);
        }
      });
      let failure: Error | undefined;
      worker.on('error', (error) => {
        failure = error;
      });
      worker.on('exit', (code) => {
        this.#threads.delete(thread);
        Atomics.store(state.words, state.thread(thread) + THREAD.reading, THREAD_AWAY);
        if (retired) Atomics.store(state.words, HEADER.spawnPending, 0);
        if (retired || this.#stopped) return;
        const reason = failure?.message ?? `exit code ${code}`;
        reject(new Error(reason));
        this.#died(reason);
      });
    });
  }

  #died(reason: string): void {
    if (!this.#stopped) this.#options.onDeath(reason);
  }

  /** Stops every thread; resolves when the last has gone. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  async #stopAll(): Promise<void> {
    const { words } = this.#options.state;
    Atomics.store(words, HEADER.stop, 1);
    Atomics.add(words, HEADER.queueVersion, 1);
    const gone = [...this.#threads.values()].map(
      (worker) => new Promise<void>((resolve) => worker.once('exit', () => resolve())),
    );
    signalEventfd(this.wakeFd);
    const timer = setTimeout(() => {
      for (const worker of this.#threads.values()) void worker.terminate();
    }, STOP_MS);
    await Promise.all(gone);
    clearTimeout(timer);
  }

  /** Closes what `stop` has left open for clients. */
  close(): void {
    closeFds([this.wakeFd]);
  }
}
