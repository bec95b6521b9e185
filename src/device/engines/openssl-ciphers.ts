import type { AlgorithmName } from '../../abi/algorithms.js';
import { ALGORITHM } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import { copyMemory } from '../../sys/memory.js';
import type { EngineRequest, Outcome } from './engine.js';
import { EVP_CTRL, type OpensslFunctions } from './openssl-binding.js';
import { CIPHER_SHAPES, CipherPlan, type CipherShape } from './openssl-checks.js';
import type { OpensslMemory } from './openssl-memory.js';

const DECRYPT = 0;
const ENCRYPT = 1;
const USUAL_GCM_IV = 12;

/** Whether the key schedule differs between the directions, so that a session needs a context for each. */
const needsTwo = ({ mode }: CipherShape): boolean => mode === 'block' || mode === 'xts';

/**
 * Ciphers and AEADs. A session's context is an EVP_CIPHER_CTX with its key schedule; each request sets its IV. Where
 * decryption has a schedule of its own, that is a second context, which the first one leads to.
 */
export class OpensslCiphers {
  readonly #f: OpensslFunctions;
  readonly #memory: OpensslMemory;
  /** EVP_CIPHER by algorithm number; 0 for what the library has not. */
  readonly #ciphers = new Float64Array(256);
  readonly algorithms: readonly AlgorithmName[];
  readonly #plan = new CipherPlan();

  constructor(f: OpensslFunctions, memory: OpensslMemory) {
    this.#f = f;
    this.#memory = memory;
    const found: AlgorithmName[] = [];
    for (const shape of CIPHER_SHAPES) {
      if (!shape) continue;
      const cipher = f.EVP_CIPHER_fetch(0, shape.name, 0);
      this.#ciphers[ALGORITHM[shape.name]] = cipher;
      if (cipher !== 0) found.push(shape.name);
    }
    this.algorithms = found;
  }

  /** A context for the key in `request`, or 0 when it is none. */
  open(request: EngineRequest): number {
    const shape = CIPHER_SHAPES[request.algorithm];
    const { key, keyLength } = request;
    if (!shape || keyLength !== shape.keyBytes) return 0;
    // IEEE 1619-2018: the two keys of XTS must differ. The library would look only when it encrypts.
    const half = keyLength / 2;
    if (shape.mode === 'xts' && this.#f.CRYPTO_memcmp(key, key + half, half) === 0) return 0;
    const context = this.#make(request, ENCRYPT);
    if (context === 0 || !needsTwo(shape)) return context;
    const second = this.#make(request, DECRYPT);
    if (second === 0) {
      this.#f.EVP_CIPHER_CTX_free(context);
      return 0;
    }
    this.#f.EVP_CIPHER_CTX_set_app_data(context, second);
    return context;
  }

  #make({ algorithm, key }: EngineRequest, direction: number): number {
    const context = this.#f.EVP_CIPHER_CTX_new();
    if (context === 0) return 0;
    const cipher = this.#ciphers[algorithm]!;
    if (this.#f.EVP_CipherInit_ex(context, cipher, 0, key, 0, direction) === 1) return context;
    this.#f.EVP_CIPHER_CTX_free(context);
    return 0;
  }

  free(context: number): void {
    const second = this.#f.EVP_CIPHER_CTX_get_app_data(context);
    if (second !== 0) this.#f.EVP_CIPHER_CTX_free(second);
    this.#f.EVP_CIPHER_CTX_free(context);
  }

  run(request: EngineRequest, context: number): Outcome {
    const encrypts = request.operation === OPCODE.encrypt;
    const plan = this.#plan;
    const checked = plan.check(request, encrypts);
    if (checked !== STATUS.ok) return checked;
    request.consumed = request.sourceLength;
    const { mode, aead } = plan.shape;
    let outcome: Outcome;
    if (mode === 'ccm') outcome = this.#runCcm(request, context, encrypts);
    else if (aead) outcome = this.#runAead(request, context, encrypts);
    else if (encrypts || !needsTwo(plan.shape)) outcome = this.#runCipher(request, context, encrypts);
    else outcome = this.#runCipher(request, this.#f.EVP_CIPHER_CTX_get_app_data(context), false);
    if (outcome !== STATUS.ok) this.#undo(request);
    return outcome;
  }

  /** Nothing stays of what has been written. */
  #undo(request: EngineRequest): void {
    const bytes = Math.min(request.capacity, this.#plan.outputLength);
    if (bytes > 0) this.#f.OPENSSL_cleanse(request.destination, bytes);
    request.produced = 0;
    this.#f.ERR_clear_error();
  }

  #runCipher(request: EngineRequest, context: number, encrypts: boolean): Outcome {
    const f = this.#f;
    const { padded } = this.#plan;
    if (f.EVP_CipherInit_ex(context, 0, 0, 0, request.aux, encrypts ? ENCRYPT : DECRYPT) !== 1) {
      return STATUS.engineFailed;
    }
    if (request.unpadded) f.EVP_CIPHER_CTX_set_padding(context, 0);
    try {
      let produced = 0;
      if (request.sourceLength > 0) {
        produced = this.#update(context, request.destination, request.source, request.sourceLength);
        if (produced < 0) return STATUS.engineFailed;
      }
      return padded ? this.#finish(request, context, produced) : this.#end(request, produced);
    } finally {
      if (request.unpadded) f.EVP_CIPHER_CTX_set_padding(context, 1);
    }
  }

