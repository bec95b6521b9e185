import { setTimeout as sleep } from 'node:timers/promises';
import type { Ledger } from '../device/ledger.js';
import { SystemError } from '../errors.js';
import { closeFd } from '../sys/fd.js';
import { ERRNO } from '../sys/libc.js';
import { Acceptor } from './acceptor.js';
import { Accounts } from './accounts.js';
import { identify, isAllowed, type Peer } from './admission.js';
import { describeAccount } from './client.js';
import { type BrokerConfig, DEFAULT_SHARE } from './config.js';
import { clientsWithinDescriptors } from './descriptors.js';
import type { Host, ServedClient } from './host.js';
import { HostPool } from './host-pool.js';
import { HostedDevice } from './hosted-device.js';
import { type BrokerReport, InfoServer, maySee } from './info.js';
import { type Listener, openListeners } from './listener.js';
import { configureLog, moduleLogger } from './log.js';
import { Refusals } from './refusal.js';
import { changeable, fixedChanges } from './reload.js';

/** A device that fails more often than this, in this time, is not started again. */
const MAX_FAILURES = 5;
const FAILURE_WINDOW_MS = 60_000;
/** Between two looks at what is in flight while the broker drains. */
const DRAIN_LOOK_MS = 5;

const logger = moduleLogger('main');

/**
 * Owns a software accelerator, and gives every connection a mediated device of its own: queues, doorbell pages and an
 * address space that no other client can reach, within the limits of its user.
 */
export class Broker {
  #config: BrokerConfig;
  #hosted: Host;
  readonly #maxClients: number;
  readonly #listener: Listener;
  readonly #acceptor: Acceptor;
  readonly #info: InfoServer;
  readonly #accounts: Accounts;
  readonly #refusals: Refusals;
  readonly #clients = new Set<ServedClient>();
  readonly #onFatal: (reason: string) => void;
  readonly #startedAt = performance.now();
  #nextId = 1;
  #failures: number[] = [];
  #stopping = false;

  private constructor(
    config: BrokerConfig,
    hosted: Host,
    maxClients: number,
    accounts: Accounts,
    refusals: Refusals,
    listeners: [Listener, Listener],
    onFatal: (reason: string) => void,
  ) {
    this.#config = config;
    this.#hosted = hosted;
    this.#maxClients = maxClients;
    this.#onFatal = onFatal;
    this.#accounts = accounts;
    this.#refusals = refusals;
    this.#listener = listeners[0];
    this.#acceptor = new Acceptor(this.#listener.fd, (fd) => this.#connected(fd));
    this.#info = new InfoServer(listeners[1], (peer) => this.#report(peer));
    this.#acceptor.start();
  }

