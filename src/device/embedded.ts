import { once } from 'node:events';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { DeviceLostError } from '../errors.js';
import { closeFds, duplicateFd, signalEventfd } from '../sys/fd.js';
import { checkPlatform } from '../sys/libc.js';
import { createSocketPair } from '../sys/socket.js';
import type { DeviceOptions } from './device.js';
import type { EmbeddedMessage, EmbeddedReady, EmbeddedWorkerData } from './embedded-worker.js';
import { THREAD_LIMITS } from './engine-thread.js';
import type { SpareThreadData } from './engine-worker.js';
import { CONTROL_THREAD, engineThread, Lifeline } from './lifeline.js';

export interface EmbeddedOptions extends Omit<DeviceOptions, 'lifeline' | 'spareThread' | 'ledger'> {
  /** Whether the device takes any address of this process; without it, only mapped memory. */
  sva: boolean;
}

/** A software accelerator on a thread of this process. */
export interface EmbeddedDevice {
  /** The client's end of the socket; whoever takes it closes it, and the device ends then. */
  socket: number;
  /** To be called after sending to the socket. */
  nudge: () => void;
  /** Resolves when the thread has ended. */
  ended: Promise<void>;
  /** Like `ended`, and keeps the process alive until then: for after the socket was closed. */
  end(): Promise<void>;
}

/** Starts the software accelerator in this process; resolves when it is ready. */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedDevice> {
  checkPlatform();
  const [client, server] = createSocketPair();
  const { sva, ...deviceOptions } = options;
  const lifeline = new Lifeline(options.maxThreads);
  lifeline.enter(CONTROL_THREAD);
  lifeline.enter(engineThread(0));
  // Two threads that take as long to start: at the same time. The device takes the engine thread over when it is up.
  const { port1, port2 } = new MessageChannel();
  const spare: SpareThreadData = {
    port: port1,
    disabledEngines: options.disabledEngines,
    lifeline: lifeline.buffer,
  };
  const engine = start('engine-worker', 'warpdrive-engine-0', spare, [port1]);
  const data: EmbeddedWorkerData = {
    socket: server,
    sva,
    options: { ...deviceOptions, lifeline: lifeline.buffer, spareThread: port2 },
  };
  const worker = start('embedded-worker', 'warpdrive-device', data, [port2]);
  const say = (message: EmbeddedMessage): void => worker.postMessage(message);
  let socketClosed = false;
  let failure: Error | undefined;
  let wakeFd = -1;
  for (const thread of [worker, engine]) {
    thread.on('error', (error) => {
      failure ??= error;
    });
  }
  worker.on('message', (message) => {
    if (message === 'socket-closed') socketClosed = true;
  });
  const hangUp = (): void => {
    lifeline.cut();
    if (wakeFd >= 0) signalEventfd(wakeFd);
  };
  const host: Host = { lifeline, hangUp, leave: () => say('leave') };
  atExit(host);
  const deviceEnded = new Promise<void>((resolve) => {
    worker.once('exit', () => {
      // A thread that died did not close its end, nor stop its engine.
      if (!socketClosed) closeFds([server]);
      hangUp();
      resolve();
    });
  });
  const engineEnded = new Promise<void>((resolve) => engine.once('exit', () => resolve()));
  const ended = Promise.all([deviceEnded, engineEnded]).then(() => {});
  try {
    const [answer] = (await Promise.race([
      once(worker, 'message'),
      deviceEnded.then(() => [failure ?? new Error('the device thread ended while starting')]),
    ])) as [EmbeddedReady | Error];
    if (answer instanceof Error) throw answer;
    wakeFd = duplicateFd(answer.wakeFd);
  } catch (cause) {
    closeFds([client]);
    hangUp();
    say('leave');
    void ended.then(() => hosts.delete(host));
    throw new DeviceLostError('the embedded accelerator did not start', { cause });
  }
  // An open accelerator with nothing in flight does not keep the process alive.
  worker.unref();
  engine.unref();
  void ended.then(() => {
    hosts.delete(host);
    closeFds([wakeFd]);
  });
  const end = (): Promise<void> => {
    worker.ref();
    engine.ref();
    return ended;
  };
  return { socket: client, nudge: () => say('nudge'), ended, end };
}

function start(file: string, name: string, workerData: object, transferList: MessagePort[]): Worker {
  return new Worker(new URL(`./${file}.js`, import.meta.url), {
    workerData,
    name,
    transferList,
    execArgv: [],
    resourceLimits: THREAD_LIMITS,
  });
}

/** What ends the threads of one open device when the process ends (lifeline.ts). */
interface Host {
  lifeline: Lifeline;
  /** Tells the engine threads. */
  hangUp: () => void;
  /** Tells the device thread, once no engine thread needs it any more. */
  leave: () => void;
}

/** How long an exit waits for the threads of all devices; one that executes a request ends it first. */
const LEAVE_MS = 5000;

const hosts = new Set<Host>();
let listening = false;

function atExit(host: Host): void {
  hosts.add(host);
  if (listening) return;
  listening = true;
  process.once('exit', () => {
    const end = performance.now() + LEAVE_MS;
    for (const each of hosts) each.hangUp();
    for (const each of hosts) {
      each.lifeline.waitForEngines(end);
      each.leave();
    }
    for (const { lifeline } of hosts) {
      lifeline.waitFor(CONTROL_THREAD, Math.max(0, end - performance.now()));
    }
  });
}
