import { STATUS } from '../../abi/queue.js';
import { CRYPTO_STATUS } from '../../abi/virtio-crypto.js';
import type { Virtqueue } from '../virtio/virtqueue.js';
import type { Cipher } from './ciphers.js';
import type { MemoryMap } from './memory-map.js';
import type { RequestTable } from './request-table.js';
import type { Sessions } from './sessions.js';

/** A cipher's header with its IV, source, what is put behind it, output, the output's end with the status. */
export const DATA_CHAIN = 5;

/** No STATUS: the request is with the device. */
export const SENT = -1;

/** A queue of the device as it was set up last. */
export interface QueueRings {
  virtqueue: Virtqueue;
  table: RequestTable;
  /** Rings the doorbell. */
  ring: () => void;
}

/** What the queues of a device have in common. */
export interface QueueOwner {
  readonly sessions: Sessions;
  readonly memory: MemoryMap;
  readonly lost: boolean;
  /** An internal session, for empty requests, and two blocks of memory. */
  readonly probe: { session: number; cipher: Cipher; source: number; destination: number } | undefined;
  /** The device broke the rules. */
  distrust(reason: string): void;
  /** Called by whoever waits: looks at the device, if it is time. */
  look(): void;
}

/** What the device does with a request. */
export const KIND = { none: 0, cipher: 1, signature: 2 } as const;

/** The requests that the device has of one queue, by slot: whose they are, and of what kind. */
export class Requests {
  rings: QueueRings;
  readonly requestIds: Int32Array;
  readonly sourceLengths: Float64Array;
  /** KIND. */
  readonly kinds: Uint8Array;

  constructor(rings: QueueRings) {
    const { slots } = rings.virtqueue;
    this.rings = rings;
    this.requestIds = new Int32Array(slots);
    this.sourceLengths = new Float64Array(slots);
    this.kinds = new Uint8Array(slots);
  }

  /** A slot for a request; there is one for each that the queue lets in. */
  take(requestId: number, sourceLength: number, kind: number): number {
    const slot = this.rings.virtqueue.take();
    this.requestIds[slot] = requestId;
    this.sourceLengths[slot] = sourceLength;
    this.kinds[slot] = kind;
    return slot;
  }
}

/** The STATUS that a device's answer to a request stands for. */
export function statusOf(answer: number): number {
  if (answer === CRYPTO_STATUS.ok) return STATUS.ok;
  if (answer === CRYPTO_STATUS.unsupported) return STATUS.unsupported;
  if (answer === CRYPTO_STATUS.badSession) return STATUS.badSession;
  if (answer === CRYPTO_STATUS.noSpace) return STATUS.noResources;
  return STATUS.engineFailed;
}
