import type { MessagePort } from 'node:worker_threads';
import { addToEpoll } from '../sys/epoll.js';
import { closeFds, createEventfd, signalEventfd } from '../sys/fd.js';
import { DEVICE_TAG } from './engine-loop.js';
import { adoptThread, type EngineThread, startThread } from './engine-thread.js';
import type { EngineWorkerData } from './engine-worker.js';
import type { Ledger } from './ledger.js';
import { engineThread, Lifeline } from './lifeline.js';
import { type DeviceState, HEADER, THREAD, THREAD_AWAY } from './state.js';

/** A thread beyond the first goes after sleeping this long. */
const THREAD_IDLE_MS = 2000;
/** How long a thread may take to leave by itself before it is terminated. */
const STOP_MS = 30_000;

export interface SupervisorOptions {
  state: DeviceState;
  statusAddress: number;
  statusFd: number;
  /** Where key material of sessions is kept. */
  keysAddress: number;
  maxThreads: number;
  spinMicroseconds: number;
  coolMs: number;
  /** The epoll set that engine threads sleep on; `wakeFd` is added to it here. */
  sleepSet: number;
  disabledEngines: string[];
  faults: string[];
  lifeline: SharedArrayBuffer;
  spareThread: MessagePort | undefined;
  ledger: Ledger | undefined;
  /** An engine thread died by itself; returns whether another one takes its place. */
  onDeath: (reason: string, thread: number) => boolean;
}

/** Starts engine threads, one to begin with, more while long work waits, and lets them go again. */
export class Supervisor {
  readonly wakeFd = createEventfd();
  readonly #options: SupervisorOptions;
  readonly #lifeline: Lifeline;
  readonly #threads = new Map<number, EngineThread>();
  #spare: MessagePort | undefined;
  #deaths = 0;
  #stopped: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#spare = options.spareThread;
    this.#lifeline = new Lifeline(options.lifeline);
    addToEpoll(options.sleepSet, this.wakeFd, DEVICE_TAG, false);
  }

  get threads(): number {
    return this.#threads.size;
  }

  /** Starts the first thread; resolves when it serves. */
  async start(): Promise<void> {
    await this.#spawn();
  }

  #spawn(): Promise<void> {
    const { state, maxThreads } = this.#options;
    let thread = 0;
    while (this.#threads.has(thread)) thread++;
    // One more comes for requests that take very long, so that they hold up no others.
    const heavy = Atomics.load(state.words, HEADER.heavy);
    if (thread >= maxThreads + (heavy > 0 ? 1 : 0)) {
      this.#mayAskAgain();
      return Promise.resolve();
    }
    // A spare thread was entered when it was started.
    if (!this.#spare && !this.#lifeline.enter(engineThread(thread))) return Promise.resolve();
    const {
      statusAddress,
      statusFd,
      keysAddress,
      spinMicroseconds,
      coolMs,
      sleepSet,
      disabledEngines,
      faults,
      lifeline,
      ledger,
    } = this.#options;
    const data: EngineWorkerData = {
      shape: state.shape,
      state: state.buffer,
      thread,
      statusAddress,
      statusFd,
      keysAddress,
      wakeFd: this.wakeFd,
      sleepSet,
      spinMicroseconds,
      coolMs,
      disabledEngines,
      // Faults of one request have been met by then; those of every request are met again.
      faults: this.#deaths === 0 ? faults : faults.filter((rule) => !/:\d+$/.test(rule)),
      idleMs: THREAD_IDLE_MS,
      lifeline,
      ledger: ledger && { address: ledger.address, bytes: ledger.bytes },
    };
    Atomics.store(state.words, state.thread(thread) + THREAD.retire, 0);
    const engine = this.#spare ? adoptThread(this.#spare, data) : startThread(data);
    this.#spare = undefined;
    this.#threads.set(thread, engine);
    return new Promise<void>((resolve, reject) => {
      let retired = false;
      engine.onMessage((message) => {
        if (message === 'ready') {
          this.#mayAskAgain();
          resolve();
        } else if (message === 'need-thread') {
          this.#spawn().catch(() => {});
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
        if (retired) this.#mayAskAgain();
        if (retired || this.#stopped) return;
        reject(new Error(reason));
        this.#died(reason, thread);
      });
    });
  }

  /** Engine threads ask once: after that only where another one could be started. */
  #mayAskAgain(): void {
    const { state, maxThreads } = this.#options;
    const { size } = this.#threads;
    Atomics.store(state.words, HEADER.spawnPending, size < maxThreads ? 0 : 1);
    Atomics.store(state.words, HEADER.heavySpawnPending, size <= maxThreads ? 0 : 1);
  }

  #died(reason: string, thread: number): void {
    this.#deaths++;
    if (!this.#options.onDeath(reason, thread)) return;
    this.#mayAskAgain();
    // One that cannot even start is another death.
    if (!this.#stopped && this.#threads.size === 0) this.#spawn().catch(() => {});
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
