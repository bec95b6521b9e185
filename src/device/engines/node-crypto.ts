import {
  type CipherCCM,
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  type DecipherCCM,
  pbkdf2Sync,
  scryptSync,
  timingSafeEqual,
} from 'node:crypto';
import {
  ALGORITHM,
  ALGORITHM_NAMES,
  type AlgorithmName,
  algorithmName,
  factsOf,
} from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import type { Capability, Engine, EngineRequest, Outcome } from './engine.js';
import { bytesAt, deliver, NodeKeys } from './node-crypto-keys.js';
import {
  CIPHER_SHAPES,
  CipherPlan,
  checkDerivation,
  MAX_SCRYPT_BYTES,
  OUTPUT_BYTES,
} from './openssl-checks.js';
import { cryptoCapabilities } from './openssl-costs.js';

/* node:crypto itself: the twin of the engine `openssl`, where that cannot be had or is turned off. */

/** node:crypto needs no library and never fails to load; what it lacks is left out. */
export function loadNodeCrypto(): Engine {
  return new NodeCryptoEngine();
}

function works(trial: () => unknown): boolean {
  try {
    trial();
    return true;
  } catch {
    return false;
  }
}

class NodeCryptoEngine implements Engine {
  readonly name = 'node-crypto';
  readonly library = 'node:crypto';
  readonly version = process.versions.openssl ?? '';
  readonly capabilities: readonly Capability[];
  readonly #keys = new NodeKeys();
  readonly #plan = new CipherPlan();

  constructor() {
    const digests = ALGORITHM_NAMES.filter(
      (name) => factsOf(name).class === 'digest' && works(() => createHash(name)),
    );
    const cmacs = ALGORITHM_NAMES.filter((name) => factsOf(name).class === 'mac');
    const ciphers: AlgorithmName[] = [];
    for (const shape of CIPHER_SHAPES) {
      if (!shape) continue;
      // The halves of a key of XTS differ.
      const key = Buffer.alloc(shape.keyBytes, 1).fill(2, shape.keyBytes / 2);
      if (works(() => this.#start(shape.name, key, Buffer.alloc(shape.ivBytes), 16, true))) {
        ciphers.push(shape.name);
      }
    }
    this.capabilities = cryptoCapabilities(80, { digests, macs: [...digests, ...cmacs], ciphers }, false);
  }

  run(request: EngineRequest): Outcome {
    switch (request.operation) {
      case OPCODE.digest: {
        if (request.capacity < OUTPUT_BYTES[request.algorithm]!) return STATUS.noSpace;
        const hash = createHash(algorithmName(request.algorithm)!);
        return deliver(request, hash.update(source(request)).digest());
      }
      case OPCODE.mac:
        if (request.piece) return STATUS.badField;
        if (request.capacity < OUTPUT_BYTES[request.algorithm]!) return STATUS.noSpace;
        return deliver(request, mac(request));
      case OPCODE.encrypt:
      case OPCODE.decrypt:
        if (request.algorithm === ALGORITHM['rsa-oaep']) return this.#keys.oaep(request);
        return this.#cipher(request);
      case OPCODE.derive:
        return derive(request);
      default:
        return this.#keys.run(request);
    }
  }

  /** Nothing is kept but the parameters of a key's session, in the context's number. */
  openContext(request: EngineRequest): number {
    const { operation, algorithm, key, keyLength } = request;
    if (operation === OPCODE.mac) {
      const { keyBytes } = factsOf(algorithmName(algorithm)!);
      return keyBytes === undefined || keyBytes === keyLength ? 1 : 0;
    }
    const shape = CIPHER_SHAPES[algorithm];
    if (!shape) return this.#keys.open(request);
    if (keyLength !== shape.keyBytes) return 0;
    if (shape.mode !== 'xts') return 1;
    const bytes = bytesAt(key, keyLength);
    return timingSafeEqual(bytes.subarray(0, keyLength / 2), bytes.subarray(keyLength / 2)) ? 0 : 1;
  }

  closeContext(): void {}

  close(): void {}

  #cipher(request: EngineRequest): Outcome {
    const encrypts = request.operation === OPCODE.encrypt;
    const plan = this.#plan;
    const checked = plan.check(request, encrypts);
    if (checked !== STATUS.ok) return checked;
    request.consumed = request.sourceLength;
    const { shape, ivLength, tagLength, bodyLength, aadLength } = plan;
    const key = bytesAt(request.key, request.keyLength);
    const parameters = bytesAt(request.aux, request.auxLength);
    const iv = parameters.subarray(0, ivLength);
    const bytes = source(request);
    try {
      const cipher = this.#start(shape.name, key, iv, tagLength || 16, encrypts);
      if (shape.aead) {
        if (!encrypts) cipher.setAuthTag(Buffer.from(bytes.subarray(bodyLength)));
        if (aadLength > 0 || shape.mode === 'ccm') {
          cipher.setAAD(parameters.subarray(ivLength), { plaintextLength: bodyLength });
        }
      } else {
        cipher.setAutoPadding(plan.padded);
      }
      const parts = [cipher.update(bytes.subarray(0, bodyLength)), cipher.final()];
      if (shape.aead && encrypts) parts.push(cipher.getAuthTag());
      const result = Buffer.concat(parts);
      if (result.length > request.capacity) this.#wipe(request);
      return deliver(request, result);
    } catch {
      this.#wipe(request);
      return encrypts ? STATUS.engineFailed : STATUS.notAuthentic;
    }
  }

