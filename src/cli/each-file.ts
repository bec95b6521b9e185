import { isatty } from 'node:tty';
import { BrokenPipe, describe, EXIT_BROKEN_PIPE, Failure } from './failure.js';
import { closeInput, type Input, STDIN_FD } from './input.js';
import { Unavailable } from './machinery.js';
import type { Report } from './report.js';
import { STDOUT_FD } from './sink.js';
import type { Target } from './task.js';

/** What of a command line decides whether a terminal may be read or written. */
interface TerminalWishes {
  test: boolean;
  force: boolean;
  stdout: boolean;
  output: string | undefined;
}

/** Runs a task for each file, one after the other. Resolves with the exit code. */
export async function eachFile(
  files: string[],
  report: Report,
  run: (file: string) => Promise<void>,
): Promise<number> {
  for (const file of files) {
    try {
      await run(file);
    } catch (error) {
      if (error instanceof BrokenPipe) return EXIT_BROKEN_PIPE;
      const fatal = error instanceof Unavailable;
      report.failure(error, fatal ? undefined : file === '-' ? 'stdin' : file);
      if (fatal) break;
    }
  }
  return report.exitCode;
}

/** Refuses to read or write what no terminal is for, unless that is forced. */
export function checkTerminals(
  name: string,
  kind: 'compressed' | 'encrypted',
  unpacks: boolean,
  { test, force, stdout, output }: TerminalWishes,
): void {
  const toStdout = stdout || (name === '-' && output === undefined);
  if (force) return;
  if (unpacks && name === '-' && isatty(STDIN_FD)) {
    throw new Failure(`${kind} data not read from a terminal (-f reads it)`, { subject: 'stdin' });
  }
  if (!unpacks && !test && toStdout && isatty(STDOUT_FD)) {
    throw new Failure(`${kind} data not written to a terminal (-f writes it)`, { subject: 'stdout' });
  }
}

/**
 * Takes an input to its target, and closes both; nothing of the target is left behind when that goes wrong. What the
 * system says is told of the input, where it says of no other file.
 * @param onFailure lets go of what was in use, before the files are closed
 */
export async function fromInput(
  input: Input,
  openTarget: () => Target,
  work: (target: Target) => Promise<void>,
  onFailure: () => Promise<void> = async () => {},
): Promise<void> {
  let target: Target | undefined;
  try {
    target = openTarget();
    await work(target);
  } catch (error) {
    await onFailure();
    if (target?.file) await target.file.discard();
    if (error instanceof Failure && error.subject !== undefined) throw error;
    throw error instanceof Error && 'errno' in error
      ? new Failure(describe(error), { subject: input.name, cause: error })
      : error;
  } finally {
    // A pipe may be read for as long as its other end is open: nobody waits for that.
    if (input.stats.isFile()) await closeInput(input);
  }
}
