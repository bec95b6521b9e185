import { LIMITS, OPCODE, SQE_FLAG, STATUS } from '../../abi/queue.js';
import { CRYPTO_DIRECTION, CRYPTO_OPCODE } from '../../abi/virtio-crypto.js';
import { copyMemory, fillMemory } from '../../sys/memory.js';
import type { Completion, Submission } from '../driver.js';
import { BLOCK_BYTES, CIPHER_BY_ALGORITHM, type Cipher } from './ciphers.js';
import { KIND, type QueueOwner, type Requests, SENT, statusOf } from './requests.js';

/**
 * Requests for ciphers. Those of the device take whole blocks: what is missing is put behind the source from a table of
 * this driver's, and what is too much of the output goes there.
 */
export class CipherRequests {
  readonly #owner: QueueOwner;
  readonly #requests: Requests;
  /** By slot: what the completion is to say, and how the output ends. */
  readonly #produced: Float64Array;
  readonly #destinations: Float64Array;
  readonly #capacities: Float64Array;
  readonly #tails: Uint8Array;
  readonly #padded: Uint8Array;

  constructor(owner: QueueOwner, requests: Requests) {
    const { slots } = requests.rings.virtqueue;
    this.#owner = owner;
    this.#requests = requests;
    this.#produced = new Float64Array(slots);
    this.#destinations = new Float64Array(slots);
    this.#capacities = new Float64Array(slots);
    this.#tails = new Uint8Array(slots);
    this.#padded = new Uint8Array(slots);
  }

  /** An empty request: the device enciphers one block that nobody wants, which shows that it works. */
  startNoop({ requestId }: Submission): number {
    const { probe, sessions } = this.#owner;
    if (!probe) return STATUS.ok;
    const { cipher, source, destination } = probe;
    const status = sessions.use(probe.session, cipher, CRYPTO_DIRECTION.encrypt);
    if (status !== STATUS.ok) return status;
    const slot = this.#take(requestId, 0, 0, destination, 0, 0, false);
    return this.#send(slot, cipher, true, source, BLOCK_BYTES, 0, destination);
  }

  /** Sends a request, and returns SENT; or the STATUS with which it is completed at once. */
  start(submission: Submission): number {
    const { algorithm, flags, requestId, source, sourceLength, destination, capacity } = submission;
    const { memory, sessions } = this.#owner;
    const cipher = CIPHER_BY_ALGORITHM[algorithm];
    if (!cipher) return STATUS.unsupported;
    const { ivBytes, mode } = cipher;
    const unpadded = (flags & SQE_FLAG.unpadded) !== 0;
    if (sourceLength > LIMITS.maxTransfer) return STATUS.badLength;
    if (submission.param0 !== ivBytes || submission.auxLength !== ivBytes) return STATUS.badLength;
    if (submission.param1 !== 0 || (unpadded && mode !== 'block')) return STATUS.badField;
    const encrypts = submission.operation === OPCODE.encrypt;
    const padded = mode === 'block' && !unpadded;
    const rest = sourceLength % BLOCK_BYTES;
    let behind = 0;
    let tail = 0;
    if (padded && encrypts) {
      behind = BLOCK_BYTES - rest;
    } else if (padded) {
      // Data of no whole number of blocks is not what was once encrypted.
      if (rest !== 0 || sourceLength === 0) return STATUS.notAuthentic;
      tail = BLOCK_BYTES;
    } else if (mode === 'counter' && rest !== 0) {
      tail = behind = BLOCK_BYTES - rest;
    } else if (rest !== 0) {
      return mode === 'xts' && sourceLength > BLOCK_BYTES ? STATUS.unsupported : STATUS.badLength;
    } else if (mode === 'xts' && sourceLength === 0) {
      return STATUS.badLength;
    }
    const total = sourceLength + behind;
    const body = total - tail;
    if (body > capacity) return STATUS.noSpace;
    const overlaps = source < destination + body && destination < source + sourceLength;
    if (overlaps && source !== destination) return STATUS.badAddress;
    if (sourceLength > 0 && memory.find(source, sourceLength) === 0) return STATUS.badAddress;
    const ivAddress = ivBytes === 0 ? 0 : memory.find(submission.aux, ivBytes);
    // The end of a padded message is put there by this driver.
    const needed = padded && !encrypts ? Math.min(capacity, total) : body;
    const target = needed === 0 ? 0 : memory.find(destination, needed);
    if ((ivBytes > 0 && ivAddress === 0) || (needed > 0 && target === 0)) return STATUS.badAddress;
    const direction = encrypts ? CRYPTO_DIRECTION.encrypt : CRYPTO_DIRECTION.decrypt;
    const found = sessions.use(submission.session, cipher, direction);
    if (found !== STATUS.ok || total === 0) return found;
    const produced = mode === 'counter' ? sourceLength : total;
    const slot = this.#take(requestId, sourceLength, produced, target, capacity, tail, padded && !encrypts);
    const { table } = this.#requests.rings;
    if (ivBytes > 0) copyMemory(table.ivAddress(slot), ivAddress, ivBytes);
    if (behind > 0) table.fillPad(slot, padded ? behind : 0);
    return this.#send(slot, cipher, encrypts, source, sourceLength, behind, destination);
  }

