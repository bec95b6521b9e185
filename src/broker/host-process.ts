import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Ledger } from '../device/ledger.js';
import { closeFd } from '../sys/fd.js';
import { createSocketPair, sendBytes } from '../sys/socket.js';
import type { FromHost, HostServe, ToHost } from './host-messages.js';
import type { DeviceSettings } from './hosted-device.js';

const PROGRAM = fileURLToPath(new URL('./client-host.js', import.meta.url));
/** What is meant for the broker alone. */
const OWN_VARIABLES = ['NOTIFY_SOCKET', 'WATCHDOG_PID', 'WATCHDOG_USEC', 'WARPDRIVE_INJECT'];
/** How long a process may take to start. */
const START_MS = 30_000;
const ONE_BYTE = new Uint8Array(1);

/** The process of one client, from its start to its end, as the broker sees it (client-host.ts). */
export class HostProcess {
  readonly #child: ChildProcess;
  readonly #startTimer: NodeJS.Timeout;
  /** The socket that a connection is passed through; -1 once one was. */
  #passing: number;
  #killedFor: string | undefined;
  #ended = false;
  #ready = false;
  /** Engine threads, as of the last time that it said. */
  threads = 0;
  /** Called with whatever it says, and once when it has ended, with the reason. */
  onMessage: (message: FromHost) => void = () => {};
  onEnd: (reason: string) => void = () => {};

  /** @throws SystemError, or what spawn throws, when the system has no room for it */
  constructor(settings: DeviceSettings, ledger: Ledger) {
    const [ours, theirs] = createSocketPair();
    this.#passing = ours;
    const env = { ...process.env };
    for (const name of OWN_VARIABLES) delete env[name];
    try {
      // The order is that of HOST_FD. What native code says before it aborts goes to the log.
      const stdio = ['ignore', 'ignore', 'inherit', 'ipc', theirs, ledger.fd] as const;
      this.#child = spawn(process.execPath, [PROGRAM], { stdio: [...stdio], env });
    } catch (error) {
      closeFd(ours);
      throw error;
    } finally {
      closeFd(theirs);
    }
    this.#child.on('message', (message: FromHost) => this.#heard(message));
    this.#child.once('error', (error) => this.#end(error.message));
    this.#child.once('exit', (code, signal) => {
      const end = (): void => this.#end(signal ? `ended by ${signal}` : `exit code ${code}`);
      // What it said last may still be on its way.
      if (this.#child.connected) this.#child.once('disconnect', end);
      else end();
    });
    this.#startTimer = setTimeout(() => this.kill('it did not start in time'), START_MS);
    this.say({ type: 'start', settings, accounts: ledger.accounts });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Whether its device waits for a client, or serves one. */
  get ready(): boolean {
    return this.#ready;
  }

  get ended(): boolean {
    return this.#ended;
  }

  #heard(message: FromHost): void {
    if ('threads' in message) this.threads = message.threads;
    if (message.type === 'ready') {
      clearTimeout(this.#startTimer);
      this.#ready = true;
    }
    this.onMessage(message);
  }

  /** Hands a connection over; it stays the caller's, too. @throws SystemError when it cannot be passed */
  serve(fd: number, whom: Omit<HostServe, 'type'>): void {
    sendBytes(this.#passing, ONE_BYTE, [fd]);
    this.#closePassing();
    this.say({ type: 'serve', ...whom });
  }

  say(message: ToHost): void {
    // One that has ended has no channel any more, and its end is told by itself.
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  /** Ends it at once, whatever it does. */
  kill(reason: string): void {
    this.#killedFor ??= reason;
    this.#child.kill('SIGKILL');
  }

  #end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#startTimer);
    this.#closePassing();
    this.onEnd(this.#killedFor ?? reason);
  }

  #closePassing(): void {
    if (this.#passing >= 0) closeFd(this.#passing);
    this.#passing = -1;
  }
}
