import {
  ALGORITHMS,
  type AlgorithmClass,
  type AlgorithmName,
  type ChecksumAlgorithm,
  factsOf,
} from '../abi/algorithms.js';
import type { OperationName } from '../abi/queue.js';
import {
  type ChecksumOptions,
  type CipherOptions,
  type CmacOptions,
  checksumRecipe,
  cmacRecipe,
  type DeriveOptions,
  type DigestOptions,
  deriveRecipe,
  digestRecipe,
  type HmacOptions,
  hmacRecipe,
} from '../algorithms/class-options.js';
import {
  type AgreeOptions,
  agreeRecipe,
  type KeyedRecipe,
  type RsaOptions,
  rsaRecipe,
  type SignOptions,
} from '../algorithms/key-options.js';
import { secretBytes, secretKey } from '../algorithms/keys.js';
import type { Operation } from '../algorithms/operation.js';
import { type Bytes, type RequestOptions, toBytes } from '../algorithms/options.js';
import type { Recipe } from '../algorithms/recipe.js';
import { ChainCalls, type ChainResult, type ChainStage, checksumOf, checksumValue } from './chain-calls.js';
import { CipherSession, type CipherSessionOptions, isPlain, limits } from './cipher-session.js';
import { asData, type CallOptions, type ClassCalls, type ResultWithInfo } from './class-calls.js';
import { DigestSession } from './digest-session.js';
import { MacSession } from './mac-session.js';
import { type CopyOptions, MemoryCalls } from './memory-calls.js';
import { attempt, keySessionOf, SignSession, VerifySession } from './sign-session.js';

type Info = CallOptions & { info: true };

/** A checksum of 32 bits is a number, one of 64 bits a bigint. */
export type ChecksumValue<A> = A extends 'crc64-ecma' | 'xxh64' | 'xxh3' ? bigint : number;

/** Which operations a class consists of. */
const OPERATIONS: Record<AlgorithmClass, readonly OperationName[]> = {
  compress: ['compress', 'decompress'],
  digest: ['digest'],
  mac: ['mac'],
  cipher: ['encrypt', 'decrypt'],
  aead: ['encrypt', 'decrypt'],
  checksum: ['checksum'],
  kdf: ['derive'],
  sign: ['sign', 'verify'],
  encrypt: ['encrypt', 'decrypt'],
  agree: ['agree'],
};

/**
 * All classes but `compress`. Each call is a promise, with a twin `...Sync` that runs in the calling thread, and one
 * `...Many` for a batch. A request that is done sooner than it could be sent runs in the calling thread; `info: true`
 * tells where, and why.
 */
export abstract class Classes {
  /** @internal */
  protected abstract readonly classes: ClassCalls;
  #memory: MemoryCalls | undefined;
  #chains: ChainCalls | undefined;

  /** Whether there is an algorithm, on the device or in this thread. HMAC is of every `digest`. */
  supports(wanted: AlgorithmClass | 'hmac', algorithm: string): boolean {
    if (!Object.hasOwn(ALGORITHMS, algorithm)) return false;
    const name = algorithm as AlgorithmName;
    if (wanted === 'hmac') return factsOf(name).class === 'digest' && this.classes.supports('mac', name);
    if (factsOf(name).class !== wanted) return false;
    return OPERATIONS[wanted].every((operation) => this.classes.supports(operation, name));
  }

  /** The digest of bytes, by default SHA-256. */
  digest(data: Bytes, options: DigestOptions & Info): Promise<ResultWithInfo<Buffer>>;
  digest(data: Bytes, options?: DigestOptions & CallOptions): Promise<Buffer>;
  digest(data: Bytes, options: DigestOptions & CallOptions = {}): Promise<Buffer | ResultWithInfo<Buffer>> {
    return attempt(() => {
      const recipe = digestRecipe(options);
      if (isPlain(options) && this.#tryHere(recipe, data, false)) {
        return Promise.resolve(this.classes.engines.takeOutput());
      }
      return this.classes.run(recipe, recipe.request(toBytes(data)), undefined, limits(options), asData);
    });
  }

