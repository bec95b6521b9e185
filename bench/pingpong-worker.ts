import { parentPort, workerData } from 'node:worker_threads';

/*
 * The other end of the raw ping-pong: two threads that spin on one word each, and nothing else. It is the least that
 * any request between two threads can take. Between rounds this thread sleeps, so as to take no processor away.
 */

/** Words of the shared buffer, each on a cache line of its own. */
export const PINGPONG = { bytes: 4096, ping: 0, pong: 64, gate: 128 } as const;
/** Ends a round; it is answered, too. */
export const PINGPONG_STOP = -1;

/** Answers until the round is over. */
export function answer(words: Int32Array): void {
  let last = 0;
  while (last !== PINGPONG_STOP) {
    const value = Atomics.load(words, PINGPONG.ping);
    if (value === last) continue;
    last = value;
    Atomics.store(words, PINGPONG.pong, value);
  }
}

if (parentPort) {
  const words = new Int32Array(workerData as SharedArrayBuffer);
  for (let round = 0; ; round++) {
    Atomics.wait(words, PINGPONG.gate, round);
    if (Atomics.load(words, PINGPONG.gate) < 0) break;
    answer(words);
  }
}
