import { readSync } from 'node:fs';
import { isatty } from 'node:tty';

const STDIN_FD = 0;

/** Asks at the terminal; false where there is none to ask at. Nothing else goes on meanwhile. */
export function askYesNo(question: string): boolean {
  if (!isatty(STDIN_FD)) return false;
  process.stderr.write(`${question} (y or n)? `);
  const answer = Buffer.alloc(256);
  try {
    const length = readSync(STDIN_FD, answer, 0, answer.length, null);
    return /^\s*y/i.test(answer.toString('utf8', 0, length));
  } catch {
    // A terminal that cannot be read has not said yes.
    return false;
  }
}
