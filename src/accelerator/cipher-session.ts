import { randomBytes } from 'node:crypto';
import {
  type CipherOptions,
  type CipherRecipes,
  cipherParameters,
  cipherRecipes,
} from '../algorithms/class-options.js';
import { secretKey } from '../algorithms/keys.js';
import type { Operation } from '../algorithms/operation.js';
import { type Bytes, checkObject, toBytes } from '../algorithms/options.js';
import type { Recipe } from '../algorithms/recipe.js';
import { ArgumentError } from '../errors.js';
import { asData, type CallOptions, type ClassCalls, type ResultWithInfo } from './class-calls.js';
import { KeySession, sessionSpec } from './key-session.js';
import { notAuthentic } from './status-error.js';

export interface CipherSessionOptions extends Omit<CipherOptions, 'iv' | 'aad'> {
  /**
   * `counter`: the session makes the nonces of an AEAD itself, none of them twice, and puts each before its ciphertext.
   * By default every call brings an `iv`.
   */
  nonce?: 'counter';
}

/** What belongs to one message. */
export interface MessageOptions {
  iv?: Bytes;
  aad?: Bytes;
}

/** A message of a batch: its bytes, where nothing else belongs to it. */
export type Message = Bytes | ({ data: Bytes } & MessageOptions);

/** Fixed field and invocation field of a nonce: SP 800-38D, 8.2.1. */
const FIXED_BYTES = 4;
const NONCE_BYTES = 12;
const MAX_COUNTER = Number.MAX_SAFE_INTEGER;

/** Nonces of one session: a random field that tells sessions of the same key apart, and a counter. */
class NonceCounter {
  readonly #fixed = randomBytes(FIXED_BYTES);
  #next = 0;

