import { writeSync } from 'node:fs';
import { threadId } from 'node:worker_threads';

const STDERR = 2;

/** Writes lines when the thread ends: at once, since nothing that is written later would get out. */
export function reportAtExit(summaries: readonly (() => string)[]): void {
  const who = threadId === 0 ? `${process.pid}` : `${process.pid}, thread ${threadId}`;
  process.on('exit', () => {
    try {
      writeSync(STDERR, summaries.map((summary) => `warpdrive (${who}): ${summary()}\n`).join(''));
    } catch {
      // Nobody reads it any more: no reason to end otherwise than the program would have.
    }
  });
}
