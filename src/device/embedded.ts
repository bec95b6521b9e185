import { once } from 'node:events';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { DeviceLostError } from '../errors.js';
import { closeFds, duplicateFd, signalEventfd } from '../sys/fd.js';
import { checkPlatform } from '../sys/libc.js';
import { createSocketPair } from '../sys/socket.js';
import type { DeviceOptions } from './device.js';
import type { EmbeddedReady, EmbeddedWorkerData } from './embedded-worker.js';
import type { SpareThreadData } from './engine-worker.js';

export interface EmbeddedOptions extends Omit<DeviceOptions, 'lifeline' | 'spareThread'> {
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
  const lifeline = new SharedArrayBuffer(4);
  // Two threads that take as long to start: at the same time. The device takes the engine thread over when it is up.
  const { port1, port2 } = new MessageChannel();
  const spare: SpareThreadData = { port: port1, disabledEngines: options.disabledEngines };
  const engine = start('engine-worker', 'warpdrive-engine-0', spare, [port1]);
  const data: EmbeddedWorkerData = {
    socket: server,
    sva,
    options: { ...deviceOptions, lifeline, spareThread: port2 },
  };
  const worker = start('embedded-worker', 'warpdrive-device', data, [port2]);
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
    Atomics.store(new Int32Array(lifeline), 0, 1);
    if (wakeFd >= 0) signalEventfd(wakeFd);
  };
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
    void worker.terminate();
    void engine.terminate();
    throw new DeviceLostError('the embedded accelerator did not start', { cause });
  }
  // An open accelerator with nothing in flight does not keep the process alive.
  worker.unref();
  engine.unref();
  atExit(hangUp);
  void ended.then(() => {
    hangUps.delete(hangUp);
    closeFds([wakeFd]);
  });
  const end = (): Promise<void> => {
    worker.ref();
    engine.ref();
    return ended;
  };
  return { socket: client, nudge: () => worker.postMessage('nudge'), ended, end };
}

function start(file: string, name: string, workerData: object, transferList: MessagePort[]): Worker {
  return new Worker(new URL(`./${file}.js`, import.meta.url), {
    workerData,
    name,
    transferList,
    execArgv: [],
  });
}

/** What wakes the engine threads of each open device when the process ends: it waits for threads that sleep. */
const hangUps = new Set<() => void>();
let listening = false;

function atExit(hangUp: () => void): void {
  hangUps.add(hangUp);
  if (listening) return;
  listening = true;
  process.once('exit', () => {
    for (const each of hangUps) each();
  });
}