  #take(
    requestId: number,
    sourceLength: number,
    produced: number,
    target: number,
    capacity: number,
    tail: number,
    padded: boolean,
  ): number {
    const slot = this.#requests.take(requestId, sourceLength, KIND.cipher);
    this.#produced[slot] = produced;
    this.#destinations[slot] = target;
    this.#capacities[slot] = capacity;
    this.#tails[slot] = tail;
    this.#padded[slot] = padded ? 1 : 0;
    return slot;
  }

  /** Describes a request whose session `Sessions.use` has found, and pushes it. */
  #send(
    slot: number,
    { number, ivBytes }: Cipher,
    encrypts: boolean,
    source: number,
    sourceLength: number,
    behind: number,
    destination: number,
  ): number {
    const { virtqueue, table } = this.#requests.rings;
    const { low, high } = this.#owner.sessions;
    const tail = this.#tails[slot]!;
    const total = sourceLength + behind;
    const opcode = encrypts ? CRYPTO_OPCODE.encrypt : CRYPTO_OPCODE.decrypt;
    table.setHeader(slot, opcode, number, low, high, ivBytes, total);
    table.clearStatus(slot, tail);
    let buffers = 0;
    virtqueue.describe(slot, buffers++, table.header(slot), table.headerBytes + ivBytes, false);
    // A buffer of no bytes is an error to a device.
    if (sourceLength > 0) virtqueue.describe(slot, buffers++, source, sourceLength, false);
    if (behind > 0) virtqueue.describe(slot, buffers++, table.pad(slot), behind, false);
    if (total > tail) virtqueue.describe(slot, buffers++, destination, total - tail, true);
    virtqueue.describe(slot, buffers++, table.tail(slot), tail + 1, true);
    virtqueue.push(slot, buffers, total + 1);
    return SENT;
  }

  /** Fills in what became of a request that the device has completed. */
  finish(slot: number, completion: Completion): void {
    const { table } = this.#requests.rings;
    let status = statusOf(table.status(slot, this.#tails[slot]!));
    let produced = this.#produced[slot]!;
    if (this.#padded[slot] === 1) {
      if (status === STATUS.ok) {
        const padding = table.padding(slot);
        produced -= padding;
        status = this.#endPadded(slot, padding, produced);
      }
      table.wipeTail(slot);
    }
    completion.status = status;
    completion.produced = status === STATUS.ok ? produced : 0;
    completion.result = 0;
  }

  /** Puts the last bytes of a message whose padding has been taken off where they belong; nothing stays of any other. */
  #endPadded(slot: number, padding: number, produced: number): number {
    const target = this.#destinations[slot]!;
    const body = this.#produced[slot]! - BLOCK_BYTES;
    const fits = produced <= this.#capacities[slot]!;
    if (padding === 0 || !fits) {
      if (body > 0) fillMemory(target, 0, body);
      return padding === 0 ? STATUS.notAuthentic : STATUS.noSpace;
    }
    if (produced > body) {
      copyMemory(target + body, this.#requests.rings.table.tailAddress(slot), produced - body);
    }
    return STATUS.ok;
  }
}
