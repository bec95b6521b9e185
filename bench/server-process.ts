import { type ChildProcess, fork } from 'node:child_process';
import { scriptPath } from './measure.js';

/** What came of a task. */
type Outcome<A> = { answer: A } | { error: string };

/** A script of this folder in a process of its own, which does one task at a time. */
export class TaskProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #settle: ((outcome: Outcome<unknown>) => void) | undefined;

  constructor(script: string, environment: NodeJS.ProcessEnv = {}) {
    this.#child = fork(scriptPath(script), {
      execArgv: [],
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child.on('message', (outcome) => this.#settled(outcome as Outcome<unknown>));
    this.#ended = new Promise((resolve) => {
      const end = (reason: string): void => {
        this.#settled({ error: reason });
        resolve();
      };
      this.#child.once('error', (error) => end(error.message));
      this.#child.once('exit', (code, signal) => end(`${script} ended with ${signal ?? code}`));
    });
  }

  #settled(outcome: Outcome<unknown>): void {
    this.#settle?.(outcome);
    this.#settle = undefined;
  }

  async ask<A>(task: object): Promise<A> {
    const outcome = await new Promise<Outcome<unknown>>((resolve) => {
      this.#settle = resolve;
      this.#child.send(task, (error) => {
        if (error) this.#settled({ error: error.message });
      });
    });
    if ('error' in outcome) throw new Error(outcome.error);
    return outcome.answer as A;
  }

  kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    return this.#ended;
  }
}

/** In such a process: does what it is asked, until whoever asks is gone. */
export function answerTasks<T, A>(answer: (task: T) => Promise<A>): void {
  process.on('message', async (task: T) => {
    const outcome: Outcome<A> = await answer(task).then(
      (done) => ({ answer: done }),
      (error: Error) => ({ error: error.message }),
    );
    process.send!(outcome);
  });
  process.once('disconnect', () => process.exit());
}