  /**
   * Starts the device and takes clients; resolves when it does. `onFatal` is called when the device cannot be kept alive.
   * @throws SystemError when the socket cannot be listened on
   */
  static async start(config: BrokerConfig, onFatal: (reason: string) => void): Promise<Broker> {
    const listeners = openListeners(config.socket, config.mode);
    let broker: Broker | undefined;
    let accounts: Accounts | undefined;
    try {
      const maxClients = clientsWithinDescriptors(config.maxClients, config.engines, config.isolate);
      if (maxClients < config.maxClients) {
        logger.warning('the limit on open files allows fewer clients', {
          wanted: config.maxClients,
          maxClients,
        });
      }
      if (config.allowUnsafeUnsealedMemory) {
        logger.warning(
          'unsafe: memory that can still shrink is mapped; a client that shrinks it ends the broker',
        );
      }
      if (config.faults.length > 0) logger.warning('faults are injected', { faults: config.faults });
      if (config.isolate && config.shares.size > 0) {
        logger.warning('shares do not apply to clients with processes of their own');
      }
      accounts = new Accounts(config.limits, maxClients, config.isolate);
      const refusals = new Refusals();
      const hosted = config.isolate
        ? await HostPool.start(config, accounts.ledger, (fd, errno) => refusals.refuse(fd, errno))
        : await startDevice(config, maxClients, accounts.ledger, (reason) => broker!.#failed(reason));
      broker = new Broker(config, hosted, maxClients, accounts, refusals, listeners, onFatal);
      return broker;
    } catch (error) {
      for (const listener of listeners) listener.close();
      accounts?.close();
      throw error;
    }
  }

  get socket(): string {
    return this.#listener.path;
  }

  get threads(): number {
    return this.#hosted.threads;
  }

  get maxClients(): number {
    return this.#maxClients;
  }

  #connected(fd: number): void {
    let peer: Peer;
    try {
      peer = identify(fd);
    } catch (error) {
      logger.warning('a client could not be identified', { reason: (error as Error).message });
      closeFd(fd);
      return;
    }
    const { pid, uid } = peer;
    try {
      const client = this.#admit(fd, peer);
      logger.info('client connected', { client: client.id, uid, pid, clients: this.#clients.size });
    } catch (error) {
      const known = error instanceof SystemError;
      logger.warning('client refused', { uid, pid, reason: (error as Error).message });
      this.#refusals.refuse(fd, known ? error.errno : ERRNO.ENOMEM);
    }
  }

  /** @throws SystemError with the reason why not; the connection stays the caller's then. */
  #admit(fd: number, peer: Peer): ServedClient {
    const { allow, shares, handshakeSeconds } = this.#config;
    if (!isAllowed(peer, allow)) {
      throw new SystemError('admission', ERRNO.EACCES, 'neither the user nor a group of it is allowed');
    }
    if (this.#clients.size >= this.#maxClients) {
      throw new SystemError('admission', ERRNO.EBUSY, 'the device has all the clients it can have');
    }
    const account = this.#accounts.client(peer.uid);
    try {
      account.take('clients', 1);
      const client = this.#hosted.connect(fd, {
        id: this.#nextId,
        peer,
        account,
        share: shares.get(peer.uid) ?? DEFAULT_SHARE,
        handshakeSeconds,
        onGone: (gone) => this.#gone(gone),
      });
      this.#nextId++;
      this.#clients.add(client);
      return client;
    } catch (error) {
      this.#accounts.gone(peer.uid, account);
      throw error;
    }
  }

  #gone(client: ServedClient): void {
    this.#accounts.gone(client.uid, client.account);
    this.#clients.delete(client);
    const { uid, pid } = client.peer;
    const reason = client.closedFor ?? 'the client hung up';
    logger.info('client gone', { client: client.id, uid, pid, reason, clients: this.#clients.size });
  }

  /** An engine thread died, and the device with it: its clients have been told. The next ones get a new device. */
  #failed(reason: string): void {
    logger.error('the device failed', { reason, clients: this.#clients.size });
    if (this.#stopping) return;
    const now = performance.now();
    this.#failures = [...this.#failures.filter((at) => now - at < FAILURE_WINDOW_MS), now];
    if (this.#failures.length > MAX_FAILURES) {
      this.#onFatal('the device fails again and again');
      return;
    }
    this.#acceptor.stop();
    this.#restartDevice().then(
      () => {
        if (!this.#stopping) this.#acceptor.start();
      },
      (error: Error) => this.#onFatal(`the device could not be started again: ${error.message}`),
    );
  }

  async #restartDevice(): Promise<void> {
    await this.#dropClients('the device failed');
    await this.#hosted.stop();
    if (this.#stopping) return;
    const { ledger } = this.#accounts;
    this.#hosted = await startDevice(this.#config, this.#maxClients, ledger, (reason) =>
      this.#failed(reason),
    );
    logger.info('the device was started again', { threads: this.threads });
  }

  async #dropClients(reason: string): Promise<void> {
    for (const client of this.#clients) client.close(reason);
    while (this.#clients.size > 0) await sleep(1);
  }

  /** Goes by another configuration from now on, as far as that is possible while it runs. */
  reload(next: BrokerConfig): void {
    const needRestart = fixedChanges(this.#config, next);
    if (needRestart.length > 0) logger.warning('some changes need a restart', { needRestart });
    this.#config = changeable(this.#config, next);
    configureLog(this.#config.logLevel);
    this.#accounts.replace(this.#config.limits, this.#clients);
    this.#listener.chmod(this.#config.mode);
    this.#info.chmod(this.#config.mode);
    for (const client of this.#clients) {
      if (!isAllowed(client.peer, this.#config.allow)) client.close('the user is no longer allowed');
    }
    logger.info('configuration reloaded', { clients: this.#clients.size });
  }

  /**
   * Stops: takes no more clients, waits until what was published is completed, but no longer than the configuration
   * says, then hangs up on everybody and frees everything.
   */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#acceptor.stop();
    this.#listener.close();
    this.#hosted.announceStop();
    logger.info('draining', { clients: this.#clients.size, seconds: this.#config.drainSeconds });
    const busy = await this.#drain();
    if (busy > 0) logger.warning('some clients still had requests in flight', { clients: busy });
    await this.#dropClients('the broker is stopping');
    this.#refusals.close();
    await this.#hosted.stop();
    this.#info.close();
    this.#accounts.close();
    logger.info('stopped');
  }

  /** How many clients still have something in flight when the time is over. */
  async #drain(): Promise<number> {
    const end = performance.now() + this.#config.drainSeconds * 1000;
    for (;;) {
      const busy = [...this.#clients].filter((client) => !client.idle).length;
      if (busy === 0 || performance.now() >= end || this.#hosted.failed) return busy;
      await sleep(DRAIN_LOOK_MS);
    }
  }

  /** The process exits at once. */
  abandon(): void {
    this.#listener.close();
    this.#info.close();
    this.#hosted.abandon();
  }

  async #report(peer: Peer): Promise<BrokerReport | undefined> {
    if (!isAllowed(peer, this.#config.allow) && !maySee(peer, process.getuid!())) return undefined;
    const visible = [...this.#clients].filter((client) => maySee(peer, client.uid));
    const reports = await Promise.all(visible.map((client) => client.report()));
    // Processes answer one after the other: what all of them hold is to be of one moment.
    const clients = reports.map((report, index) => {
      const client = visible[index]!;
      return this.#clients.has(client) ? { ...report, ...describeAccount(client.account) } : report;
    });
    return {
      pid: process.pid,
      state: this.#stopping ? 'stopping' : 'ready',
      uptimeSeconds: Math.floor((performance.now() - this.#startedAt) / 1000),
      device: { threads: this.threads, maxThreads: this.#config.engines, maxClients: this.#maxClients },
      clientCount: this.#clients.size,
      clients,
    };
  }
}

/** One device for all clients, in this process. */
function startDevice(
  config: BrokerConfig,
  maxClients: number,
  ledger: Ledger,
  onFailure: (reason: string) => void,
): Promise<HostedDevice> {
  return HostedDevice.start(config, maxClients, ledger, {
    onThreadDeath: (reason, thread) => {
      logger.error('an engine thread died, and is replaced', { reason, thread });
    },
    onFailure,
  });
}
