import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { STATUS_PAGE } from '../abi/queue.js';
import { signalEventfd } from '../sys/fd.js';
import { viewMemory } from '../sys/libc.js';
import { Signaller } from '../sys/signal.js';
import { EngineLoop } from './engine-loop.js';
import { EngineRegistry } from './engines/registry.js';
import { Executor } from './executor.js';
import { parseFaults } from './inject.js';
import { engineThread, Lifeline } from './lifeline.js';
import { type DeviceShape, DeviceState, HEADER, THREAD, THREAD_COUNTED } from './state.js';

/** What the supervisor tells an engine thread at its start. */
export interface EngineWorkerData {
  shape: DeviceShape;
  state: SharedArrayBuffer;
  thread: number;
  statusAddress: number;
  statusFd: number;
  keysAddress: number;
  wakeFd: number;
  sleepSet: number;
  spinMicroseconds: number;
  coolMs: number;
  disabledEngines: string[];
  /** Rules of inject.ts. */
  faults: string[];
  /** How long a thread sleeps before it offers to go. */
  idleMs: number;
  lifeline: SharedArrayBuffer;
  /** Where the ledger of clients' accounts lies, in this process. */
  ledger: { address: number; bytes: number } | undefined;
}

/** A thread that was started ahead of its device: it loads its engines, and is told the rest through a port. */
export interface SpareThreadData {
  port: MessagePort;
  disabledEngines: string[];
  lifeline: SharedArrayBuffer;
}

/** What an engine thread tells the supervisor. */
export type EngineMessage = 'ready' | 'need-thread' | 'idle';

/**
 * How long one sleep lasts at most. The thread sleeps in the kernel, not on its event loop, and while it sleeps it
 * cannot be terminated: this is how late it may notice.
 */
const SLEEP_MS = 100;
/** How long it lasts while a request waits for others of its user, which may be another process's. */
const HELD_BACK_MS = 1;

/** How often a spare thread looks for its data, should nobody wake it. */
const SPARE_PAUSE_MS = 50;

const given = workerData as EngineWorkerData | SpareThreadData;
const lifeline = new Lifeline(given.lifeline);
const number = 'port' in given ? 0 : given.thread;
process.once('exit', () => lifeline.leave(engineThread(number)));
const registry = new EngineRegistry(given.disabledEngines);
const port = 'port' in given ? given.port : parentPort!;
const data = 'port' in given ? awaitData(given.port) : given;
const ledger = data.ledger && new Int32Array(viewMemory(data.ledger.address, data.ledger.bytes));
const state = new DeviceState(data.shape, data.state, ledger);
const retireAt = state.thread(data.thread) + THREAD.retire;
const say = (message: EngineMessage): void => port.postMessage(message);
const executor = new Executor(state, data.thread, registry, data.keysAddress, parseFaults(data.faults));
const signaller = new Signaller(data.statusFd);
const loop = new EngineLoop({
  state,
  thread: data.thread,
  executor,
  status: new Int32Array(viewMemory(data.statusAddress, STATUS_PAGE.pageBytes)),
  signaller,
  wakeFd: data.wakeFd,
  sleepSet: data.sleepSet,
  spinMicroseconds: data.spinMicroseconds,
  coolMs: data.coolMs,
  requestThread: () => say('need-thread'),
});

const leaving = (): boolean =>
  Atomics.load(state.words, HEADER.stop) !== 0 || Atomics.load(state.words, retireAt) !== 0 || lifeline.isCut;

say('ready');
let sleptMs = 0;
while (!leaving()) {
  loop.run();
  countSleeper(1);
  while (!leaving()) {
    if (loop.sleep(loop.heldBack ? HELD_BACK_MS : SLEEP_MS) || loop.heldBack) {
      sleptMs = 0;
      break;
    }
    sleptMs += SLEEP_MS;
    if (sleptMs === data.idleMs) say('idle');
  }
  countSleeper(-1);
}
// A client's ring is told to one thread, once: one that came to this thread as it was to go is served before it goes.
if (Atomics.load(state.words, HEADER.stop) === 0 && !lifeline.isCut && loop.rung) loop.run();
// The signal that woke this thread may have been meant for others, too, and it was drained above.
signalEventfd(data.wakeFd);
executor.close();
signaller.close();
port.close();

function countSleeper(by: 1 | -1): void {
  Atomics.add(state.words, HEADER.sleepers, by);
  state.words[state.thread(data.thread) + THREAD.counted]! ^= THREAD_COUNTED.sleeper;
}

/** Waits for the data of a spare thread: not on the event loop, where this thread could be ended at any moment. */
function awaitData(from: MessagePort): EngineWorkerData {
  for (;;) {
    const received = receiveMessageOnPort(from) as { message: EngineWorkerData } | undefined;
    if (received) return received.message;
    if (lifeline.isCut) process.exit();
    lifeline.pause(SPARE_PAUSE_MS);
  }
}