  digestSync(data: Bytes, options: DigestOptions = {}): Buffer {
    const recipe = digestRecipe(options);
    if (this.#tryHere(recipe, data, true)) return this.classes.engines.takeOutput();
    return this.classes.runSync(recipe, recipe.request(toBytes(data)), undefined, false, asData) as Buffer;
  }

  digestMany(messages: Iterable<Bytes>, options: DigestOptions & CallOptions = {}): Promise<Buffer[]> {
    return attempt(() => {
      const recipe = digestRecipe(options);
      const make = (data: Bytes) => ({ operation: recipe.request(toBytes(data)), finish: asData });
      return this.classes.many(recipe, messages, undefined, options, make);
    });
  }

  /** Runs something without a key here and now, where that is the shortest way. */
  #tryHere(recipe: Recipe, data: Bytes, isSync: boolean): boolean {
    return (
      data instanceof Uint8Array &&
      this.classes.tryHere(recipe, data, undefined, undefined, undefined, isSync)
    );
  }

  /** A digest of what comes in parts; with a key, an HMAC. */
  digestSession(options: DigestOptions & { key?: HmacOptions['key'] } = {}): DigestSession {
    this.classes.checkOpen();
    if (options.key === undefined) return new DigestSession(this.classes, digestRecipe(options), undefined);
    return new DigestSession(this.classes, hmacRecipe(options), secretBytes(options.key));
  }

  /** The HMAC of bytes (RFC 2104), by default with SHA-256. */
  hmac(data: Bytes, options: HmacOptions & Info): Promise<ResultWithInfo<Buffer>>;
  hmac(data: Bytes, options: HmacOptions & CallOptions): Promise<Buffer>;
  hmac(data: Bytes, options: HmacOptions & CallOptions): Promise<Buffer | ResultWithInfo<Buffer>> {
    return attempt(() => closing(this.hmacSession(options), (session) => session.mac(data, options)));
  }

  hmacSync(data: Bytes, options: HmacOptions): Buffer {
    using session = this.hmacSession(options);
    return session.macSync(data);
  }

  hmacMany(messages: Iterable<Bytes>, options: HmacOptions & CallOptions): Promise<Buffer[]> {
    return attempt(() => closing(this.hmacSession(options), (session) => session.macMany(messages, options)));
  }

  /** A key for many HMACs. */
  hmacSession(options: HmacOptions): MacSession {
    this.classes.checkOpen();
    const recipe = hmacRecipe(options);
    return new MacSession(this.classes, recipe, secretBytes(options.key));
  }

  /** The CMAC of bytes (RFC 4493). */
  cmac(data: Bytes, options: CmacOptions & CallOptions): Promise<Buffer> {
    return attempt(() => closing(this.cmacSession(options), (session) => session.mac(data, options)));
  }

  cmacSync(data: Bytes, options: CmacOptions): Buffer {
    using session = this.cmacSession(options);
    return session.macSync(data);
  }

  cmacMany(messages: Iterable<Bytes>, options: CmacOptions & CallOptions): Promise<Buffer[]> {
    return attempt(() => closing(this.cmacSession(options), (session) => session.macMany(messages, options)));
  }

  /** A key for many CMACs. */
  cmacSession(options: CmacOptions): MacSession {
    this.classes.checkOpen();
    const key = secretBytes(options.key);
    const recipe = cmacRecipe(options, key.length);
    key.fill(0);
    return new MacSession(this.classes, recipe, secretKey(options.key, recipe.algorithmName!));
  }

  /** Encrypts bytes, by default with AES-256-GCM. Of an AEAD, the tag follows the ciphertext, as in the Web's `encrypt`. */
  encrypt(data: Bytes, options: CipherOptions & Info): Promise<ResultWithInfo<Buffer>>;
  encrypt(data: Bytes, options: CipherOptions & CallOptions): Promise<Buffer>;
  encrypt(data: Bytes, options: CipherOptions & CallOptions): Promise<Buffer | ResultWithInfo<Buffer>> {
    return attempt(() => closing(this.cipherSession(options), (session) => session.encrypt(data, options)));
  }