  /** As the engine `openssl` leaves it. */
  #wipe({ destination, capacity }: EngineRequest): void {
    bytesAt(destination, Math.min(capacity, this.#plan.outputLength)).fill(0);
  }

  /** All ciphers have the methods of AEADs; those that are none refuse them. */
  #start(name: AlgorithmName, key: Uint8Array, iv: Uint8Array, authTagLength: number, encrypts: boolean) {
    const aead = factsOf(name).class === 'aead';
    const options = aead ? { authTagLength } : {};
    const start = (encrypts ? createCipheriv : createDecipheriv) as (
      name: string,
      key: Uint8Array,
      iv: Uint8Array | null,
      options: object,
    ) => CipherCCM & DecipherCCM;
    return start(name, key, iv.length === 0 ? null : iv, options);
  }
}

const source = ({ source: address, sourceLength }: EngineRequest): Uint8Array =>
  bytesAt(address, sourceLength);

function mac(request: EngineRequest): Uint8Array {
  const name = algorithmName(request.algorithm)!;
  const key = bytesAt(request.key, request.keyLength);
  const bytes = source(request);
  if (factsOf(name).class === 'digest') return createHmac(name, key).update(bytes).digest();
  return cmac(name.slice(0, -'-cmac'.length), key, bytes);
}

/** AES-CMAC (RFC 4493), which node:crypto has not. */
function cmac(cipher: string, key: Uint8Array, bytes: Uint8Array): Uint8Array {
  const subkey = Buffer.from(createCipheriv(`${cipher}-ecb`, key, null).update(Buffer.alloc(16)));
  const isWhole = bytes.length > 0 && bytes.length % 16 === 0;
  double(subkey);
  if (!isWhole) double(subkey);
  const padded = Buffer.alloc(Math.max(16, Math.ceil(bytes.length / 16) * 16));
  padded.set(bytes);
  if (!isWhole) padded[bytes.length] = 0x80;
  const last = padded.length - 16;
  for (let i = 0; i < 16; i++) padded[last + i]! ^= subkey[i]!;
  return createCipheriv(`${cipher}-cbc`, key, Buffer.alloc(16)).update(padded).subarray(last);
}

/** Multiplies by x in GF(2^128), as RFC 4493 lays its bits out. */
function double(block: Buffer): void {
  const carry = block[0]! >> 7;
  for (let i = 0; i < 16; i++) block[i] = (block[i]! << 1) | ((block[i + 1] ?? 0) >> 7);
  if (carry) block[15]! ^= 0x87;
}

function derive(request: EngineRequest): Outcome {
  const checked = checkDerivation(request);
  if (checked !== STATUS.ok) return checked;
  const { algorithm, level, capacity, param1 } = request;
  const secret = source(request);
  const parameters = bytesAt(request.aux, request.auxLength);
  const digest = algorithmName(level)!;
  try {
    if (algorithm === ALGORITHM.pbkdf2) {
      return deliver(request, pbkdf2Sync(secret, parameters, param1, capacity, digest));
    }
    if (algorithm === ALGORITHM.hkdf) {
      return deliver(request, hkdf(digest, secret, parameters, request.param0, capacity));
    }
    const [N, r, p] = [request.param0, param1, request.param2];
    return deliver(request, scryptSync(secret, parameters, capacity, { N, r, p, maxmem: MAX_SCRYPT_BYTES }));
  } catch {
    return STATUS.engineFailed;
  }
}

/** HKDF (RFC 5869): that of node:crypto takes no info of more than 1024 bytes. */
function hkdf(
  digest: string,
  secret: Uint8Array,
  parameters: Uint8Array,
  saltLength: number,
  length: number,
): Uint8Array {
  const key = createHmac(digest, parameters.subarray(0, saltLength)).update(secret).digest();
  const blocks: Buffer[] = [];
  let last = Buffer.alloc(0);
  for (let at = 0; at < length; at += last.length) {
    const hmac = createHmac(digest, key).update(last).update(parameters.subarray(saltLength));
    last = hmac.update(Uint8Array.of(blocks.length + 1)).digest();
    blocks.push(last);
  }
  return Buffer.concat(blocks).subarray(0, length);
}
