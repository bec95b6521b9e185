import { CQE, CQE_WORD_SHIFT, DOORBELL, STATUS, STATUS_PAGE } from '../abi/queue.js';
import type { Signaller } from '../sys/signal.js';
import { leave } from './ledger.js';
import { viewQueue } from './served-queue.js';
import type { Sessions } from './sessions.js';
import { type DeviceState, HEADER, QUEUE, THREAD, THREAD_AWAY, THREAD_COUNTED } from './state.js';

const REQUEST_ID = CQE.offset.requestId >> 2;
const STATUS_WORD = CQE.offset.status >> 2;
const PHASE = CQE.offset.phase >> 2;
const WORDS = CQE.bytes >> 2;

export interface RecoveryParts {
  state: DeviceState;
  /** The status page, writable. */
  status: Int32Array;
  signaller: Signaller;
  sessions: Sessions;
}

/**
 * Puts in order what an engine thread left behind that died: called by the control thread, after the thread has gone.
 * What it counted as is taken back, locks that it held are opened, its session ends, and the request that it executed
 * fails. Everything else goes on: requests it had not taken are taken by its successor.
 */
export function recoverThread(parts: RecoveryParts, thread: number): void {
  const { state, status } = parts;
  const { words } = state;
  const at = state.thread(thread);
  const counted = words[at + THREAD.counted]!;
  if ((counted & THREAD_COUNTED.poller) !== 0) Atomics.sub(status, STATUS_PAGE.pollersWord, 1);
  if ((counted & THREAD_COUNTED.awake) !== 0) Atomics.sub(status, STATUS_PAGE.awakeWord, 1);
  if ((counted & THREAD_COUNTED.sleeper) !== 0) Atomics.sub(words, HEADER.sleepers, 1);
  if ((counted & THREAD_COUNTED.heavy) !== 0) Atomics.sub(words, HEADER.heavy, 1);
  words[at + THREAD.counted] = 0;
  Atomics.store(words, HEADER.wakePending, 0);
  Atomics.store(words, at + THREAD.reading, THREAD_AWAY);
  for (let block = 0; block < state.shape.queues; block++) {
    // A turn that was cut short has published nothing, and moved nothing: it is taken again.
    Atomics.compareExchange(words, state.queue(block) + QUEUE.lock, thread + 1, 0);
  }
  const session = words[at + THREAD.session]!;
  if (session !== 0) parts.sessions.abandon(session - 1, thread);
  words[at + THREAD.session] = 0;
  const block = words[at + THREAD.block]! - 1;
  if (block >= 0) failRequest(parts, at, block);
  words[at + THREAD.block] = 0;
  // From here on its client's memory is not in use any more.
  if ((Atomics.load(words, at + THREAD.epoch) & 1) === 1) Atomics.add(words, at + THREAD.epoch, 1);
}

/** Completes the request that a thread had in hand with `engineFailed`. */
function failRequest({ state, signaller }: RecoveryParts, thread: number, block: number): void {
  const { words } = state;
  const base = state.queue(block);
  while (Atomics.compareExchange(words, base + QUEUE.lock, 0, -1) !== 0) {
    Atomics.wait(words, base + QUEUE.lock, words[base + QUEUE.lock]!, 0.05);
  }
  // The block stays its queue's while something is in flight, even if the queue is being disabled.
  const queue = viewQueue(state, base, words[thread + THREAD.generation]!);
  const tail = words[base + QUEUE.cqTail]!;
  const entry = (tail & queue.mask) << CQE_WORD_SHIFT;
  queue.cq.fill(0, entry, entry + WORDS - 1);
  queue.cq[entry + REQUEST_ID] = words[thread + THREAD.requestId]!;
  queue.cq[entry + STATUS_WORD] = STATUS.engineFailed;
  words[base + QUEUE.cqTail] = (tail + 1) | 0;
  words[base + QUEUE.inFlight]!--;
  words[base + QUEUE.completed]!++;
  Atomics.store(queue.cq, entry + PHASE, (tail + 1) | 0);
  const kib = words[thread + THREAD.inFlightKib]!;
  if (kib !== 0) leave(state.ledger, state.account(queue.space), kib);
  words[thread + THREAD.inFlightKib] = 0;
  const irqFd = words[base + QUEUE.irqFd]!;
  const stillThere = Atomics.load(words, base + QUEUE.generation) === queue.generation;
  const arm = stillThere ? Atomics.load(queue.doorbell, DOORBELL.armWord) : words[base + QUEUE.armSeen]!;
  if (arm !== words[base + QUEUE.armSeen] && ((tail + 1 - arm) | 0) >= 0) {
    words[base + QUEUE.armSeen] = arm;
    if (irqFd >= 0) signaller.signal(irqFd, words[base + QUEUE.irqKind]!);
  }
  Atomics.store(words, base + QUEUE.lock, 0);
}