  #end(request: EngineRequest, produced: number): Outcome {
    request.produced = produced;
    return STATUS.ok;
  }

  /** The padded block: made, or taken off; it may turn out to be longer than the room there is. */
  #finish(request: EngineRequest, context: number, before: number): Outcome {
    const fits = request.capacity >= this.#plan.outputLength;
    const out = fits ? request.destination + before : this.#memory.output;
    if (this.#f.EVP_CipherFinal_ex(context, out, this.#memory.lengthCell) !== 1) return STATUS.notAuthentic;
    const last = this.#memory.length;
    if (!fits) {
      const room = before + last <= request.capacity;
      if (room && last > 0) copyMemory(request.destination + before, out, last);
      this.#memory.forget();
      if (!room) return STATUS.noSpace;
    }
    return this.#end(request, before + last);
  }

  /** GCM and ChaCha20-Poly1305. */
  #runAead(request: EngineRequest, context: number, encrypts: boolean): Outcome {
    const { ivLength, shape } = this.#plan;
    // A context is made for the usual length, and left with it.
    const unusual = shape.mode === 'gcm' && ivLength !== USUAL_GCM_IV;
    if (!unusual) return this.#runAeadWith(request, context, encrypts);
    const { EVP_CIPHER_CTX_ctrl: control } = this.#f;
    if (control(context, EVP_CTRL.setIvLength, ivLength, 0) !== 1) return STATUS.engineFailed;
    const outcome = this.#runAeadWith(request, context, encrypts);
    control(context, EVP_CTRL.setIvLength, USUAL_GCM_IV, 0);
    return outcome;
  }

  #runAeadWith(request: EngineRequest, context: number, encrypts: boolean): Outcome {
    const f = this.#f;
    const { source, destination, aux } = request;
    const { ivLength, aadLength, tagLength, bodyLength } = this.#plan;
    if (f.EVP_CipherInit_ex(context, 0, 0, 0, aux, encrypts ? ENCRYPT : DECRYPT) !== 1) {
      return STATUS.engineFailed;
    }
    if (!encrypts && f.EVP_CIPHER_CTX_ctrl(context, EVP_CTRL.setTag, tagLength, source + bodyLength) !== 1) {
      return STATUS.engineFailed;
    }
    if (aadLength > 0 && this.#update(context, 0, aux + ivLength, aadLength) < 0) return STATUS.engineFailed;
    if (bodyLength > 0 && this.#update(context, destination, source, bodyLength) < 0) {
      return STATUS.engineFailed;
    }
    if (f.EVP_CipherFinal_ex(context, this.#memory.output, this.#memory.lengthCell) !== 1) {
      return encrypts ? STATUS.engineFailed : STATUS.notAuthentic;
    }
    if (encrypts) {
      const done = f.EVP_CIPHER_CTX_ctrl(context, EVP_CTRL.getTag, tagLength, destination + bodyLength);
      if (done !== 1) return STATUS.engineFailed;
    }
    return this.#end(request, this.#plan.outputLength);
  }

  /**
   * CCM has the lengths of nonce and tag in its first block, which OpenSSL lays down together with the key: it is set
   * again for each request.
   */
  #runCcm(request: EngineRequest, context: number, encrypts: boolean): Outcome {
    const f = this.#f;
    const { key, aux } = request;
    const { ivLength, aadLength, tagLength, bodyLength } = this.#plan;
    const direction = encrypts ? ENCRYPT : DECRYPT;
    const source = request.source || this.#memory.output;
    const destination = request.destination || this.#memory.output;
    const ready =
      f.EVP_CipherInit_ex(context, 0, 0, 0, 0, direction) === 1 &&
      f.EVP_CIPHER_CTX_ctrl(context, EVP_CTRL.setIvLength, ivLength, 0) === 1 &&
      f.EVP_CIPHER_CTX_ctrl(context, EVP_CTRL.setTag, tagLength, encrypts ? 0 : source + bodyLength) === 1 &&
      f.EVP_CipherInit_ex(context, 0, 0, key, aux, direction) === 1 &&
      f.EVP_CipherUpdate(context, 0, this.#memory.lengthCell, 0, bodyLength) === 1 &&
      (aadLength === 0 || this.#update(context, 0, aux + ivLength, aadLength) >= 0);
    if (!ready) return STATUS.engineFailed;
    // It looks at the tag before it gives anything.
    if (this.#update(context, destination, source, bodyLength) < 0) {
      return encrypts ? STATUS.engineFailed : STATUS.notAuthentic;
    }
    if (encrypts) {
      const done = f.EVP_CIPHER_CTX_ctrl(context, EVP_CTRL.getTag, tagLength, destination + bodyLength);
      if (done !== 1) return STATUS.engineFailed;
    }
    return this.#end(request, this.#plan.outputLength);
  }

  /** Puts bytes through a context: how many came out, or -1. */
  #update(context: number, destination: number, source: number, length: number): number {
    const { lengthCell } = this.#memory;
    const done = this.#f.EVP_CipherUpdate(context, destination, lengthCell, source, length);
    return done === 1 ? this.#memory.length : -1;
  }

  close(): void {
    for (const cipher of this.#ciphers) {
      if (cipher !== 0) this.#f.EVP_CIPHER_free(cipher);
    }
  }
}
