import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto';
import { OPCODE, SQE_FLAG } from '../abi/queue.js';
import { type Bytes, partOf, toBytes } from '../algorithms/options.js';
import type { Recipe } from '../algorithms/recipe.js';
import { ClosedError } from '../errors.js';
import { asData, type ClassCalls } from './class-calls.js';
import { KeySession, sessionSpec } from './key-session.js';

/** A first part from this size on goes to the device, and those after it. */
const DEVICE_BYTES = 16 * 1024;
/** The most that one request takes in. */
const PART_BYTES = 4 * 1024 * 1024;

/**
 * A digest, or HMAC, of what comes in parts. Where the first part is large the sequence is kept on the device, else in the
 * calling thread. `digest` ends it, and what comes afterwards starts afresh.
 */
export class DigestSession {
  readonly #calls: ClassCalls;
  readonly #recipe: Recipe;
  /** The device's sequence: it takes one request at a time. */
  readonly #key: KeySession;
  /** The calling thread's copy of an HMAC's key. */
  readonly #secret: Buffer | undefined;
  #local: Hash | Hmac | undefined;
  #isOnDevice = false;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  /** @internal Use `Accelerator.digestSession`. @param key of an HMAC, taken over */
  constructor(calls: ClassCalls, recipe: Recipe, key: Buffer | undefined) {
    this.#calls = calls;
    this.#recipe = recipe;
    this.#secret = key;
    this.#key = new KeySession(sessionSpec(recipe, { sequence: true }), Buffer.from(key ?? []));
  }

  /** Takes in more; resolves when the part is read, and its buffer may be changed. */
  async update(data: Bytes): Promise<void> {
    this.#check();
    const input = toBytes(data);
    const length = input.byteLength;
    if (!this.#local && !this.#isOnDevice) this.#begin(length);
    if (this.#local) {
      this.#local.update(input);
      return;
    }
    for (let at = 0; at < length; at += PART_BYTES) {
      await this.#inTurn(() => this.#request(partOf(input, length, at, at + PART_BYTES), true));
    }
  }

  /** Takes in more, in the calling thread. Not after a part that went to the device. */
  updateSync(data: Bytes): void {
    this.#check();
    const input = toBytes(data);
    if (!this.#isOnDevice) {
      this.#local ??= this.#make();
      this.#local.update(input);
      return;
    }
    const operation = this.#recipe.request(input);
    operation.flags |= SQE_FLAG.piece;
    operation.capacity = 0;
    this.#calls.runSync(this.#recipe, operation, this.#key, false, asData);
  }

  /** The digest of all that came since the last. */
  async digest(): Promise<Buffer> {
    this.#check();
    if (!this.#isOnDevice) return this.#finish();
    const digest = await this.#inTurn(() => this.#request(new Uint8Array(0), false));
    this.#isOnDevice = false;
    return digest;
  }

  digestSync(): Buffer {
    this.#check();
    if (!this.#isOnDevice) return this.#finish();
    const operation = this.#recipe.request(new Uint8Array(0));
    const digest = this.#calls.runSync(this.#recipe, operation, this.#key, false, asData) as Buffer;
    this.#isOnDevice = false;
    return digest;
  }

  #begin(length: number): void {
    this.#isOnDevice = length >= DEVICE_BYTES && this.#calls.keepsSequences(this.#recipe);
    if (!this.#isOnDevice) this.#local = this.#make();
  }

  #make(): Hash | Hmac {
    const name = this.#recipe.algorithmName!;
    return this.#recipe.operation === OPCODE.mac ? createHmac(name, this.#secret!) : createHash(name);
  }

  #finish(): Buffer {
    const digest = (this.#local ?? this.#make()).digest();
    this.#local = undefined;
    return digest;
  }

  #request(input: Uint8Array, more: boolean): Promise<Buffer> {
    const operation = this.#recipe.request(input);
    if (more) {
      operation.flags |= SQE_FLAG.piece;
      operation.capacity = 0;
    }
    return this.#calls.runOnDevice(this.#recipe, operation, this.#key, asData);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  #check(): void {
    this.#calls.checkOpen();
    if (this.#closed) throw new ClosedError('the session is closed', { hint: 'open another' });
  }

  /** Ends the session, and overwrites its key. */
  close(): void {
    this.#closed = true;
    this.#local = undefined;
    this.#secret?.fill(0);
    void this.#last.then(() => this.#key.close());
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
