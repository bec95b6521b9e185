import {
  CRYPTO_AKCIPHER,
  CRYPTO_AKCIPHER_REQUEST,
  CRYPTO_CIPHER_REQUEST,
  CRYPTO_SYMMETRIC,
} from '../../abi/virtio-crypto.js';
import { BLOCK_BYTES } from './ciphers.js';
import { NO_ANSWER } from './control-queue.js';

/** Of SHA-512. */
const MAX_DIGEST_BYTES = 64;
/** What one request has in the table, in bytes from where it begins: its header, the IV or the digest behind it, */
const IV_AT = CRYPTO_CIPHER_REQUEST.bytes;
/** what is put behind the source, the end of the output where it is not the caller's, and the status behind that. */
const PAD_AT = Math.ceil((IV_AT + MAX_DIGEST_BYTES) / BLOCK_BYTES) * BLOCK_BYTES;
const TAIL_AT = PAD_AT + BLOCK_BYTES;
const ENTRY_BYTES = 192;
const { offset: FIELD } = CRYPTO_CIPHER_REQUEST;
const { offset: KEYED } = CRYPTO_AKCIPHER_REQUEST;

/**
 * The parts of requests that are neither input nor output, one entry for each slot of a queue, in memory that the
 * device reaches: written in place, so that a request allocates nothing.
 */
export class RequestTable {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #iova: number;
  readonly #address: number;

  /** @param memory on a multiple of 64 bytes, at `address`; the device knows it as `iova` */
  constructor(memory: Uint8Array, iova: number, address: number) {
    this.#bytes = memory;
    this.#words = new Int32Array(memory.buffer, memory.byteOffset, memory.byteLength >> 2);
    this.#iova = iova;
    this.#address = address;
  }

  readonly headerBytes = CRYPTO_CIPHER_REQUEST.bytes;

  static bytes(slots: number): number {
    return slots * ENTRY_BYTES;
  }

  /** Writes a cipher's header. @param length of source and output, with what is put behind them */
  setHeader(
    slot: number,
    opcode: number,
    cipher: number,
    sessionLow: number,
    sessionHigh: number,
    ivLength: number,
    length: number,
  ): void {
    const words = this.#words;
    const at = (slot * ENTRY_BYTES) >> 2;
    words[at + (FIELD.opcode >> 2)] = opcode;
    words[at + (FIELD.algorithm >> 2)] = cipher;
    words[at + (FIELD.sessionLow >> 2)] = sessionLow;
    words[at + (FIELD.sessionHigh >> 2)] = sessionHigh;
    words[at + (FIELD.ivLength >> 2)] = ivLength;
    words[at + (FIELD.sourceLength >> 2)] = length;
    words[at + (FIELD.destinationLength >> 2)] = length;
    words[at + (FIELD.kind >> 2)] = CRYPTO_SYMMETRIC.cipher;
  }

  /** Writes the header of a request with an RSA key. */
  setKeyedHeader(
    slot: number,
    opcode: number,
    sessionLow: number,
    sessionHigh: number,
    sourceLength: number,
    destinationLength: number,
  ): void {
    const words = this.#words;
    const at = (slot * ENTRY_BYTES) >> 2;
    // A cipher may have had the slot before.
    words.fill(0, at, at + (IV_AT >> 2));
    words[at + (KEYED.opcode >> 2)] = opcode;
    words[at + (KEYED.algorithm >> 2)] = CRYPTO_AKCIPHER.rsa;
    words[at + (KEYED.sessionLow >> 2)] = sessionLow;
    words[at + (KEYED.sessionHigh >> 2)] = sessionHigh;
    words[at + (KEYED.sourceLength >> 2)] = sourceLength;
    words[at + (KEYED.destinationLength >> 2)] = destinationLength;
  }

  /** Puts a digest behind the header. */
  setDigest(slot: number, digest: Uint8Array): void {
    this.#bytes.set(digest, slot * ENTRY_BYTES + IV_AT);
  }

  /** The device's address of it. */
  digest(slot: number): number {
    return this.#iova + slot * ENTRY_BYTES + IV_AT;
  }

  /** The device's address of the header and the IV behind it; of what goes behind the source; of the output's end. */
  header(slot: number): number {
    return this.#iova + slot * ENTRY_BYTES;
  }

  pad(slot: number): number {
    return this.#iova + slot * ENTRY_BYTES + PAD_AT;
  }

  tail(slot: number): number {
    return this.#iova + slot * ENTRY_BYTES + TAIL_AT;
  }

  /** This process's address of the IV, and of the output's end. */
  ivAddress(slot: number): number {
    return this.#address + slot * ENTRY_BYTES + IV_AT;
  }

  tailAddress(slot: number): number {
    return this.#address + slot * ENTRY_BYTES + TAIL_AT;
  }

  fillPad(slot: number, value: number): void {
    const at = slot * ENTRY_BYTES + PAD_AT;
    this.#bytes.fill(value, at, at + BLOCK_BYTES);
  }

  /** The status lies behind as many bytes of the output's end. */
  clearStatus(slot: number, tailLength: number): void {
    this.#bytes[slot * ENTRY_BYTES + TAIL_AT + tailLength] = NO_ANSWER;
  }

  status(slot: number, tailLength: number): number {
    return this.#bytes[slot * ENTRY_BYTES + TAIL_AT + tailLength]!;
  }

  /**
   * How many bytes of padding (PKCS#7) the output's end has; 0 if it is none. Looks at all of it, whatever it finds, so
   * that the time it takes tells nothing.
   */
  padding(slot: number): number {
    const at = slot * ENTRY_BYTES + TAIL_AT;
    const count = this.#bytes[at + BLOCK_BYTES - 1]!;
    let wrong = ((count - 1) & ~(BLOCK_BYTES - 1)) | 0;
    for (let i = 0; i < BLOCK_BYTES; i++) {
      const isPadding = (BLOCK_BYTES - 1 - i - count) >> 31;
      wrong |= (this.#bytes[at + i]! ^ count) & isPadding;
    }
    return wrong === 0 ? count : 0;
  }

  /** Overwrites the output's end, which may be plaintext. */
  wipeTail(slot: number): void {
    const at = slot * ENTRY_BYTES + TAIL_AT;
    this.#bytes.fill(0, at, at + BLOCK_BYTES);
  }
}
