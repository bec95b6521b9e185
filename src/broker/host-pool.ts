import { availableParallelism } from 'node:os';
import type { Ledger } from '../device/ledger.js';
import { ERRNO } from '../sys/libc.js';
import type { ClientSettings, Host, ServedClient } from './host.js';
import { HostProcess } from './host-process.js';
import type { DeviceSettings } from './hosted-device.js';
import { IsolatedClient } from './isolated-client.js';
import { moduleLogger } from './log.js';

/** Processes that are ready before anybody asks for them. */
const SPARES = 1;
/** How long no spare is started after one did not start; a client that waits has one started at once. */
const REST_MS = 1000;

const logger = moduleLogger('isolation');

/** The processes of isolated clients: each has one, and some are started ahead. */
export class HostPool implements Host {
  readonly failed = false;
  readonly #settings: DeviceSettings;
  readonly #ledger: Ledger;
  readonly #refuse: (fd: number, errno: number) => void;
  readonly #spares = new Set<HostProcess>();
  readonly #starting = new Set<HostProcess>();
  readonly #waiting: IsolatedClient[] = [];
  readonly #clients = new Set<IsolatedClient>();
  #lastUid = -1;
  #rest: NodeJS.Timeout | undefined;
  #stopping = false;

  private constructor(settings: DeviceSettings, ledger: Ledger, refuse: (fd: number, errno: number) => void) {
    this.#settings = settings;
    this.#ledger = ledger;
    this.#refuse = refuse;
  }

  /**
   * Resolves when a first process is ready.
   * @param refuse turns a connection away, and takes it over
   * @throws Error when it does not start
   */
  static async start(
    settings: DeviceSettings,
    ledger: Ledger,
    refuse: (fd: number, errno: number) => void,
  ): Promise<HostPool> {
    const pool = new HostPool(settings, ledger, refuse);
    await new Promise<void>((resolve, reject) => {
      pool.#spawn(resolve, (reason) => reject(new Error(`a process for clients did not start: ${reason}`)));
    });
    return pool;
  }

  get threads(): number {
    return [...this.#clients].reduce((sum, client) => sum + client.threads, 0);
  }

  connect(fd: number, settings: ClientSettings): ServedClient {
    const client = new IsolatedClient(
      fd,
      {
        ...settings,
        onGone: (gone) => {
          this.#clients.delete(client);
          settings.onGone(gone);
        },
      },
      (refused) => this.#refuse(refused, ERRNO.ENOMEM),
    );
    this.#clients.add(client);
    this.#waiting.push(client);
    // Not before the caller knows of the client.
    setImmediate(() => this.#match());
    return client;
  }

  /** Gives clients that wait to processes that are ready, and starts as many as are missing. */
  #match(): void {
    if (this.#stopping) return;
    for (const host of this.#spares) {
      const client = this.#nextWaiting();
      if (!client) break;
      this.#spares.delete(host);
      client.serveBy(host);
    }
    const waiting = this.#waiting.filter((client) => client.waits).length;
    const wanted = waiting + (this.#rest ? 0 : SPARES) - this.#spares.size;
    // As many at a time as there are processors: more would only make each of them later.
    while (this.#starting.size < Math.min(wanted, availableParallelism())) {
      const before = this.#starting.size;
      const askedFor = [...this.#waiting];
      this.#spawn(
        () => this.#match(),
        (reason) => this.#didNotStart(reason, askedFor),
      );
      if (this.#starting.size === before) return;
    }
  }

  /** The client that has waited longest, but of another user than the last one if there is any. */
  #nextWaiting(): IsolatedClient | undefined {
    const there = this.#waiting.filter((client) => client.waits);
    const next = there.find((client) => client.uid !== this.#lastUid) ?? there[0];
    this.#waiting.splice(0, this.#waiting.length, ...there.filter((client) => client !== next));
    if (next) this.#lastUid = next.uid;
    return next;
  }

  #spawn(onReady: () => void, onFailure: (reason: string) => void): void {
    let host: HostProcess;
    try {
      host = new HostProcess(this.#settings, this.#ledger);
    } catch (error) {
      onFailure((error as Error).message);
      return;
    }
    this.#starting.add(host);
    host.onMessage = ({ type }) => {
      if (type !== 'ready') return;
      this.#starting.delete(host);
      if (this.#stopping) return;
      this.#spares.add(host);
      onReady();
    };
    host.onEnd = (reason) => {
      const wasStarting = this.#starting.delete(host);
      this.#spares.delete(host);
      if (this.#stopping) return;
      if (wasStarting) onFailure(reason);
      else this.#didNotStart(reason, []);
    };
  }

  /**
   * One process is missing: of the clients that waited when it was started, the one that has waited longest is refused.
   * Of those who came later it says nothing: what kept it from starting may be gone.
   */
  #didNotStart(reason: string, askedFor: readonly IsolatedClient[]): void {
    const client = askedFor.find((each) => each.waits);
    if (client) client.fail(reason);
    else logger.error('a spare process did not start, or ended', { reason });
    this.#rest ??= setTimeout(() => {
      this.#rest = undefined;
      this.#match();
    }, REST_MS);
    this.#match();
  }

  announceStop(): void {
    this.#stopping = true;
    clearTimeout(this.#rest);
    for (const client of this.#clients) client.announceStop();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#rest);
    const hosts = [...this.#spares, ...this.#starting];
    await Promise.all(
      hosts.map(
        (host) =>
          new Promise<void>((resolve) => {
            if (host.ended) resolve();
            host.onEnd = () => resolve();
            host.kill('the broker is stopping');
          }),
      ),
    );
  }

  /** Their channels close with this process, and they end. */
  abandon(): void {}
}
