import { getSystemErrorMap } from 'node:util';

/** Exit codes, as gzip has them. */
export const EXIT = { ok: 0, error: 1, warning: 2 } as const;

/** What a shell shows for a process that SIGPIPE has ended, which Node never receives. */
export const EXIT_BROKEN_PIPE = 141;

/** Ends one file's work, or the command, with a message for the user. */
export class Failure extends Error {
  /** EXIT.error, or EXIT.warning for a file that was left alone on purpose. */
  readonly exitCode: number;
  /** The file it is about, where that is not the input in hand. */
  readonly subject: string | undefined;

  constructor(message: string, context: { exitCode?: number; subject?: string; cause?: unknown } = {}) {
    super(message, { cause: context.cause });
    this.exitCode = context.exitCode ?? EXIT.error;
    this.subject = context.subject;
  }
}

/** The reader of our standard output has gone: there is nobody to tell. */
export class BrokenPipe extends Error {}

/** What went wrong, as one line: the system's words for a system error, else the error's own message. */
export function describe(error: unknown): string {
  return error instanceof Failure ? firstLine(error.message) : systemMessage(error);
}

/** The system's words for a system error of Node's, else the error's own message. */
export function systemMessage(error: unknown): string {
  const { errno } = error as NodeJS.ErrnoException;
  const known = errno === undefined ? undefined : getSystemErrorMap().get(errno);
  return known ? known[1] : firstLine(error instanceof Error ? error.message : String(error));
}

function firstLine(text: string): string {
  const end = text.indexOf('\n');
  return end < 0 ? text : text.slice(0, end);
}

/** The system's code of an error (`ENOENT`...), or undefined. */
export function errorCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
