import { type Account, RESOURCES, type Resource } from '../device/account.js';
import type { Counters, QueueListing } from '../device/client-counters.js';
import type { Device } from '../device/device.js';
import { DeviceServer } from '../device/server.js';
import type { Peer } from './admission.js';
import type { Share } from './config.js';
import type { ClientSettings, ServedClient } from './host.js';

/** What the broker tells of a client. */
export interface ClientReport {
  id: number;
  pid: number;
  uid: number;
  gid: number;
  /** When it connected (ISO 8601). */
  since: string;
  /** It has agreed on a version. */
  ready: boolean;
  weight: number;
  lowLatency: boolean;
  /** What it holds of what is limited. */
  held: Record<Resource, number>;
  limits: Record<Resource, number | null>;
  /** What it has had done since it came, and its open queues. */
  total: Counters;
  queues: QueueListing[];
  /** The process that its device is in, if it has one of its own. */
  hostPid?: number;
}

/** One connection: a mediated device with an account, for the process at the other end. */
export class BrokerClient implements ServedClient {
  readonly id: number;
  readonly peer: Peer;
  readonly account: Account;
  /** Why the broker hung up, where it did. */
  closedFor: string | undefined;
  readonly #since = new Date();
  readonly #share: Readonly<Share>;
  readonly #server: DeviceServer;
  readonly #handshake: NodeJS.Timeout;

  /**
   * Takes over the connection, unless it throws.
   * @throws SystemError when the device, or the system, has no room
   */
  constructor(device: Device, fd: number, settings: ClientSettings) {
    const { id, peer, account, share, handshakeSeconds, onGone } = settings;
    this.id = id;
    this.peer = peer;
    this.account = account;
    this.#share = share;
    // Another process never shares an address space with the device.
    this.#server = new DeviceServer(device, fd, { sva: false, account, ...share }, () => {
      clearTimeout(this.#handshake);
      onGone(this);
    });
    this.#handshake = setTimeout(() => {
      if (!this.#server.negotiated) this.close('no version was agreed on in time');
    }, handshakeSeconds * 1000);
    this.#server.listen();
  }

  get uid(): number {
    return this.peer.uid;
  }

  /** Whether all that it has published is completed. */
  get idle(): boolean {
    return this.#server.served.idle;
  }

  /** Hangs up; `onGone` follows. */
  close(reason: string): void {
    this.closedFor ??= reason;
    this.#server.close();
  }

  report(): ClientReport {
    return {
      ...describePeer(this.id, this.peer, this.#since),
      ready: this.#server.negotiated,
      ...this.#share,
      ...describeAccount(this.account),
      ...this.#server.served.counters(),
    };
  }
}

/** Who a client is, and since when. */
export function describePeer(
  id: number,
  { pid, uid, gid }: Peer,
  since: Date,
): Pick<ClientReport, 'id' | 'pid' | 'uid' | 'gid' | 'since'> {
  return { id, pid, uid, gid, since: since.toISOString() };
}

/** What an account holds of what is limited, and its limits; null for none. */
export function describeAccount(account: Account): Pick<ClientReport, 'held' | 'limits'> {
  const limit = (resource: Resource): number | null => {
    const value = account.limit(resource);
    return Number.isFinite(value) ? value : null;
  };
  return { held: each((resource) => account.held(resource)), limits: each(limit) };
}

function each<T>(value: (resource: Resource) => T): Record<Resource, T> {
  return Object.fromEntries(RESOURCES.map((resource) => [resource, value(resource)])) as Record<Resource, T>;
}
