import { ALGORITHM, ALGORITHM_NAMES, type AlgorithmName, factsOf } from '../../abi/algorithms.js';
import { STATUS } from '../../abi/queue.js';
import { copyMemory } from '../../sys/memory.js';
import type { EngineRequest, Outcome } from './engine.js';
import type { OpensslFunctions } from './openssl-binding.js';
import { checkDerivation, MAX_DIGEST_BYTES, MAX_SCRYPT_BYTES, OUTPUT_BYTES } from './openssl-checks.js';
import { KIND, type OpensslMemory } from './openssl-memory.js';

const DIGESTS = ALGORITHM_NAMES.filter((name) => factsOf(name).class === 'digest');
const CMACS = ALGORITHM_NAMES.filter((name) => factsOf(name).class === 'mac');

/** Digests, MACs, and the derivations that are made of them. */
export class OpensslDigests {
  readonly #f: OpensslFunctions;
  readonly #memory: OpensslMemory;
  /** By algorithm number: EVP_MD, and a context that whole digests are made with. 0 for what the library has not. */
  readonly #methods = new Float64Array(256);
  readonly #whole = new Float64Array(256);
  /** By the number of a digest: a context that HKDF sets keys in. */
  readonly #hmacs = new Float64Array(256);
  readonly #hmac: number;
  readonly #cmac: number;
  readonly digests: readonly AlgorithmName[];
  /** Those with which a MAC can be made: HMAC by digest, and CMAC. */
  readonly macs: readonly AlgorithmName[];

