import { LIMITS } from '../../abi/queue.js';
import {
  CRYPTO_AKCIPHER,
  CRYPTO_AKCIPHER_OPCODE,
  CRYPTO_CREATE_RSA_SESSION,
  CRYPTO_CREATE_SESSION,
  CRYPTO_DESTROY_SESSION,
  CRYPTO_OPCODE,
  CRYPTO_RSA_PADDING,
  CRYPTO_SESSION_ANSWER,
  CRYPTO_SYMMETRIC,
} from '../../abi/virtio-crypto.js';
import type { Virtqueue } from '../virtio/virtqueue.js';
import type { Cipher } from './ciphers.js';
import type { Signer } from './signatures.js';

/** Buffers of one control request, and where they lie in its memory. */
const BUFFERS = 3;
const KEY_AT = 128;
const ANSWER_AT = KEY_AT + LIMITS.maxKey;
const { offset: CREATE } = CRYPTO_CREATE_SESSION;
const { offset: RSA } = CRYPTO_CREATE_RSA_SESSION;
const { offset: DESTROY } = CRYPTO_DESTROY_SESSION;
const { offset: ANSWER } = CRYPTO_SESSION_ANSWER;
/** How long the device may take for an answer. */
const ANSWER_MS = 1000;
/** Polls between two looks at the clock. */
const POLLS_PER_LOOK = 256;
/** No status that a device gives: what an answer says before there is one, and in place of one that never comes. */
export const NO_ANSWER = 0xff;

/** Bytes that a control queue needs beside its rings, and how many descriptors one request has. */
export const CONTROL_BYTES = ANSWER_AT + CRYPTO_SESSION_ANSWER.bytes;
export const CONTROL_CHAIN = BUFFERS;

/** Sessions of a virtio-crypto device (5.9.7.2). One request at a time, and this thread polls until it is answered. */
export class ControlQueue {
  /** Of the session that was created last. */
  sessionLow = 0;
  sessionHigh = 0;
  readonly #queue: Virtqueue;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #iova: number;
  readonly #ring: () => void;

  /** @param memory of CONTROL_BYTES, which the device knows as `iova`; @param ring rings the queue's doorbell */
  constructor(queue: Virtqueue, memory: Uint8Array, iova: number, ring: () => void) {
    this.#queue = queue;
    this.#bytes = memory;
    this.#view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    this.#iova = iova;
    this.#ring = ring;
  }

  /** Creates a session for one direction; its number is in `sessionLow` and `sessionHigh`. Returns CRYPTO_STATUS. */
  create(cipher: Cipher, direction: number, key: Uint8Array): number {
    const view = this.#view;
    this.#begin(CRYPTO_OPCODE.createSession, cipher.number);
    view.setUint32(CREATE.cipher, cipher.number, true);
    view.setUint32(CREATE.keyLength, key.length, true);
    view.setUint32(CREATE.direction, direction, true);
    view.setUint32(CREATE.kind, CRYPTO_SYMMETRIC.cipher, true);
    return this.#create(key);
  }

  /** The same for a session that signs, or that verifies. @param key RFC 8017, A.1 */
  createRsa({ keyType, digest }: Signer, key: Uint8Array): number {
    const view = this.#view;
    this.#begin(CRYPTO_AKCIPHER_OPCODE.createSession, CRYPTO_AKCIPHER.rsa);
    view.setUint32(RSA.akcipher, CRYPTO_AKCIPHER.rsa, true);
    view.setUint32(RSA.keyType, keyType, true);
    view.setUint32(RSA.keyLength, key.length, true);
    view.setUint32(RSA.padding, CRYPTO_RSA_PADDING.pkcs1, true);
    view.setUint32(RSA.hash, digest.number, true);
    return this.#create(key);
  }

  #create(key: Uint8Array): number {
    const view = this.#view;
    this.#bytes.set(key, KEY_AT);
    view.setUint32(ANSWER_AT + ANSWER.status, NO_ANSWER, true);
    const answered = this.#send(key.length, CRYPTO_SESSION_ANSWER.bytes);
    this.#bytes.fill(0, KEY_AT, KEY_AT + key.length);
    this.sessionLow = view.getInt32(ANSWER_AT + ANSWER.sessionLow, true);
    this.sessionHigh = view.getInt32(ANSWER_AT + ANSWER.sessionHigh, true);
    return answered ? view.getUint32(ANSWER_AT + ANSWER.status, true) : NO_ANSWER;
  }

  /** Destroys a session. @param opcode the service's own. Returns CRYPTO_STATUS. */
  destroy(opcode: number, sessionLow: number, sessionHigh: number): number {
    this.#begin(opcode, 0);
    this.#view.setInt32(DESTROY.sessionLow, sessionLow, true);
    this.#view.setInt32(DESTROY.sessionHigh, sessionHigh, true);
    this.#bytes[ANSWER_AT] = NO_ANSWER;
    return this.#send(0, 1) ? this.#bytes[ANSWER_AT]! : NO_ANSWER;
  }

  #begin(opcode: number, algorithm: number): void {
    this.#bytes.fill(0, 0, CRYPTO_CREATE_SESSION.bytes);
    this.#view.setUint32(CREATE.opcode, opcode, true);
    this.#view.setUint32(CREATE.algorithm, algorithm, true);
  }

  /** Sends what was written, and waits; false if no answer came. */
  #send(keyBytes: number, answerBytes: number): boolean {
    const queue = this.#queue;
    const slot = queue.take();
    if (slot < 0) return false;
    let buffers = 0;
    queue.describe(slot, buffers++, this.#iova, CRYPTO_CREATE_SESSION.bytes, false);
    if (keyBytes > 0) queue.describe(slot, buffers++, this.#iova + KEY_AT, keyBytes, false);
    queue.describe(slot, buffers++, this.#iova + ANSWER_AT, answerBytes, true);
    queue.push(slot, buffers, answerBytes);
    if (queue.publish()) this.#ring();
    const until = performance.now() + ANSWER_MS;
    for (let polls = 1; queue.poll() < 0; polls++) {
      if (queue.failure !== undefined) return false;
      if (polls % POLLS_PER_LOOK === 0 && performance.now() > until) return false;
    }
    return true;
  }
}
