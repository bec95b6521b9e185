import { workerData } from 'node:worker_threads';
import { STATUS_PAGE } from '../../src/abi/queue.js';
import { type DeviceShape, DeviceState, QUEUE } from '../../src/device/state.js';
import { viewMemory } from '../../src/sys/libc.js';

/** What the second half of cooling a queue needs to know. */
export interface CoolerData {
  shape: DeviceShape;
  state: SharedArrayBuffer;
  statusAddress: number;
  block: number;
  /** One word: set once this thread runs. */
  ready: SharedArrayBuffer;
}

/** How long another engine thread gets between two steps: more than it needs, so that it has come as far as it can. */
const STEP_MS = 30;

const { shape, state: buffer, statusAddress, block, ready } = workerData as CoolerData;
const state = new DeviceState(shape, buffer);
const status = new Int32Array(viewMemory(statusAddress, STATUS_PAGE.pageBytes));
const pause = new Int32Array(new SharedArrayBuffer(4));
Atomics.store(new Int32Array(ready), 0, 1);
Atomics.notify(new Int32Array(ready), 0);
// The other thread has come back from its sleep with the ring, and looks what to do about it.
while (Atomics.load(status, STATUS_PAGE.pollersWord) === 0) Atomics.wait(pause, 0, 0, 0.1);
Atomics.wait(pause, 0, 0, STEP_MS);
state.setHot(block, false);
Atomics.wait(pause, 0, 0, STEP_MS);
Atomics.store(state.words, state.queue(block) + QUEUE.lock, 0);
