import { ALGORITHM, ALGORITHM_NAMES, type AlgorithmName, factsOf } from '../../abi/algorithms.js';
import { STATUS } from '../../abi/queue.js';
import type { EngineRequest, Outcome } from './engine.js';

/*
 * What a request for a cipher, a MAC, a digest or a derivation must be like, the same for every engine that has them:
 * docs/device-spec.md, "Ciphers".
 */

const BLOCK_BYTES = 16;
export const MAX_TAG_BYTES = 16;
/** A session's MAC or digest has at most this many bytes. */
export const MAX_DIGEST_BYTES = 64;

/** What differs between ciphers, by number. */
export interface CipherShape {
  name: AlgorithmName;
  mode: 'block' | 'stream' | 'xts' | 'gcm' | 'ccm' | 'poly1305';
  aead: boolean;
  keyBytes: number;
  ivBytes: number;
  minIvBytes: number;
  maxIvBytes: number;
}

export const CIPHER_SHAPES: readonly (CipherShape | undefined)[] = (() => {
  const shapes: (CipherShape | undefined)[] = [];
  for (const name of ALGORITHM_NAMES) {
    const { class: kind, pads, keyBytes, ivBytes, minIvBytes, maxIvBytes } = factsOf(name);
    if (kind !== 'cipher' && kind !== 'aead') continue;
    let mode: CipherShape['mode'] = pads === true ? 'block' : 'stream';
    if (name.endsWith('-xts')) mode = 'xts';
    if (name.endsWith('-gcm')) mode = 'gcm';
    if (name.endsWith('-ccm')) mode = 'ccm';
    if (name.endsWith('-poly1305')) mode = 'poly1305';
    shapes[ALGORITHM[name]] = {
      name,
      mode,
      aead: kind === 'aead',
      keyBytes: keyBytes!,
      ivBytes: ivBytes!,
      minIvBytes: minIvBytes!,
      maxIvBytes: maxIvBytes!,
    };
  }
  return shapes;
})();

/** Bytes of the digest, or MAC, of an algorithm number; 0 for what has none. */
export const OUTPUT_BYTES: Uint8Array = (() => {
  const sizes = new Uint8Array(256);
  for (const name of ALGORITHM_NAMES) {
    const { class: kind, outputBytes } = factsOf(name);
    if (kind === 'digest' || kind === 'mac') sizes[ALGORITHM[name]] = outputBytes!;
  }
  return sizes;
})();

/** The digests that signatures and RSA-OAEP may have. */
export const SIGNATURE_DIGESTS = ALGORITHM_NAMES.filter((name) => /^sha(1|2|3|5)/.test(name));

/** The digest of a key's session, by its number; undefined for one that signatures do not have. */
export function signatureDigest(number: number): AlgorithmName | undefined {
  return SIGNATURE_DIGESTS.find((name) => ALGORITHM[name] === number);
}

/** NIST SP 800-38D and 38C, and RFC 8439, say which tags there are. */
function isTagLength(mode: CipherShape['mode'], length: number): boolean {
  if (mode === 'gcm') return length === 4 || length === 8 || (length >= 12 && length <= MAX_TAG_BYTES);
  if (mode === 'ccm') return length >= 4 && length <= MAX_TAG_BYTES && length % 2 === 0;
  return length === MAX_TAG_BYTES;
}

/** The lengths of one request for a cipher, once they have been found right. The same object serves every request. */
export class CipherPlan {
  shape!: CipherShape;
  ivLength = 0;
  tagLength = 0;
  aadLength = 0;
  /** Bytes of the source but for a tag. */
  bodyLength = 0;
  /** The most bytes that are written. */
  outputLength = 0;
  /** The last block is padded, or its padding is taken off. */
  padded = false;

  /** Checks a request, and fills in the rest. */
  check(request: EngineRequest, encrypts: boolean): Outcome {
    const shape = CIPHER_SHAPES[request.algorithm];
    if (!shape) return STATUS.unsupported;
    this.shape = shape;
    const fields = this.#checkFields(request, shape);
    if (fields !== STATUS.ok) return fields;
    const { sourceLength, capacity, source, destination } = request;
    const sizes = this.#measure(sourceLength, encrypts);
    if (sizes !== STATUS.ok) return sizes;
    // Of a padded message only the last block may turn out shorter.
    const least = this.padded && !encrypts ? this.outputLength - BLOCK_BYTES : this.outputLength;
    if (capacity < least) return STATUS.noSpace;
    const overlap = source < destination + capacity && destination < source + sourceLength;
    return overlap && source !== destination && capacity > 0 && sourceLength > 0
      ? STATUS.badAddress
      : STATUS.ok;
  }

