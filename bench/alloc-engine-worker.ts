import { getHeapStatistics } from 'node:v8';
import { parentPort, workerData } from 'node:worker_threads';
import { STATUS_PAGE } from '../src/abi/queue.js';
import { EngineLoop } from '../src/device/engine-loop.js';
import { EngineRegistry } from '../src/device/engines/registry.js';
import { Executor } from '../src/device/executor.js';
import { sessionKeyBytes } from '../src/device/sessions.js';
import { type DeviceShape, DeviceState, HEADER } from '../src/device/state.js';
import { viewMemory } from '../src/sys/libc.js';
import { Mapping } from '../src/sys/memory.js';
import { Signaller } from '../src/sys/signal.js';
import { CollectorWatch } from './collector.js';

/*
 * An engine thread as the device starts it, except that it serves until it is told to stop, and then says by how much
 * its heap has grown.
 */

export interface AllocEngineData {
  shape: DeviceShape;
  state: SharedArrayBuffer;
  statusAddress: number;
  wakeFd: number;
}

export interface AllocEngineResult {
  /** Bytes of the heap, before and after; comparable only if nothing was collected between. */
  grown: number;
  collections: number;
}

const data = workerData as AllocEngineData;
const state = new DeviceState(data.shape, data.state);
const keys = Mapping.anonymous(sessionKeyBytes(data.shape.sessions));
const loop = new EngineLoop({
  state,
  thread: 0,
  executor: new Executor(state, 0, new EngineRegistry([]), keys.address, []),
  status: new Int32Array(viewMemory(data.statusAddress, STATUS_PAGE.pageBytes)),
  signaller: new Signaller(-1),
  wakeFd: data.wakeFd,
  // The loop never sleeps here.
  sleepSet: -1,
  coolMs: 0,
  // Longer than any pause of the client: the loop ends when it is stopped.
  spinMicroseconds: 1e9,
  requestThread: () => {},
});

const watch = new CollectorWatch();
parentPort!.on('message', () => {
  void serve();
});

async function serve(): Promise<void> {
  globalThis.gc!();
  const started = performance.now();
  const before = getHeapStatistics().used_heap_size;
  loop.run();
  const grown = getHeapStatistics().used_heap_size - before;
  const collections = await watch.between(started, performance.now());
  Atomics.store(state.words, HEADER.stop, 0);
  parentPort!.postMessage({ grown, collections } satisfies AllocEngineResult);
}
