import type { Peer } from './admission.js';
import type { ClientReport } from './client.js';
import type { DeviceSettings } from './hosted-device.js';

/*
 * What the broker and the process of one client say to each other, over the channel that Node opens between a process
 * and its child. Both are parts of one program: nothing here is checked as a client's messages are.
 */

/** Descriptors that a process of a client is started with, beside the channel at 3. */
export const HOST_FD = {
  /** A socket on which the client's connection comes, once. */
  passing: 4,
  /** The ledger of all accounts (device/ledger.ts). */
  ledger: 5,
} as const;

/** What the device of a client is made with, before anybody knows whose it will be. */
export interface HostStart {
  type: 'start';
  settings: DeviceSettings;
  /** How many accounts the ledger holds. */
  accounts: number;
}

/** Whom to serve: its connection waits on the socket for passing. */
export interface HostServe {
  type: 'serve';
  id: number;
  peer: Peer;
  /** Where its account starts in the ledger. */
  account: number;
  handshakeSeconds: number;
}

export type ToHost =
  | HostStart
  | HostServe
  /** Answer with a report. */
  | { type: 'ask' }
  /** Tell the client that no new work is wanted, and the broker whether it has any left. */
  | { type: 'stopping' }
  | { type: 'close'; reason: string };

export type FromHost =
  | { type: 'ready'; threads: number }
  /** The connection is its own: nobody else needs it any more. */
  | { type: 'serving' }
  | { type: 'report'; report: ClientReport; threads: number }
  | { type: 'idle'; idle: boolean }
  | { type: 'thread-died'; reason: string; thread: number }
  | { type: 'failed'; reason: string }
  /** The client has gone, for this reason if it was not its own; the process ends. */
  | { type: 'gone'; reason: string | undefined };
