import { ALGORITHM } from '../../abi/algorithms.js';
import { OPCODE, type OperationName, STATUS } from '../../abi/queue.js';
import type { Capability, Engine, EngineRequest, Outcome } from './engine.js';
import { bindOpenssl, type Openssl, type OpensslFunctions } from './openssl-binding.js';
import { OpensslCiphers } from './openssl-ciphers.js';
import { cryptoCapabilities } from './openssl-costs.js';
import { OpensslDigests } from './openssl-digests.js';
import { OpensslKeys } from './openssl-keys.js';
import { addressIn, KIND, kindOf, OpensslMemory, withKind } from './openssl-memory.js';

/*
 * OpenSSL 3, called without node:crypto: no object made per request, and key schedules kept by sessions. It shares
 * the default library context with Node, and so its providers and properties; a failure leaves nothing in the error
 * queue, where node:crypto would find it.
 */

/** Finds OpenSSL 3, or undefined. */
export function loadOpenssl(openssl: Openssl | undefined = bindOpenssl()): Engine | undefined {
  return openssl && new OpensslEngine(openssl);
}

class OpensslEngine implements Engine {
  readonly name = 'openssl';
  readonly library: string;
  readonly version: string;
  readonly capabilities: readonly Capability[];
  readonly #f: OpensslFunctions;
  readonly #memory: OpensslMemory;
  readonly #digests: OpensslDigests;
  readonly #ciphers: OpensslCiphers;
  readonly #keys: OpensslKeys;

  constructor({ f, library, version }: Openssl) {
    this.#f = f;
    this.library = library;
    this.version = version;
    this.#memory = new OpensslMemory(f);
    this.#digests = new OpensslDigests(f, this.#memory);
    this.#ciphers = new OpensslCiphers(f, this.#memory);
    this.#keys = new OpensslKeys(f, this.#memory, this.#digests);
    // What the library lacks has left its errors.
    f.ERR_clear_error();
    const { digests, macs } = this.#digests;
    this.capabilities = cryptoCapabilities(10, { digests, macs, ciphers: this.#ciphers.algorithms }, true);
  }

  run(request: EngineRequest): Outcome {
    const context = addressIn(request.context);
    const kind = kindOf(request.context);
    switch (request.operation) {
      case OPCODE.digest:
        return this.#digests.digest(request, context);
      case OPCODE.mac:
        return this.#digests.mac(request, context, kind);
      case OPCODE.encrypt:
      case OPCODE.decrypt:
        return kind === KIND.cipher
          ? this.#ciphers.run(request, context)
          : this.#keys.oaep(request, context, kind);
      case OPCODE.derive:
        return this.#digests.derive(request);
      case OPCODE.sign:
        return this.#keys.sign(request, context);
      case OPCODE.verify:
        return this.#keys.verify(request, context);
      case OPCODE.agree:
        return this.#keys.agree(request, context);
      default:
        return STATUS.unsupported;
    }
  }

  openContext(request: EngineRequest): number {
    const kind = contextKind(request);
    const context = withKind(this.#open(request, kind), kind);
    // Reading a key leaves errors behind even where it succeeds.
    this.#f.ERR_clear_error();
    return context;
  }

  #open(request: EngineRequest, kind: number): number {
    if (kind === KIND.digest) return this.#digests.openDigest(request.algorithm);
    if (kind === KIND.mac || kind === KIND.macInParts) return this.#digests.openMac(request);
    return kind === KIND.cipher ? this.#ciphers.open(request) : this.#keys.open(request, kind);
  }

  /** Every one of these overwrites what it frees. */
  closeContext(context: number): void {
    const address = addressIn(context);
    switch (kindOf(context)) {
      case KIND.digest:
      case KIND.sign:
      case KIND.verify:
        this.#f.EVP_MD_CTX_free(address);
        break;
      case KIND.mac:
      case KIND.macInParts:
        this.#f.EVP_MAC_CTX_free(address);
        break;
      case KIND.cipher:
        this.#ciphers.free(address);
        break;
      default:
        this.#f.EVP_PKEY_CTX_free(address);
    }
  }

  close(): void {
    this.#keys.close();
    this.#ciphers.close();
    this.#digests.close();
    this.#memory.close();
  }
}

const KIND_OF: Partial<Record<OperationName, number>> = {
  digest: KIND.digest,
  sign: KIND.sign,
  verify: KIND.verify,
  agree: KIND.agree,
};

/** What a session's context has to be. */
function contextKind({ operation, algorithm, piece }: EngineRequest): number {
  if (operation === OPCODE.mac) return piece ? KIND.macInParts : KIND.mac;
  if (operation === OPCODE.encrypt || operation === OPCODE.decrypt) {
    if (algorithm !== ALGORITHM['rsa-oaep']) return KIND.cipher;
    return operation === OPCODE.encrypt ? KIND.oaepEncrypt : KIND.oaepDecrypt;
  }
  const name = (Object.keys(KIND_OF) as OperationName[]).find((each) => OPCODE[each] === operation);
  return KIND_OF[name!]!;
}
