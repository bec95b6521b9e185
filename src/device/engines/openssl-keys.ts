import { ALGORITHM } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import { copyMemory } from '../../sys/memory.js';
import type { EngineRequest, Outcome } from './engine.js';
import { type OpensslFunctions, RSA_PADDING } from './openssl-binding.js';
import { OUTPUT_BYTES as DIGEST_BYTES, signatureDigest } from './openssl-checks.js';
import type { OpensslDigests } from './openssl-digests.js';
import { KIND, NAME_BYTES, type OpensslMemory, OUTPUT_BYTES } from './openssl-memory.js';

/** RSA keys outside of these are refused: weaker ones for what they are, longer ones for the time they take. */
export const RSA_BITS = { min: 2048, max: 4096 } as const;

const GROUP: (string | undefined)[] = [];
GROUP[ALGORITHM['ecdsa-p256']] = 'prime256v1';
GROUP[ALGORITHM['ecdh-p256']] = 'prime256v1';
GROUP[ALGORITHM['ecdsa-p384']] = 'secp384r1';
GROUP[ALGORITHM['ecdh-p384']] = 'secp384r1';

/**
 * Signatures, RSA-OAEP and key agreement. A session's context holds its key: for signatures an EVP_MD_CTX that is set
 * up and copied for each request, for the others an EVP_PKEY_CTX.
 */
export class OpensslKeys {
  readonly #f: OpensslFunctions;
  readonly #memory: OpensslMemory;
  readonly #digests: OpensslDigests;
  readonly #work: number;

  constructor(f: OpensslFunctions, memory: OpensslMemory, digests: OpensslDigests) {
    this.#f = f;
    this.#memory = memory;
    this.#digests = digests;
    this.#work = f.EVP_MD_CTX_new();
  }

