import { workerData } from 'node:worker_threads';
import { drainEventfd } from '../../src/sys/fd.js';

/** A thread that takes the signals out of a descriptor, all the time. */
export interface DrainerData {
  fd: number;
  /** [0] stop, [1] how often it has looked. */
  control: SharedArrayBuffer;
}

const { fd, control } = workerData as DrainerData;
const state = new Int32Array(control);
while (Atomics.load(state, 0) === 0) {
  for (let i = 0; i < 64; i++) drainEventfd(fd);
  Atomics.add(state, 1, 64);
}