  /** One that was not there before. */
  take(): Buffer {
    if (this.#next >= MAX_COUNTER) {
      throw new ArgumentError('the session has used up its nonces', {
        hint: 'open another, with another key',
      });
    }
    const nonce = Buffer.alloc(NONCE_BYTES);
    this.#fixed.copy(nonce);
    nonce.writeBigUInt64BE(BigInt(this.#next++), FIXED_BYTES);
    return nonce;
  }
}

/** A cipher or AEAD with its key, set up once and used by many messages. */
export class CipherSession {
  readonly #calls: ClassCalls;
  readonly #recipes: CipherRecipes;
  readonly #key: KeySession;
  readonly #nonces: NonceCounter | undefined;

  /** @internal Use `Accelerator.cipherSession`. */
  constructor(calls: ClassCalls, options: CipherSessionOptions) {
    this.#calls = calls;
    this.#recipes = cipherRecipes(options);
    const { algorithm, facts, isAead, encrypt } = this.#recipes;
    if (options.nonce !== undefined) {
      if (options.nonce !== 'counter') throw new ArgumentError("nonce is 'counter', or left out");
      const fits = isAead && facts.minIvBytes! <= NONCE_BYTES && facts.maxIvBytes! >= NONCE_BYTES;
      if (!fits) throw new ArgumentError(`a session makes no nonces for ${algorithm}`);
      this.#nonces = new NonceCounter();
    }
    this.#key = new KeySession(sessionSpec(encrypt), secretKey(options.key, algorithm));
  }

  /** The ciphertext; of an AEAD, followed by its tag. */
  encrypt(
    data: Bytes,
    options: MessageOptions & CallOptions & { info: true },
  ): Promise<ResultWithInfo<Buffer>>;
  encrypt(data: Bytes, options?: MessageOptions & CallOptions): Promise<Buffer>;
  encrypt(data: Bytes, options: MessageOptions & CallOptions = {}): Promise<Buffer | ResultWithInfo<Buffer>> {
    try {
      if (isPlain(options) && this.#tryHere(this.#recipes.encrypt, data, options, false)) {
        return Promise.resolve(this.#calls.engines.takeOutput());
      }
      const { operation, nonce } = this.#sealing(data, options);
      const finish = nonce ? prefixed(nonce) : asData;
      return this.#calls.run(this.#recipes.encrypt, operation, this.#key, limits(options), finish);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  encryptSync(data: Bytes, options: MessageOptions = {}): Buffer {
    if (this.#tryHere(this.#recipes.encrypt, data, options, true)) return this.#calls.engines.takeOutput();
    const { operation, nonce } = this.#sealing(data, options);
    const finish = nonce ? prefixed(nonce) : asData;
    return this.#calls.runSync(this.#recipes.encrypt, operation, this.#key, false, finish) as Buffer;
  }

  /** Encrypts many messages. Results come in order. */
  encryptMany(messages: Iterable<Message>, options: CallOptions = {}): Promise<Buffer[]> {
    return this.#calls.many(this.#recipes.encrypt, messages, this.#key, options, (message) => {
      const { data, more } = messageOf(message);
      if (this.#tryHere(this.#recipes.encrypt, data, more, false)) return this.#calls.engines.takeOutput();
      const { operation, nonce } = this.#sealing(data, more);
      return { operation, finish: nonce ? prefixed(nonce) : asData };
    });
  }

  /** Runs a message here and now, where that is the shortest way, and nothing has to be looked at more closely. */
  #tryHere(recipe: Recipe, data: Bytes, options: MessageOptions, isSync: boolean): boolean {
    if (this.#nonces || !(data instanceof Uint8Array) || options === null) return false;
    const { iv, aad } = options;
    const { ivBytes, isAead, tagBytes } = this.#recipes;
    if (!(iv instanceof Uint8Array) || iv.byteLength !== ivBytes) return false;
    if (aad !== undefined && !(isAead && aad instanceof Uint8Array)) return false;
    if (recipe === this.#recipes.decrypt && data.byteLength < tagBytes) return false;
    return this.#calls.tryHere(recipe, data, this.#key, iv, aad, isSync);
  }

  #sealing(data: Bytes, options: MessageOptions): { operation: Operation; nonce: Buffer | undefined } {
    checkObject(options);
    if (this.#nonces && options.iv !== undefined) {
      throw new ArgumentError('this session makes its nonces itself', { hint: 'leave iv out' });
    }
    const nonce = this.#nonces?.take();
    const operation = messageRequest(
      this.#recipes,
      this.#recipes.encrypt,
      toBytes(data),
      nonce ?? options.iv,
      options,
    );
    return { operation, nonce };
  }

  /**
   * The plaintext. Of an AEAD, only if tag and associated data are right.
   * @throws (as a rejection) AuthenticationError otherwise, whatever the cause
   */
  decrypt(
    data: Bytes,
    options: MessageOptions & CallOptions & { info: true },
  ): Promise<ResultWithInfo<Buffer>>;
  decrypt(data: Bytes, options?: MessageOptions & CallOptions): Promise<Buffer>;
  decrypt(data: Bytes, options: MessageOptions & CallOptions = {}): Promise<Buffer | ResultWithInfo<Buffer>> {
    try {
      if (isPlain(options) && this.#tryHere(this.#recipes.decrypt, data, options, false)) {
        return Promise.resolve(this.#calls.engines.takeOutput());
      }
      const operation = this.#opening(data, options);
      return this.#calls.run(this.#recipes.decrypt, operation, this.#key, limits(options), asData);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  decryptSync(data: Bytes, options: MessageOptions = {}): Buffer {
    if (this.#tryHere(this.#recipes.decrypt, data, options, true)) return this.#calls.engines.takeOutput();
    const operation = this.#opening(data, options);
    return this.#calls.runSync(this.#recipes.decrypt, operation, this.#key, false, asData) as Buffer;
  }

  /** Decrypts many messages. Results come in order; the first failure rejects. */
  decryptMany(messages: Iterable<Message>, options: CallOptions = {}): Promise<Buffer[]> {
    return this.#calls.many(this.#recipes.decrypt, messages, this.#key, options, (message) => {
      const { data, more } = messageOf(message);
      if (this.#tryHere(this.#recipes.decrypt, data, more, false)) return this.#calls.engines.takeOutput();
      return { operation: this.#opening(data, more), finish: asData };
    });
  }

  #opening(data: Bytes, options: MessageOptions): Operation {
    checkObject(options);
    const bytes = toBytes(data);
    const { decrypt } = this.#recipes;
    if (!this.#nonces) return messageRequest(this.#recipes, decrypt, bytes, options.iv, options);
    if (options.iv !== undefined) {
      throw new ArgumentError('the nonce is the first part of the message', { hint: 'leave iv out' });
    }
    if (bytes.byteLength < NONCE_BYTES) throw notAuthentic();
    const nonce = Buffer.from(bytes.subarray(0, NONCE_BYTES));
    return messageRequest(this.#recipes, decrypt, bytes.subarray(NONCE_BYTES), nonce, options);
  }

  /** @internal The session's key, for a stage of a chain of the same accelerator. */
  keyFor(calls: ClassCalls): KeySession {
    return ownKey(this.#key, this.#calls === calls);
  }

  /** @internal */
  get recipes(): CipherRecipes {
    return this.#recipes;
  }

  /** @internal Whether the session makes nonces itself. */
  get makesNonces(): boolean {
    return this.#nonces !== undefined;
  }

  /** Ends the session and overwrites its key; messages under way are not affected. */
  close(): void {
    this.#key.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function messageOf(message: Message): { data: Bytes; more: MessageOptions } {
  const isBytes =
    ArrayBuffer.isView(message) || message instanceof ArrayBuffer || message instanceof SharedArrayBuffer;
  if (isBytes) return { data: message, more: {} };
  checkObject(message);
  return { data: message.data, more: message };
}

function prefixed(nonce: Buffer): (operation: Operation) => Buffer {
  return ({ data }) => Buffer.concat([nonce, data]);
}

/** The request for one message. */
export function messageRequest(
  recipes: CipherRecipes,
  recipe: Recipe,
  data: Uint8Array,
  iv: Bytes | undefined,
  { aad }: MessageOptions,
): Operation {
  const { aux, ivBytes } = cipherParameters(recipes, iv, aad);
  const { byteLength } = data;
  if (recipe === recipes.decrypt) {
    if (recipes.isAead && byteLength < recipes.tagBytes) throw notAuthentic();
  }
  const operation = recipe.request(data, aux);
  operation.param0 = ivBytes;
  return operation;
}

/** A key, where it is used with the accelerator that it was given to. */
export function ownKey(key: KeySession, isOwn: boolean): KeySession {
  if (!isOwn) throw new ArgumentError('the session is one of another accelerator');
  key.check();
  return key;
}

/** Whether a call wishes for nothing but its result. */
export function isPlain(options: CallOptions): boolean {
  return !options.signal && options.deadlineMs === undefined && !options.info;
}

/** Only what `run` looks at: nothing at all, most of the time. */
export function limits(options: CallOptions): CallOptions | undefined {
  return isPlain(options) ? undefined : options;
}