  encryptSync(data: Bytes, options: CipherOptions): Buffer {
    using session = this.cipherSession(options);
    return session.encryptSync(data, options);
  }

  /**
   * Decrypts bytes, by default with AES-256-GCM.
   * @throws (as a rejection) AuthenticationError for what was altered, or another key: whatever the cause, alike
   */
  decrypt(data: Bytes, options: CipherOptions & Info): Promise<ResultWithInfo<Buffer>>;
  decrypt(data: Bytes, options: CipherOptions & CallOptions): Promise<Buffer>;
  decrypt(data: Bytes, options: CipherOptions & CallOptions): Promise<Buffer | ResultWithInfo<Buffer>> {
    return attempt(() => closing(this.cipherSession(options), (session) => session.decrypt(data, options)));
  }

  decryptSync(data: Bytes, options: CipherOptions): Buffer {
    using session = this.cipherSession(options);
    return session.decryptSync(data, options);
  }

  /** A key for many messages: nothing is set up for each. */
  cipherSession(options: CipherSessionOptions): CipherSession {
    this.classes.checkOpen();
    return new CipherSession(this.classes, options);
  }

  /** A checksum, by default CRC-32: a number, or a bigint for those of 64 bits. */
  checksum<A extends ChecksumAlgorithm = 'crc32'>(
    data: Bytes,
    options: ChecksumOptions & { algorithm?: A } & CallOptions = {},
  ): Promise<ChecksumValue<A>> {
    return attempt(() => {
      const recipe = checksumRecipe(options);
      const finish = (operation: Operation) => checksumOf(operation, recipe);
      return this.classes.run(recipe, recipe.request(toBytes(data)), undefined, limits(options), finish);
    }) as Promise<ChecksumValue<A>>;
  }

  checksumSync<A extends ChecksumAlgorithm = 'crc32'>(
    data: Bytes,
    options: ChecksumOptions & { algorithm?: A } = {},
  ): ChecksumValue<A> {
    const recipe = checksumRecipe(options);
    if (this.#tryHere(recipe, data, true)) {
      const { result, resultHigh } = this.classes.engines;
      return checksumValue(recipe, result, resultHigh) as ChecksumValue<A>;
    }
    const finish = (operation: Operation) => checksumOf(operation, recipe);
    const operation = recipe.request(toBytes(data));
    return this.classes.runSync(recipe, operation, undefined, false, finish) as ChecksumValue<A>;
  }

  checksumMany<A extends ChecksumAlgorithm = 'crc32'>(
    messages: Iterable<Bytes>,
    options: ChecksumOptions & { algorithm?: A } & CallOptions = {},
  ): Promise<ChecksumValue<A>[]> {
    return attempt(() => {
      const recipe = checksumRecipe(options);
      const finish = (operation: Operation) => checksumOf(operation, recipe);
      const make = (data: Bytes) => ({ operation: recipe.request(toBytes(data)), finish });
      return this.classes.many(recipe, messages, undefined, options, make);
    }) as Promise<ChecksumValue<A>[]>;
  }

