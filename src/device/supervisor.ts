import type { MessagePort } from 'node:worker_threads';
import { closeFds, createEventfd, signalEventfd } from '../sys/fd.js';
import { adoptThread, type EngineThread, startThread } from './engine-thread.js';
import type { EngineWorkerData } from './engine-worker.js';
import { engineThread, Lifeline } from './lifeline.js';
import { type DeviceState, HEADER, THREAD, THREAD_AWAY } from './state.js';

/** A thread beyond the first goes after sleeping this long. */
const THREAD_IDLE_MS = 2000;
/** How long a thread may take to leave by itself before it is terminated. */
const STOP_MS = 30_000;

export interface SupervisorOptions {
  state: DeviceState;
  statusAddress: number;
  maxThreads: number;
  spinMicroseconds: number;
  disabledEngines: string[];
  faults: string[];
  lifeline: SharedArrayBuffer;
  spareThread: MessagePort | undefined;
  /** An engine thread died by itself. */
  onDeath: (reason: string) => void;
}

/** Starts engine threads, one to begin with, more while long work waits, and lets them go again. */
export class Supervisor {
  readonly wakeFd = createEventfd();
  readonly #options: SupervisorOptions;
  readonly #lifeline: Lifeline;
  readonly #threads = new Map<number, EngineThread>();
  #spare: MessagePort | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#spare = options.spareThread;
    this.#lifeline = new Lifeline(options.lifeline);
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
    // A spare thread was entered when it was started.
    if (!this.#spare && !this.#lifeline.enter(engineThread(thread))) return Promise.resolve();
    const data: EngineWorkerData = {
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
    const engine = this.#spare ? adoptThread(this.#spare, data) : startThread(data);
    this.#spare = undefined;
    this.#threads.set(thread, engine);
    return new Promise<void>((resolve, reject) => {
      let retired = false;
      engine.onMessage((message) => {
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
      engine.onExit((reason) => {
        this.#threads.delete(thread);
        this.#lifeline.leave(engineThread(thread));
        Atomics.store(state.words, state.thread(thread) + THREAD.reading, THREAD_AWAY);
        if (retired) Atomics.store(state.words, HEADER.spawnPending, 0);
        if (retired || this.#stopped) return;
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
      (engine) => new Promise<void>((resolve) => engine.onExit(() => resolve())),
    );
    signalEventfd(this.wakeFd);
    const timer = setTimeout(() => {
      for (const engine of this.#threads.values()) engine.terminate();
    }, STOP_MS);
    await Promise.all(gone);
    clearTimeout(timer);
  }

  /** Closes what `stop` has left open for clients. */
  close(): void {
    closeFds([this.wakeFd]);
  }
}