  constructor(f: OpensslFunctions, memory: OpensslMemory) {
    this.#f = f;
    this.#memory = memory;
    this.#hmac = f.EVP_MAC_fetch(0, 'HMAC', 0);
    this.#cmac = f.EVP_MAC_fetch(0, 'CMAC', 0);
    this.digests = DIGESTS.filter((name) => this.#prepare(name));
    this.macs = [...(this.#hmac === 0 ? [] : this.digests), ...(this.#cmac === 0 ? [] : CMACS)];
  }

  #prepare(name: AlgorithmName): boolean {
    const number = ALGORITHM[name];
    const method = this.#f.EVP_MD_fetch(0, name, 0);
    if (method === 0) return false;
    this.#methods[number] = method;
    this.#whole[number] = this.openDigest(number);
    return this.#whole[number] !== 0;
  }

  /** EVP_MD of a digest's number; 0 for what there is not. */
  method(number: number): number {
    return this.#methods[number]!;
  }

  /** A context that is ready to take bytes in, or 0. */
  openDigest(algorithm: number): number {
    const context = this.#f.EVP_MD_CTX_new();
    if (context === 0) return 0;
    if (this.#f.EVP_DigestInit_ex2(context, this.#methods[algorithm]!, 0) === 1) return context;
    this.#f.EVP_MD_CTX_free(context);
    return 0;
  }

  /** A digest of one request, or a part of what a session digests. Contexts are always ready to take bytes in. */
  digest(request: EngineRequest, sequence: number): Outcome {
    const f = this.#f;
    const { algorithm, source, sourceLength, destination, piece } = request;
    const context = sequence === 0 ? this.#whole[algorithm]! : sequence;
    const size = OUTPUT_BYTES[algorithm]!;
    if (!piece && request.capacity < size) return STATUS.noSpace;
    if (f.EVP_DigestUpdate(context, source, sourceLength) !== 1) return this.#failed();
    request.consumed = sourceLength;
    if (piece) return STATUS.ok;
    if (f.EVP_DigestFinal_ex(context, destination, 0) !== 1) return this.#failed();
    if (f.EVP_DigestInit_ex2(context, this.#methods[algorithm]!, 0) !== 1) return this.#failed();
    request.produced = size;
    return STATUS.ok;
  }

  #failed(): Outcome {
    this.#f.ERR_clear_error();
    return STATUS.engineFailed;
  }

  /** A context with the key in `request`, or 0 when it is none. */
  openMac({ algorithm, key, keyLength }: EngineRequest): number {
    const isCmac = algorithm >= ALGORITHM['aes-128-cmac'];
    const name = ALGORITHM_NAMES.find((each) => ALGORITHM[each] === algorithm)!;
    if (isCmac && keyLength !== factsOf(name).keyBytes) return 0;
    const params = isCmac
      ? this.#memory.params('cipher', name.replace('cmac', 'cbc'))
      : this.#memory.params('digest', name);
    const context = this.#f.EVP_MAC_CTX_new(isCmac ? this.#cmac : this.#hmac);
    if (context === 0) return 0;
    // No key at all stands for "the same as before", so that an empty one has an address, too.
    if (this.#f.EVP_MAC_init(context, key || this.#memory.output, keyLength, params) === 1) return context;
    this.#f.EVP_MAC_CTX_free(context);
    return 0;
  }

  mac(request: EngineRequest, context: number, kind: number): Outcome {
    const f = this.#f;
    const { source, sourceLength, destination, piece } = request;
    const size = OUTPUT_BYTES[request.algorithm]!;
    if (piece && kind !== KIND.macInParts) return STATUS.badField;
    if (!piece && request.capacity < size) return STATUS.noSpace;
    if (f.EVP_MAC_update(context, source, sourceLength) !== 1) return this.#failed();
    request.consumed = sourceLength;
    if (piece) return STATUS.ok;
    if (f.EVP_MAC_final(context, destination, 0, size) !== 1) return this.#failed();
    if (f.EVP_MAC_init(context, 0, 0, 0) !== 1) return this.#failed();
    request.produced = size;
    return STATUS.ok;
  }

  derive(request: EngineRequest): Outcome {
    const f = this.#f;
    const checked = checkDerivation(request);
    if (checked !== STATUS.ok) return checked;
    const { algorithm, level, sourceLength, auxLength, capacity, destination } = request;
    const secret = request.source || this.#memory.output;
    const salt = request.aux || this.#memory.output;
    request.consumed = sourceLength;
    let done: boolean;
    if (algorithm === ALGORITHM.hkdf) {
      if (this.#methods[level] === 0) return STATUS.unsupported;
      done = this.#hkdf(request, secret, salt);
    } else if (algorithm === ALGORITHM.pbkdf2) {
      const method = this.#methods[level]!;
      if (method === 0) return STATUS.unsupported;
      const iterations = request.param1;
      const { PKCS5_PBKDF2_HMAC: run } = f;
      done = run(secret, sourceLength, salt, auxLength, iterations, method, capacity, destination) === 1;
    } else {
      const { param0: n, param1: r, param2: p } = request;
      done =
        f.EVP_PBE_scrypt(
          secret,
          sourceLength,
          salt,
          auxLength,
          n >>> 0,
          r >>> 0,
          p >>> 0,
          MAX_SCRYPT_BYTES,
          destination,
          capacity,
        ) === 1;
    }
    if (!done) {
      f.OPENSSL_cleanse(destination, capacity);
      return this.#failed();
    }
    request.produced = capacity;
    return STATUS.ok;
  }

  /**
   * HKDF by its definition (RFC 5869): OpenSSL's own bounds the length of the info by its version.
   * Private memory holds the pseudorandom key, and behind it the last block and the counter.
   */
  #hkdf(request: EngineRequest, secret: number, salt: number): boolean {
    const f = this.#f;
    const { level, sourceLength, auxLength, capacity, destination } = request;
    const saltLength = request.param0;
    const context = this.#hmacFor(level);
    if (context === 0) return false;
    const size = OUTPUT_BYTES[level]!;
    const pseudorandomKey = this.#memory.output;
    const block = pseudorandomKey + MAX_DIGEST_BYTES;
    const counter = this.#memory.lengthCell;
    let done =
      f.EVP_MAC_init(context, salt, saltLength, 0) === 1 &&
      f.EVP_MAC_update(context, secret, sourceLength) === 1 &&
      f.EVP_MAC_final(context, pseudorandomKey, 0, size) === 1;
    for (let at = 0, index = 1; done && at < capacity; at += size, index++) {
      this.#memory.length = index;
      done =
        f.EVP_MAC_init(context, pseudorandomKey, size, 0) === 1 &&
        f.EVP_MAC_update(context, block, index === 1 ? 0 : size) === 1 &&
        f.EVP_MAC_update(context, salt + saltLength, auxLength - saltLength) === 1 &&
        f.EVP_MAC_update(context, counter, 1) === 1 &&
        f.EVP_MAC_final(context, block, 0, size) === 1;
      if (done) copyMemory(destination + at, block, Math.min(size, capacity - at));
    }
    this.#memory.forget();
    // The pseudorandom key does not stay in the context, either.
    return f.EVP_MAC_init(context, this.#memory.output, 1, 0) === 1 && done;
  }

  #hmacFor(digest: number): number {
    if (this.#hmacs[digest] === 0) {
      const name = ALGORITHM_NAMES.find((each) => ALGORITHM[each] === digest)!;
      const context = this.#f.EVP_MAC_CTX_new(this.#hmac);
      const params = this.#memory.params('digest', name);
      if (context !== 0 && this.#f.EVP_MAC_init(context, this.#memory.output, 1, params) !== 1) {
        this.#f.EVP_MAC_CTX_free(context);
        return 0;
      }
      this.#hmacs[digest] = context;
    }
    return this.#hmacs[digest]!;
  }

  close(): void {
    const f = this.#f;
    for (const context of this.#whole) if (context !== 0) f.EVP_MD_CTX_free(context);
    for (const context of this.#hmacs) if (context !== 0) f.EVP_MAC_CTX_free(context);
    for (const method of this.#methods) if (method !== 0) f.EVP_MD_free(method);
    if (this.#hmac !== 0) f.EVP_MAC_free(this.#hmac);
    if (this.#cmac !== 0) f.EVP_MAC_free(this.#cmac);
  }
}
