import { type PeerCredentials, peerCredentials, peerGroups } from '../sys/unix-socket.js';
import type { Allow } from './config.js';

/** Who is at the other end of a connection: what the kernel says, nothing that the peer could choose. */
export interface Peer extends PeerCredentials {
  /** All groups of the process, the supplementary ones, too. */
  groups: readonly number[];
}

/** @throws SystemError when the connection is no UNIX socket. */
export function identify(fd: number): Peer {
  const credentials = peerCredentials(fd);
  return { ...credentials, groups: [credentials.gid, ...peerGroups(fd)] };
}

/** Whether the lists let a peer in. Root is a user like any other here. */
export function isAllowed(peer: Peer, allow: Allow | undefined): boolean {
  if (!allow) return true;
  return allow.users.includes(peer.uid) || peer.groups.some((group) => allow.groups.includes(group));
}