  /** A context of a kind for the key in `request`, or 0 when it is none. */
  open(request: EngineRequest, kind: number): number {
    const isPublic = kind === KIND.verify || kind === KIND.oaepEncrypt;
    const key = this.#parse(request.key, request.keyLength, isPublic);
    if (key === 0) return 0;
    try {
      if (!this.#fits(key, request.algorithm)) return 0;
      if (kind === KIND.sign || kind === KIND.verify) return this.#openSignature(request, key, isPublic);
      return this.#openKey(request, key, kind);
    } finally {
      this.#f.EVP_PKEY_free(key);
    }
  }

  /** The key in SubjectPublicKeyInfo or PKCS#8 DER, with nothing behind it: an EVP_PKEY, or 0. */
  #parse(address: number, length: number, isPublic: boolean): number {
    const f = this.#f;
    if (length === 0) return 0;
    this.#memory.pointer = address;
    const parsed = isPublic
      ? f.d2i_PUBKEY(0, this.#memory.pointerCell, length)
      : f.d2i_PKCS8_PRIV_KEY_INFO(0, this.#memory.pointerCell, length);
    if (parsed === 0) return 0;
    const isWhole = this.#memory.pointer === address + length;
    if (isPublic) {
      if (isWhole) return parsed;
      f.EVP_PKEY_free(parsed);
      return 0;
    }
    const key = isWhole ? f.EVP_PKCS82PKEY(parsed) : 0;
    f.PKCS8_PRIV_KEY_INFO_free(parsed);
    return key;
  }

  /** Whether a key is of the kind that an algorithm takes. */
  #fits(key: number, algorithm: number): boolean {
    const f = this.#f;
    if (algorithm === ALGORITHM.ed25519) return f.EVP_PKEY_is_a(key, 'ED25519') === 1;
    if (algorithm === ALGORITHM.x25519) return f.EVP_PKEY_is_a(key, 'X25519') === 1;
    const group = GROUP[algorithm];
    if (group === undefined) {
      const bits = f.EVP_PKEY_get_bits(key);
      return f.EVP_PKEY_is_a(key, 'RSA') === 1 && bits >= RSA_BITS.min && bits <= RSA_BITS.max;
    }
    const { name, lengthCell } = this.#memory;
    return (
      f.EVP_PKEY_is_a(key, 'EC') === 1 &&
      f.EVP_PKEY_get_group_name(key, name, NAME_BYTES, lengthCell) === 1 &&
      this.#memory.text === group
    );
  }

  #openSignature(request: EngineRequest, key: number, verifies: boolean): number {
    const f = this.#f;
    const { algorithm, param0, param1 } = request;
    const isPss = algorithm === ALGORITHM['rsa-pss'];
    const digest = algorithm === ALGORITHM.ed25519 ? null : signatureDigest(param0);
    if (digest === undefined || (digest === null && param0 !== 0) || (param1 !== 0 && !isPss)) return 0;
    const context = f.EVP_MD_CTX_new();
    if (context === 0) return 0;
    const start = verifies ? f.EVP_DigestVerifyInit_ex : f.EVP_DigestSignInit_ex;
    let done = start(context, this.#memory.pointerCell, digest, 0, 0, key, 0) === 1;
    if (done && isPss) {
      const saltLength = param1 === 0 ? DIGEST_BYTES[param0]! : (param1 >>> 0) - 1;
      const options = this.#memory.pointer;
      done =
        saltLength + DIGEST_BYTES[param0]! + 2 <= Math.ceil((f.EVP_PKEY_get_bits(key) - 1) / 8) &&
        f.EVP_PKEY_CTX_set_rsa_padding(options, RSA_PADDING.pss) > 0 &&
        f.EVP_PKEY_CTX_set_rsa_pss_saltlen(options, saltLength) > 0;
    }
    if (done) return context;
    f.EVP_MD_CTX_free(context);
    return 0;
  }

  #openKey(request: EngineRequest, key: number, kind: number): number {
    const f = this.#f;
    const context = f.EVP_PKEY_CTX_new_from_pkey(0, key, 0);
    if (context === 0) return 0;
    let done: boolean;
    if (kind === KIND.agree) {
      done = request.param0 === 0 && f.EVP_PKEY_derive_init(context) > 0;
    } else {
      const start = kind === KIND.oaepEncrypt ? f.EVP_PKEY_encrypt_init : f.EVP_PKEY_decrypt_init;
      done =
        signatureDigest(request.param0) !== undefined &&
        start(context) > 0 &&
        f.EVP_PKEY_CTX_set_rsa_padding(context, RSA_PADDING.oaep) > 0 &&
        f.EVP_PKEY_CTX_set_rsa_oaep_md(context, this.#digests.method(request.param0)) > 0;
    }
    if (done && request.param1 === 0) return context;
    f.EVP_PKEY_CTX_free(context);
    return 0;
  }

  sign(request: EngineRequest, context: number): Outcome {
    const f = this.#f;
    const { output, lengthCell } = this.#memory;
    const { sourceLength } = request;
    const source = request.source || output;
    this.#memory.length = OUTPUT_BYTES;
    const done =
      f.EVP_MD_CTX_copy_ex(this.#work, context) === 1 &&
      f.EVP_DigestSign(this.#work, output, lengthCell, source, sourceLength) === 1;
    f.EVP_MD_CTX_reset(this.#work);
    request.consumed = sourceLength;
    return done ? this.#deliver(request) : this.#failed(STATUS.engineFailed);
  }

  /** The result is 1 for the right signature, and 0 for whatever else. */
  verify(request: EngineRequest, context: number): Outcome {
    const f = this.#f;
    const { sourceLength, aux, auxLength } = request;
    const source = request.source || this.#memory.output;
    request.consumed = sourceLength;
    if (auxLength === 0) return STATUS.ok;
    if (f.EVP_MD_CTX_copy_ex(this.#work, context) !== 1) return this.#failed(STATUS.engineFailed);
    const verdict = f.EVP_DigestVerify(this.#work, aux, auxLength, source, sourceLength);
    f.EVP_MD_CTX_reset(this.#work);
    request.result = verdict === 1 ? 1 : 0;
    if (verdict !== 1) f.ERR_clear_error();
    return STATUS.ok;
  }

  /** RSA-OAEP in either direction; the request's parameters are the label. */
  oaep(request: EngineRequest, context: number, kind: number): Outcome {
    const encrypts = request.operation === OPCODE.encrypt;
    // A session for `encrypt` is let through for `decrypt`, too, but a public key is no private one.
    if (encrypts !== (kind === KIND.oaepEncrypt)) return STATUS.badSession;
    if (request.param0 !== 0 || request.param1 !== 0 || request.unpadded) return STATUS.badField;
    const labelled = this.#labelled(request, context);
    if (labelled === 0) return this.#failed(STATUS.noResources);
    const { output, lengthCell } = this.#memory;
    const { sourceLength } = request;
    const source = request.source || output;
    const run = encrypts ? this.#f.EVP_PKEY_encrypt : this.#f.EVP_PKEY_decrypt;
    this.#memory.length = OUTPUT_BYTES;
    const done = run(labelled, output, lengthCell, source, sourceLength) > 0;
    if (labelled !== context) this.#f.EVP_PKEY_CTX_free(labelled);
    request.consumed = sourceLength;
    if (done) return this.#deliver(request);
    this.#memory.forget();
    // What does not decrypt is not told why; what does not encrypt is too long.
    return this.#failed(encrypts ? STATUS.badLength : STATUS.notAuthentic);
  }

  /** A context with the request's label: the session's own where there is none, else a copy; 0 without memory. */
  #labelled({ aux, auxLength }: EngineRequest, context: number): number {
    const f = this.#f;
    if (auxLength === 0) return context;
    const copy = f.EVP_PKEY_CTX_dup(context);
    if (copy === 0) return 0;
    // The copy of the label becomes the context's.
    const label = f.CRYPTO_memdup(aux, auxLength, 0, 0);
    if (label !== 0 && f.EVP_PKEY_CTX_set0_rsa_oaep_label(copy, label, auxLength) > 0) return copy;
    if (label !== 0) f.CRYPTO_free(label, 0, 0);
    f.EVP_PKEY_CTX_free(copy);
    return 0;
  }

  agree(request: EngineRequest, context: number): Outcome {
    const f = this.#f;
    const { output, lengthCell } = this.#memory;
    const peer = this.#parse(request.source, request.sourceLength, true);
    if (peer === 0) return this.#failed(STATUS.badKey);
    request.consumed = request.sourceLength;
    const fits = this.#fits(peer, request.algorithm) && f.EVP_PKEY_derive_set_peer(context, peer) > 0;
    this.#memory.length = OUTPUT_BYTES;
    const done = fits && f.EVP_PKEY_derive(context, output, lengthCell) > 0;
    f.EVP_PKEY_free(peer);
    return done ? this.#deliver(request) : this.#failed(STATUS.badKey);
  }

  /** Hands over what lies in the engine's memory, if there is room. */
  #deliver(request: EngineRequest): Outcome {
    const { length, output } = this.#memory;
    const room = length <= request.capacity;
    if (room && length > 0) copyMemory(request.destination, output, length);
    this.#memory.forget();
    request.produced = room ? length : 0;
    return room ? STATUS.ok : STATUS.noSpace;
  }

  #failed(status: Outcome): Outcome {
    this.#f.ERR_clear_error();
    return status;
  }

  close(): void {
    this.#f.EVP_MD_CTX_free(this.#work);
  }
}
