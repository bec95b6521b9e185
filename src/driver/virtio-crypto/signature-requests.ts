import { createHash } from 'node:crypto';
import { ALGORITHM } from '../../abi/algorithms.js';
import { LIMITS, OPCODE, STATUS } from '../../abi/queue.js';
import { CRYPTO_AKCIPHER_OPCODE, CRYPTO_KEY_TYPE, CRYPTO_STATUS } from '../../abi/virtio-crypto.js';
import { viewMemory } from '../../sys/libc.js';
import type { Completion, Submission } from '../driver.js';
import { KIND, type QueueOwner, type Requests, SENT, statusOf } from './requests.js';
import { SIGNATURE, type Signer } from './signatures.js';

/**
 * Requests that sign, or verify. The device wants the digest of a message, which is made here: next to what is done with
 * it, the objects of node:crypto cost nothing.
 */
export class SignatureRequests {
  readonly #owner: QueueOwner;
  readonly #requests: Requests;
  /** By slot: the length of a signature that is made; 0 for one that is verified. */
  readonly #signatureBytes: Uint16Array;

  constructor(owner: QueueOwner, requests: Requests) {
    const { slots } = requests.rings.virtqueue;
    this.#owner = owner;
    this.#requests = requests;
    this.#signatureBytes = new Uint16Array(slots);
  }

  /** Sends a request, and returns SENT; or the STATUS with which it is completed at once. */
  start(submission: Submission): number {
    const { operation, algorithm, session, source, sourceLength, auxLength } = submission;
    const { memory, sessions } = this.#owner;
    if (algorithm !== ALGORITHM[SIGNATURE]) return STATUS.unsupported;
    if (sourceLength > LIMITS.maxTransfer) return STATUS.badLength;
    const keyType = operation === OPCODE.verify ? CRYPTO_KEY_TYPE.public : CRYPTO_KEY_TYPE.private;
    const signer = sessions.signerOf(session);
    if (signer?.keyType !== keyType) return STATUS.badSession;
    const { modulusBytes } = signer;
    const message = sourceLength === 0 ? 0 : memory.find(source, sourceLength);
    if (sourceLength > 0 && message === 0) return STATUS.badAddress;
    if (operation === OPCODE.verify) {
      // RFC 8017, 8.2.2: one of another length is none. QEMU takes zeros in front of it.
      if (auxLength !== modulusBytes) return STATUS.ok;
      const signature = memory.find(submission.aux, auxLength);
      if (signature === 0) return STATUS.badAddress;
      // Libraries below a device may take a number that is larger by the modulus for the same.
      if (!isBelow(signature, signer.modulus!)) return STATUS.ok;
    } else {
      if (submission.capacity < modulusBytes) return STATUS.noSpace;
      if (memory.find(submission.destination, modulusBytes) === 0) return STATUS.badAddress;
    }
    const digest = digestOf(signer, message, sourceLength);
    const found = sessions.use(session, signer, keyType);
    if (found !== STATUS.ok) return found;
    const slot = this.#requests.take(submission.requestId, sourceLength, KIND.signature);
    this.#signatureBytes[slot] = operation === OPCODE.sign ? modulusBytes : 0;
    this.#send(slot, submission, signer, digest);
    return SENT;
  }

  /** Describes a request whose session `Sessions.use` has found, and pushes it. */
  #send(
    slot: number,
    { operation, aux, destination }: Submission,
    { modulusBytes }: Signer,
    digest: Uint8Array,
  ): void {
    const { virtqueue, table } = this.#requests.rings;
    const { low, high } = this.#owner.sessions;
    table.clearStatus(slot, 0);
    table.setDigest(slot, digest);
    let buffers = 0;
    if (operation === OPCODE.verify) {
      table.setKeyedHeader(slot, CRYPTO_AKCIPHER_OPCODE.verify, low, high, modulusBytes, digest.length);
      virtqueue.describe(slot, buffers++, table.header(slot), table.headerBytes, false);
      virtqueue.describe(slot, buffers++, aux, modulusBytes, false);
      virtqueue.describe(slot, buffers++, table.digest(slot), digest.length, false);
    } else {
      table.setKeyedHeader(slot, CRYPTO_AKCIPHER_OPCODE.sign, low, high, digest.length, modulusBytes);
      virtqueue.describe(slot, buffers++, table.header(slot), table.headerBytes + digest.length, false);
      virtqueue.describe(slot, buffers++, destination, modulusBytes, true);
    }
    virtqueue.describe(slot, buffers++, table.tail(slot), 1, true);
    virtqueue.push(slot, buffers, this.#signatureBytes[slot]! + 1);
  }

  /** Fills in what became of a request that the device has completed. */
  finish(slot: number, completion: Completion): void {
    const { table, virtqueue } = this.#requests.rings;
    const answer = table.status(slot, 0);
    const length = this.#signatureBytes[slot]!;
    completion.produced = completion.result = 0;
    if (length === 0) {
      const isVerdict = answer === CRYPTO_STATUS.ok || answer === CRYPTO_STATUS.keyRejected;
      completion.status = isVerdict ? STATUS.ok : statusOf(answer);
      completion.result = answer === CRYPTO_STATUS.ok ? 1 : 0;
      return;
    }
    completion.status = statusOf(answer);
    if (completion.status !== STATUS.ok) return;
    // Of a signature that begins with a zero QEMU 7.2 keeps the last byte to itself: it counts those of the number.
    if (virtqueue.usedBytes === length + 1) completion.produced = length;
    else completion.status = STATUS.unsupported;
  }
}

/** Whether the number at an address, which is as long, is less than the modulus. */
function isBelow(address: number, modulus: Buffer): boolean {
  return modulus.compare(new Uint8Array(viewMemory(address, modulus.length))) > 0;
}

/** The digest of a message at an address. */
function digestOf({ digest }: Signer, address: number, length: number): Uint8Array {
  const hash = createHash(digest.name);
  if (length > 0) hash.update(new Uint8Array(viewMemory(address, length)));
  return hash.digest();
}
