import { noCounters } from '../device/client-counters.js';
import { closeFd } from '../sys/fd.js';
import { type ClientReport, describeAccount, describePeer } from './client.js';
import { DEFAULT_SHARE } from './config.js';
import type { ClientSettings, ServedClient } from './host.js';
import type { FromHost } from './host-messages.js';
import type { HostProcess } from './host-process.js';
import { moduleLogger } from './log.js';

/** How long a process may take for an answer, and to end once it was told to. */
const ANSWER_MS = 1000;
const CLOSE_MS = 5000;

const logger = moduleLogger('isolation');

/** A client whose device is in a process of its own; until there is one, it waits. */
export class IsolatedClient implements ServedClient {
  readonly id: number;
  readonly peer: ServedClient['peer'];
  readonly account: ServedClient['account'];
  closedFor: string | undefined;
  readonly #settings: ClientSettings;
  readonly #since = new Date();
  /** Turns the connection away, which it takes over. */
  readonly #refuse: (fd: number) => void;
  /** The connection, for as long as no process has it; then -1. */
  #fd: number;
  #process: HostProcess | undefined;
  #idle = false;
  #gone = false;
  #killTimer: NodeJS.Timeout | undefined;
  #question: { answer: Promise<ClientReport>; settle: (report: ClientReport) => void } | undefined;

  constructor(fd: number, settings: ClientSettings, refuse: (fd: number) => void) {
    this.id = settings.id;
    this.peer = settings.peer;
    this.account = settings.account;
    this.#settings = settings;
    this.#refuse = refuse;
    this.#fd = fd;
  }

  get uid(): number {
    return this.peer.uid;
  }

  get idle(): boolean {
    return this.#idle || !this.#process;
  }

  /** Whether it waits for a process. */
  get waits(): boolean {
    return !this.#process && !this.#gone;
  }

  get threads(): number {
    return this.#process?.threads ?? 0;
  }

  /** Gives the client to a process that is ready. */
  serveBy(host: HostProcess): void {
    this.#process = host;
    host.onMessage = (message) => this.#heard(message);
    host.onEnd = (reason) => this.#ended(reason);
    const { id, peer, handshakeSeconds } = this.#settings;
    try {
      host.serve(this.#fd, { id, peer, account: this.account.at, handshakeSeconds });
    } catch (error) {
      host.kill((error as Error).message);
    }
  }

  /** There is no process for it. */
  fail(reason: string): void {
    const { uid, pid } = this.peer;
    logger.error("a client's process did not start", { client: this.id, uid, pid, reason });
    this.closedFor ??= 'its process did not start';
    this.#finish();
  }

  #heard(message: FromHost): void {
    const { uid, pid } = this.peer;
    switch (message.type) {
      case 'serving':
        if (this.#fd >= 0) closeFd(this.#fd);
        this.#fd = -1;
        break;
      case 'report':
        this.#question?.settle({ ...message.report, hostPid: this.#process!.pid! });
        break;
      case 'idle':
        this.#idle = message.idle;
        break;
      case 'thread-died': {
        const { reason, thread } = message;
        logger.error('an engine thread died, and is replaced', { client: this.id, uid, pid, reason, thread });
        break;
      }
      case 'failed':
        logger.error('the device failed', { client: this.id, uid, pid, reason: message.reason });
        break;
      case 'gone':
        this.closedFor ??= message.reason ?? 'the client hung up';
        break;
    }
  }

  #ended(reason: string): void {
    if (this.closedFor === undefined) {
      this.closedFor = `its process died: ${reason}`;
      const { uid, pid } = this.peer;
      logger.error("a client's process died", { client: this.id, uid, pid, reason });
    }
    this.#finish();
  }

  #finish(): void {
    if (this.#gone) return;
    this.#gone = true;
    clearTimeout(this.#killTimer);
    // Nobody else will answer, and the account ends with the client.
    this.#question?.settle(this.#ownReport());
    // A connection that no process has is answered here: its owner waits for that.
    if (this.#fd >= 0) this.#refuse(this.#fd);
    this.#fd = -1;
    this.#settings.onGone(this);
  }

  announceStop(): void {
    this.#process?.say({ type: 'stopping' });
  }

  close(reason: string): void {
    this.closedFor ??= reason;
    const host = this.#process;
    if (!host) {
      this.#finish();
      return;
    }
    host.say({ type: 'close', reason });
    this.#killTimer ??= setTimeout(() => host.kill(reason), CLOSE_MS);
  }

  /** What its process says; where that is silent, what the broker itself knows. */
  report(): Promise<ClientReport> {
    if (!this.#process) return Promise.resolve(this.#ownReport());
    this.#question ??= this.#ask(this.#process);
    return this.#question.answer;
  }

  #ask(host: HostProcess): { answer: Promise<ClientReport>; settle: (report: ClientReport) => void } {
    let settle: (report: ClientReport) => void = () => {};
    const answer = new Promise<ClientReport>((resolve) => {
      const timer = setTimeout(() => settle(this.#ownReport()), ANSWER_MS);
      settle = (report) => {
        clearTimeout(timer);
        this.#question = undefined;
        resolve(report);
      };
    });
    host.say({ type: 'ask' });
    return { answer, settle };
  }

  #ownReport(): ClientReport {
    return {
      ...describePeer(this.id, this.peer, this.#since),
      ready: false,
      ...DEFAULT_SHARE,
      ...describeAccount(this.account),
      total: noCounters(),
      queues: [],
      ...(this.#process?.pid === undefined ? {} : { hostPid: this.#process.pid }),
    };
  }
}
