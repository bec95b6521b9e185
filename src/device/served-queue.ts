import { CQE, DOORBELL, SQE } from '../abi/queue.js';
import { viewMemory } from '../sys/libc.js';
import { type DeviceState, QUEUE } from './state.js';

/** A queue as one thread sees it: views of its memory, and what does not change while it is enabled. */
export interface ServedQueue {
  base: number;
  /** Number of its block. */
  block: number;
  generation: number;
  depth: number;
  mask: number;
  token: number;
  space: number;
  sq: Int32Array;
  cq: Int32Array;
  doorbell: Int32Array;
}

/** Views a queue whose lock is held. */
export function viewQueue(state: DeviceState, base: number, generation: number): ServedQueue {
  const { words } = state;
  const depth = words[base + QUEUE.depth]!;
  return {
    base,
    block: state.blockOf(base),
    generation,
    depth,
    mask: depth - 1,
    token: words[base + QUEUE.token]!,
    space: words[base + QUEUE.space]!,
    sq: new Int32Array(viewMemory(state.wide(base + QUEUE.sqLow), depth * SQE.bytes)),
    cq: new Int32Array(viewMemory(state.wide(base + QUEUE.cqLow), depth * CQE.bytes)),
    doorbell: new Int32Array(viewMemory(state.wide(base + QUEUE.doorbellLow), DOORBELL.pageBytes)),
  };
}
