import type { Account } from '../device/account.js';
import type { Peer } from './admission.js';
import type { ClientReport } from './client.js';
import type { Share } from './config.js';

export interface ClientSettings {
  id: number;
  peer: Peer;
  account: Account;
  share: Readonly<Share>;
  handshakeSeconds: number;
  /** The client has gone, and all it had is free again. */
  onGone: (client: ServedClient) => void;
}

/** A connection with its device, as the broker sees it. */
export interface ServedClient {
  readonly id: number;
  readonly peer: Peer;
  readonly uid: number;
  readonly account: Account;
  /** Why the broker hung up, or the device went away. */
  readonly closedFor: string | undefined;
  /** Whether all that it has published is completed; known once the stop was announced. */
  readonly idle: boolean;
  /** Hangs up; `onGone` follows. */
  close(reason: string): void;
  /** What it holds and has had done. */
  report(): ClientReport | Promise<ClientReport>;
}

/** Where the devices of clients are: on one accelerator in the broker, or each in a process of its own. */
export interface Host {
  /** Engine threads, all together. */
  readonly threads: number;
  /** Whether it serves nobody any more. */
  readonly failed: boolean;
  /**
   * Takes over a connection, unless it throws.
   * @throws SystemError when the device, or the system, has no room
   */
  connect(fd: number, settings: ClientSettings): ServedClient;
  /** Tells every client, on its status page, that no new work is wanted. */
  announceStop(): void;
  /** Frees everything, once every client has gone. */
  stop(): Promise<void>;
  /** The process exits at once. */
  abandon(): void;
}
