import { type MessagePort, Worker } from 'node:worker_threads';
import type { EngineMessage, EngineWorkerData } from './engine-worker.js';
import { Lifeline } from './lifeline.js';

/** An engine thread as its supervisor sees it. */
export interface EngineThread {
  onMessage(listener: (message: EngineMessage) => void): void;
  /** Called once, when the thread has ended, with the reason if that is known. */
  onExit(listener: (reason: string) => void): void;
  /** Ends the thread by force, where this thread can. */
  terminate(): void;
}

/** The hot path makes no objects: young ones need less room than the main thread's, 8 MB less for two threads. */
export const THREAD_LIMITS = { maxYoungGenerationSizeMb: 2 };

/** Starts a thread. */
export function startThread(data: EngineWorkerData): EngineThread {
  const worker = new Worker(new URL('./engine-worker.js', import.meta.url), {
    workerData: data,
    name: `warpdrive-engine-${data.thread}`,
    execArgv: [],
    resourceLimits: THREAD_LIMITS,
  });
  let failure: Error | undefined;
  worker.on('error', (error) => {
    failure = error;
  });
  return {
    onMessage: (listener) => worker.on('message', listener),
    onExit: (listener) => worker.once('exit', (code) => listener(failure?.message ?? `exit code ${code}`)),
    terminate: () => void worker.terminate(),
  };
}

/** Takes over a thread that somebody else has started, and that waits for its data at the other end of a port. */
export function adoptThread(port: MessagePort, data: EngineWorkerData): EngineThread {
  port.postMessage(data);
  new Lifeline(data.lifeline).wake();
  return {
    onMessage: (listener) => port.on('message', listener),
    // The port closes with the thread that holds its other end.
    onExit: (listener) => port.once('close', () => listener('the thread has ended')),
    terminate: () => {},
  };
}
