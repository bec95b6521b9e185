import { type DeviceState, QUEUE } from './state.js';

/** What a queue, or all queues of a client together, have been through. */
export interface Counters {
  /** Requests completed, well or not. */
  completed: number;
  /** Bytes that engines read and wrote for it, and the microseconds that this took. */
  bytesIn: number;
  bytesOut: number;
  microseconds: number;
  /** Requests refused as malformed, slots found unpublished, doorbells without the token. */
  refused: number;
  staleSlots: number;
  wrongRings: number;
}

/** The counters of one open queue. */
export interface QueueListing extends Counters {
  queue: number;
  depth: number;
  isolated: boolean;
  /** Whether engines poll it right now. */
  hot: boolean;
}

export function noCounters(): Counters {
  return {
    completed: 0,
    bytesIn: 0,
    bytesOut: 0,
    microseconds: 0,
    refused: 0,
    staleSlots: 0,
    wrongRings: 0,
  };
}

export function addCounters(sum: Counters, part: Counters): void {
  for (const name of Object.keys(noCounters()) as (keyof Counters)[]) sum[name] += part[name];
}

/** Reads the counters of an enabled queue. */
export function listQueue(state: DeviceState, queue: number, block: number): QueueListing {
  const base = state.queue(block);
  const word = (offset: number): number => Atomics.load(state.words, base + offset) >>> 0;
  return {
    queue,
    depth: word(QUEUE.depth),
    isolated: word(QUEUE.isolated) !== 0,
    hot: state.isHot(block),
    completed: word(QUEUE.completed),
    bytesIn: state.wide(base + QUEUE.bytesInLow),
    bytesOut: state.wide(base + QUEUE.bytesOutLow),
    microseconds: state.wide(base + QUEUE.microsecondsLow),
    refused: word(QUEUE.refused),
    staleSlots: word(QUEUE.staleSlots),
    wrongRings: word(QUEUE.wrongRings),
  };
}
