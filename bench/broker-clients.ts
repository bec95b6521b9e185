import { type ChildProcess, fork } from 'node:child_process';
import { type Answer, type Load, sharedNow, type Task, type Window } from './broker-task.js';
import { type Budget, scriptPath } from './measure.js';

/** How long a load runs before its window starts: all of them are to be up to speed by then. */
const LEAD_MS = { full: 200, quick: 50 };
/** Windows are longer than a scheduler's period, or it decides who comes first. */
const WINDOW_ROUNDS = { full: 3, quick: 2 };

/** A client of a broker in a process of its own. */
export class ClientProcess {
  readonly #child: ChildProcess;
  readonly ended: Promise<void>;
  #settle: ((answer: Answer) => void) | undefined;

  constructor(device: string) {
    this.#child = fork(scriptPath('./broker-client-child.js'), [device], {
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child.on('message', (answer) => this.#answered(answer as Answer));
    this.ended = new Promise((resolve) => {
      const end = (reason: string): void => {
        this.#answered({ error: reason });
        resolve();
      };
      this.#child.once('error', (error) => end(error.message));
      this.#child.once('exit', (code, signal) => end(`a client process ended with ${signal ?? code}`));
    });
  }

  #answered(answer: Answer): void {
    this.#settle?.(answer);
    this.#settle = undefined;
  }

  /** One task at a time. */
  async ask(task: Task): Promise<Answer> {
    const answer = await new Promise<Answer>((resolve) => {
      this.#settle = resolve;
      this.#child.send(task, (error) => {
        if (error) this.#answered({ error: error.message });
      });
    });
    if ('error' in answer) throw new Error(answer.error);
    return answer;
  }

  async load(task: Task): Promise<Load> {
    const answer = await this.ask(task);
    if (!('load' in answer)) throw new Error(`a client process gave the wrong answer to ${task.kind}`);
    return answer.load;
  }

  kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    return this.ended;
  }
}

/** Runs something with client processes, and ends them whatever comes of it. */
export async function withClients<T>(
  device: string,
  count: number,
  use: (clients: ClientProcess[]) => Promise<T>,
): Promise<T> {
  const clients = Array.from({ length: count }, () => new ClientProcess(device));
  try {
    return await use(clients);
  } finally {
    await Promise.all(clients.map((client) => client.kill()));
  }
}

/** The next window that all clients can be at work in. */
export function nextWindow({ quick, roundMs }: Budget): Window {
  const fromMs = sharedNow() + (quick ? LEAD_MS.quick : LEAD_MS.full);
  return { fromMs, toMs: fromMs + roundMs * (quick ? WINDOW_ROUNDS.quick : WINDOW_ROUNDS.full) };
}