  get #memoryCalls(): MemoryCalls {
    this.#memory ??= new MemoryCalls(this.classes);
    return this.#memory;
  }

  /**
   * Copies bytes to a target of the same length; they may overlap. On the device where both are memory of it (`alloc`),
   * else in this thread. Resolves with the CRC-32C of what moved, where that is asked for.
   */
  copy(source: Bytes, target: Bytes, options: CopyOptions & { crc32c: true }): Promise<number>;
  copy(source: Bytes, target: Bytes, options?: CopyOptions): Promise<undefined>;
  copy(source: Bytes, target: Bytes, options: CopyOptions = {}): Promise<number | undefined> {
    return attempt(
      () => this.#memoryCalls.copy(source, target, options, false) as Promise<number | undefined>,
    );
  }

  copySync(source: Bytes, target: Bytes, options: CopyOptions & { crc32c: true }): number;
  copySync(source: Bytes, target: Bytes, options?: CopyOptions): undefined;
  copySync(source: Bytes, target: Bytes, options: CopyOptions = {}): number | undefined {
    return this.#memoryCalls.copy(source, target, options, true) as number | undefined;
  }

  /** Copies bytes to two targets. */
  dualCopy(
    source: Bytes,
    first: Bytes,
    second: Bytes,
    options: CopyOptions = {},
  ): Promise<number | undefined> {
    return attempt(
      () => this.#memoryCalls.dualCopy(source, first, second, options, false) as Promise<number | undefined>,
    );
  }

  dualCopySync(source: Bytes, first: Bytes, second: Bytes, options: CopyOptions = {}): number | undefined {
    return this.#memoryCalls.dualCopy(source, first, second, options, true) as number | undefined;
  }

  /** Fills bytes with one byte, or with eight, low first. */
  fill(target: Bytes, pattern: number | bigint): Promise<void> {
    return attempt(() => this.#memoryCalls.fill(target, pattern, false) as Promise<void>);
  }

  fillSync(target: Bytes, pattern: number | bigint): void {
    this.#memoryCalls.fill(target, pattern, true);
  }

  /** The offset of the first difference; undefined where there is none. Not in constant time: not for secrets. */
  compare(left: Bytes, right: Bytes): Promise<number | undefined> {
    return attempt(() => this.#memoryCalls.compare(left, right, false) as Promise<number | undefined>);
  }

  compareSync(left: Bytes, right: Bytes): number | undefined {
    return this.#memoryCalls.compare(left, right, true) as number | undefined;
  }

  /** Derives key material from a secret: hkdf (RFC 5869), pbkdf2 (RFC 8018), scrypt (RFC 7914). */
  deriveKey(secret: Bytes, options: DeriveOptions & RequestOptions): Promise<Buffer> {
    return attempt(() => {
      const { recipe, aux } = deriveRecipe(options);
      const operation = recipe.request(toBytes(secret), aux);
      const { signal, deadlineMs } = options;
      const wishes = { ...(signal ? { signal } : {}), ...(deadlineMs === undefined ? {} : { deadlineMs }) };
      return this.classes.run(recipe, operation, undefined, limits(wishes), asData) as Promise<Buffer>;
    });
  }

  deriveKeySync(secret: Bytes, options: DeriveOptions): Buffer {
    const { recipe, aux } = deriveRecipe(options);
    const operation = recipe.request(toBytes(secret), aux);
    return this.classes.runSync(recipe, operation, undefined, false, asData) as Buffer;
  }

  deriveKeyMany(secrets: Iterable<Bytes>, options: DeriveOptions): Promise<Buffer[]> {
    return attempt(() => {
      const { recipe, aux } = deriveRecipe(options);
      const make = (secret: Bytes) => ({ operation: recipe.request(toBytes(secret), aux), finish: asData });
      return this.classes.many(recipe, secrets, undefined, {}, make);
    });
  }

  /** Signs bytes with a private key. */
  sign(data: Bytes, options: SignOptions & Info): Promise<ResultWithInfo<Buffer>>;
  sign(data: Bytes, options: SignOptions & CallOptions): Promise<Buffer>;
  sign(data: Bytes, options: SignOptions & CallOptions): Promise<Buffer | ResultWithInfo<Buffer>> {
    return attempt(() => closing(this.signSession(options), (session) => session.sign(data, options)));
  }

  signSync(data: Bytes, options: SignOptions): Buffer {
    using session = this.signSession(options);
    return session.signSync(data);
  }

  /** A private key for many signatures. */
  signSession(options: SignOptions): SignSession {
    this.classes.checkOpen();
    return new SignSession(this.classes, options);
  }

  /** Whether a signature is that of these bytes. */
  verify(data: Bytes, signature: Bytes, options: SignOptions & Info): Promise<ResultWithInfo<boolean>>;
  verify(data: Bytes, signature: Bytes, options: SignOptions & CallOptions): Promise<boolean>;
  verify(
    data: Bytes,
    signature: Bytes,
    options: SignOptions & CallOptions,
  ): Promise<boolean | ResultWithInfo<boolean>> {
    return attempt(() =>
      closing(this.verifySession(options), (session) => session.verify(data, signature, options)),
    );
  }

  verifySync(data: Bytes, signature: Bytes, options: SignOptions): boolean {
    using session = this.verifySession(options);
    return session.verifySync(data, signature);
  }

  /** A public key for many signatures. */
  verifySession(options: SignOptions): VerifySession {
    this.classes.checkOpen();
    return new VerifySession(this.classes, options);
  }

  /** RSA-OAEP (RFC 8017) with a public key: a few bytes, such as a key. */
  publicEncrypt(data: Bytes, options: RsaOptions & CallOptions): Promise<Buffer> {
    return attempt(() => this.#withKey(rsaRecipe(options, 'encrypt'), data, options.label, options));
  }

  publicEncryptSync(data: Bytes, options: RsaOptions): Buffer {
    return this.#withKeySync(rsaRecipe(options, 'encrypt'), data, options.label);
  }

  /** RSA-OAEP with a private key. @throws (as a rejection) AuthenticationError, whatever the cause */
  privateDecrypt(data: Bytes, options: RsaOptions & CallOptions): Promise<Buffer> {
    return attempt(() => this.#withKey(rsaRecipe(options, 'decrypt'), data, options.label, options));
  }

  privateDecryptSync(data: Bytes, options: RsaOptions): Buffer {
    return this.#withKeySync(rsaRecipe(options, 'decrypt'), data, options.label);
  }

  /** The shared secret of a private key and somebody else's public one: X25519, ECDH. */
  diffieHellman(options: AgreeOptions & CallOptions): Promise<Buffer> {
    return attempt(() => {
      const keyed = agreeRecipe(options);
      return this.#withKey(keyed, keyed.peer, undefined, options);
    });
  }

  diffieHellmanSync(options: AgreeOptions): Buffer {
    const keyed = agreeRecipe(options);
    return this.#withKeySync(keyed, keyed.peer, undefined);
  }

  #withKey(
    keyed: KeyedRecipe,
    data: Bytes,
    aux: Uint8Array | undefined,
    options: CallOptions,
  ): Promise<Buffer> {
    const operation = keyed.recipe.request(toBytes(data), aux);
    return closing(
      keySessionOf(keyed),
      (key) => this.classes.run(keyed.recipe, operation, key, limits(options), asData) as Promise<Buffer>,
    );
  }

  #withKeySync(keyed: KeyedRecipe, data: Bytes, aux: Uint8Array | undefined): Buffer {
    const key = keySessionOf(keyed);
    try {
      const operation = keyed.recipe.request(toBytes(data), aux);
      return this.classes.runSync(keyed.recipe, operation, key, false, asData) as Buffer;
    } finally {
      key.close();
    }
  }

  get #chainCalls(): ChainCalls {
    this.#chains ??= new ChainCalls(this.classes);
    return this.#chains;
  }

  /** Several operations as one request: what lies between them never comes back. */
  chain(data: Bytes, stages: readonly ChainStage[]): Promise<ChainResult> {
    return this.#chainCalls.run(data, stages);
  }

  chainSync(data: Bytes, stages: readonly ChainStage[]): ChainResult {
    return this.#chainCalls.runSync(data, stages);
  }
}

/** Runs a call with a session that is its own, and ends the session when the call has ended. */
function closing<S extends { close(): void }, T>(session: S, call: (session: S) => Promise<T>): Promise<T> {
  return call(session).finally(() => session.close());
}
