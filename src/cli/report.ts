/** What the user is told on the standard error, and the exit code that goes with it. */
import { describe, EXIT, Failure } from './failure.js';

export class Report {
  exitCode: number = EXIT.ok;
  readonly #quiet: boolean;
  readonly #before: () => void;

  /** @param before run before anything is written */
  constructor(quiet: boolean, before: () => void = () => {}) {
    this.#quiet = quiet;
    this.#before = before;
  }

  /** An error, or a warning if that is what its exit code says. */
  failure(error: unknown, subject?: string): void {
    const about = (error instanceof Failure ? error.subject : undefined) ?? subject;
    const text = about === undefined ? describe(error) : `${about}: ${describe(error)}`;
    if (error instanceof Failure && error.exitCode === EXIT.warning) this.warning(text);
    else this.#error(text);
  }

  /** An error weighs more than a warning, whichever came first. */
  #error(text: string): void {
    this.exitCode = EXIT.error;
    this.line(`warpdrive: ${text}`);
  }

  warning(text: string): void {
    if (this.exitCode === EXIT.ok) this.exitCode = EXIT.warning;
    if (!this.#quiet) this.line(`warpdrive: ${text}`);
  }

  line(text: string): void {
    this.#before();
    process.stderr.write(`${text}\n`);
  }
}