  #checkFields(request: EngineRequest, shape: CipherShape): Outcome {
    const ivLength = request.param0 >>> 0;
    if (ivLength < shape.minIvBytes || ivLength > shape.maxIvBytes) return STATUS.badLength;
    if (ivLength > request.auxLength) return STATUS.badLength;
    if (request.unpadded && shape.mode !== 'block') return STATUS.badField;
    this.ivLength = ivLength;
    this.aadLength = request.auxLength - ivLength;
    this.padded = shape.mode === 'block' && !request.unpadded;
    this.tagLength = 0;
    if (!shape.aead) {
      if (request.param1 !== 0) return STATUS.badField;
      return this.aadLength === 0 ? STATUS.ok : STATUS.badLength;
    }
    this.tagLength = request.param1 === 0 ? MAX_TAG_BYTES : request.param1 >>> 0;
    return isTagLength(shape.mode, this.tagLength) ? STATUS.ok : STATUS.badLength;
  }

  #measure(sourceLength: number, encrypts: boolean): Outcome {
    const { shape, tagLength, padded } = this;
    // Data that is too short, or of no whole number of blocks, is not what was once encrypted.
    if (!encrypts && sourceLength < tagLength) return STATUS.notAuthentic;
    this.bodyLength = encrypts ? sourceLength : sourceLength - tagLength;
    this.outputLength = encrypts ? sourceLength + tagLength : this.bodyLength;
    if (shape.mode === 'xts' && sourceLength < BLOCK_BYTES) return STATUS.badLength;
    // The nonce of CCM leaves so many bytes for the length of the message.
    if (shape.mode === 'ccm' && this.bodyLength >= 256 ** (15 - this.ivLength)) return STATUS.badLength;
    if (shape.mode !== 'block') return STATUS.ok;
    const rest = sourceLength % BLOCK_BYTES;
    if (!padded) return rest === 0 ? STATUS.ok : STATUS.badLength;
    if (encrypts) this.outputLength = sourceLength - rest + BLOCK_BYTES;
    else if (rest !== 0 || sourceLength === 0) return STATUS.notAuthentic;
    return STATUS.ok;
  }
}

/** OpenSSL's working memory for scrypt beside the 256 MiB that a request may ask for (device/units.ts). */
const SCRYPT_SLACK = 16 * 1024 * 1024;
export const MAX_SCRYPT_BYTES = 256 * 1024 * 1024 + SCRYPT_SLACK;

/** Checks a derivation's fields; the work it asks for has been looked at (device/units.ts). */
export function checkDerivation(request: EngineRequest): Outcome {
  const { algorithm, level, auxLength, capacity } = request;
  const param0 = request.param0 >>> 0;
  const param1 = request.param1 >>> 0;
  const param2 = request.param2 >>> 0;
  if (algorithm === ALGORITHM.scrypt) {
    // RFC 7914, 2; p * r < 2^30 and N < 2^(128 * r / 8) hold for whatever memory allows, but for the smallest r.
    const cost = param0 >= 2 && (param0 & (param0 - 1)) === 0 && (param1 > 1 || param0 < 65_536);
    if (level !== 0 || !cost || param1 === 0 || param2 === 0) return STATUS.badField;
    return 128 * param1 * (param0 + 2 + param2) <= MAX_SCRYPT_BYTES ? STATUS.ok : STATUS.badLength;
  }
  const size = OUTPUT_BYTES[level]!;
  if (size === 0 || level >= ALGORITHM['aes-128-cmac']) return STATUS.unsupported;
  if (algorithm === ALGORITHM.pbkdf2) {
    return param0 === 0 && param2 === 0 ? STATUS.ok : STATUS.badField;
  }
  if (param1 !== 0 || param2 !== 0) return STATUS.badField;
  return param0 <= auxLength && capacity <= 255 * size ? STATUS.ok : STATUS.badLength;
}
