import { workerData } from 'node:worker_threads';
import { viewMemory } from '../../src/sys/libc.js';

/** A thread that writes into memory which the device is reading, until `stop` is set. */
export interface FlipperData {
  address: number;
  length: number;
  /** Words are stored at these offsets (in words) of each record. */
  recordWords: number;
  offsets: number[];
  values: number[];
  /** [0] stop, [1] how many times memory was changed. */
  control: SharedArrayBuffer;
}

const { address, length, recordWords, offsets, values, control } = workerData as FlipperData;
const words = new Int32Array(viewMemory(address, length));
const state = new Int32Array(control);
const records = words.length / recordWords;
let seed = 1;
while (Atomics.load(state, 0) === 0) {
  for (let i = 0; i < 64; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    const record = ((seed >>> 8) % records) * recordWords;
    const offset = offsets[(seed >>> 4) % offsets.length]!;
    const at = record + offset;
    const before = words[at]!;
    words[at] = values[(seed >>> 16) % values.length]!;
    // Half of the time the old value comes back at once: what was checked and what is used may then differ.
    if ((seed & 0x40000) !== 0) words[at] = before;
  }
  Atomics.add(state, 1, 64);
}
