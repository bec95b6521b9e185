import { Socket } from 'node:net';
import { closeFd } from '../sys/fd.js';
import { Acceptor } from './acceptor.js';
import { identify, type Peer } from './admission.js';
import type { ClientReport } from './client.js';
import type { Listener } from './listener.js';
import { moduleLogger } from './log.js';

/** What a broker tells about itself, and of those clients that the asker may know of. */
export interface BrokerReport {
  pid: number;
  state: 'ready' | 'stopping';
  uptimeSeconds: number;
  device: { threads: number; maxThreads: number; maxClients: number };
  /** All clients, those that are not listed, too. */
  clientCount: number;
  clients: ClientReport[];
}

/** Askers served at once, and how long one may take to read its answer. */
const MAX_ASKERS = 32;
const PATIENCE_MS = 5000;

const logger = moduleLogger('info');

/** Whether a peer may know of the clients of a user: root and the broker's own user of all, others of their own. */
export function maySee(peer: Peer, uid: number): boolean {
  return peer.uid === 0 || peer.uid === process.getuid!() || peer.uid === uid;
}

/** Answers each connection with one JSON document, and closes it. Nothing is read. */
export class InfoServer {
  readonly #listener: Listener;
  readonly #acceptor: Acceptor;
  readonly #askers = new Set<Socket>();
  /** What a peer is told; undefined for one that is to be told nothing. */
  readonly #report: (peer: Peer) => Promise<BrokerReport | undefined>;
  /** Questions whose answer is being put together. */
  #asked = 0;
  #closed = false;

  /** Takes over the listening socket. */
  constructor(listener: Listener, report: (peer: Peer) => Promise<BrokerReport | undefined>) {
    this.#listener = listener;
    this.#report = report;
    this.#acceptor = new Acceptor(listener.fd, (fd) => void this.#answer(fd));
    this.#acceptor.start();
  }

  chmod(mode: number): void {
    this.#listener.chmod(mode);
  }

  async #answer(fd: number): Promise<void> {
    let report: BrokerReport | undefined;
    this.#asked++;
    try {
      if (this.#askers.size + this.#asked <= MAX_ASKERS) report = await this.#report(identify(fd));
    } catch (error) {
      logger.warning('a question was not answered', { reason: (error as Error).message });
    } finally {
      this.#asked--;
    }
    if (!report || this.#closed) {
      closeFd(fd);
      return;
    }
    const socket = new Socket({ fd, readable: false, writable: true });
    this.#askers.add(socket);
    const timer = setTimeout(() => socket.destroy(), PATIENCE_MS);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      clearTimeout(timer);
      this.#askers.delete(socket);
    });
    socket.end(`${JSON.stringify(report)}\n`, () => socket.destroy());
  }

  close(): void {
    this.#closed = true;
    this.#acceptor.stop();
    this.#listener.close();
    for (const socket of this.#askers) socket.destroy();
  }
}
