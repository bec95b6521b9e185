import { timingSafeEqual, webcrypto } from 'node:crypto';
import { LIMITS } from '../../abi/queue.js';
import type { Accelerator } from '../../accelerator/accelerator.js';
import type { MessageOptions } from '../../accelerator/cipher-session.js';
import { ownCopy } from '../../algorithms/own-copy.js';
import { isBetween } from '../crypto/async-call.js';
import { LEAST_ITERATIONS } from '../crypto/derive.js';
import { verifyWith } from '../crypto/sign-sessions.js';
import { shared } from '../shared-accelerator.js';
import { named } from '../zlib/calls.js';
import { cipherFor, DIGESTS, macFor, rememberKey, secretFor } from './key-use.js';
import { SIGNATURES, signatureUse } from './signatures.js';
import { countSubtle, type SubtleReason } from './subtle-counters.js';

type Subtle = webcrypto.SubtleCrypto;
type CryptoKey = webcrypto.CryptoKey;
/** A method of subtle, whatever it is given. */
type Method = (...given: unknown[]) => Promise<unknown>;
/** A call that the accelerator has begun, on copies of all bytes: those are the caller's again once it has returned. */
interface Begun {
  result: Promise<unknown>;
  /** The arguments as they were, should Node's own have to do it after all. */
  given: unknown[];
}

/** What the accelerator makes of a call, or why it must be Node's own. */
type Attempt = (accelerator: Accelerator, ...given: never[]) => Begun | SubtleReason;

const nodeSubtle = webcrypto.subtle;
/** With room for what belongs to it. */
const MAX_BYTES = LIMITS.maxTransfer - LIMITS.maxAux;
const AES_BLOCK_BYTES = 16;
/** Lengths that every version of Node takes; it finds out about others itself. */
const MIN_GCM_IV_BYTES = 12;
const MAX_GCM_IV_BYTES = 128;
/** Measured: what is longer is hashed as fast by Node, which need not copy it twice. */
const MAX_HASHED_BYTES = 16 * 1024;

const ATTEMPTS: Partial<Record<keyof Subtle, Attempt>> = {
  digest(accelerator, algorithm: unknown, data: unknown) {
    const name = nameOf(algorithm);
    const digest = DIGESTS[name];
    if (digest === undefined) return 'algorithm';
    const bytes = copyOf(data, MAX_HASHED_BYTES);
    if (typeof bytes === 'string') return bytes;
    return { result: accelerator.digest(bytes, { algorithm: digest }).then(alone), given: [name, bytes] };
  },

  encrypt: (accelerator, algorithm: unknown, key: CryptoKey, data: unknown) =>
    transform(accelerator, 'encrypt', algorithm, key, data),

  decrypt: (accelerator, algorithm: unknown, key: CryptoKey, data: unknown) =>
    transform(accelerator, 'decrypt', algorithm, key, data),

  deriveBits: (accelerator, algorithm: unknown, key: CryptoKey, bits: unknown) =>
    deriveBits(accelerator, algorithm, key, bits),

  sign(accelerator, algorithm: unknown, key: CryptoKey, data: unknown) {
    const begun = codeOf(accelerator, 'sign', algorithm, key, data);
    if (typeof begun === 'string') return begun;
    const { code, bytes } = begun;
    return { result: code.then(alone), given: ['HMAC', key, bytes] };
  },

  verify(accelerator, algorithm: unknown, key: CryptoKey, signature: unknown, data: unknown) {
    const wanted = copyOf(signature, LIMITS.maxAux);
    if (typeof wanted === 'string') return wanted;
    const name = nameOf(algorithm);
    if (SIGNATURES.includes(name)) {
      const use = signatureUse(name, algorithm, key);
      if (typeof use === 'string') return use;
      const bytes = copyOf(data);
      if (typeof bytes === 'string') return bytes;
      const result = verifyWith(accelerator, use.object, use.kind, bytes, wanted);
      return { result, given: [use.own, key, wanted, bytes] };
    }
    const begun = codeOf(accelerator, 'verify', algorithm, key, data);
    if (typeof begun === 'string') return begun;
    const { code, bytes } = begun;
    const result = code.then((found) => found.length === wanted.length && timingSafeEqual(found, wanted));
    return { result, given: ['HMAC', key, wanted, bytes] };
  },
};

/** The most that one request derives; of HKDF, with the shortest digest. */
const MAX_DERIVED_BITS = { PBKDF2: 65_536 * 8, HKDF: 255 * 20 * 8 } as const;
const MAX_ITERATIONS = 10_000_000;
const MAX_INFO_BYTES = 1024;

/** Bits of PBKDF2 or HKDF, with a key that was imported here. */
function deriveBits(
  accelerator: Accelerator,
  algorithm: unknown,
  key: CryptoKey,
  bits: unknown,
): Begun | SubtleReason {
  const name = nameOf(algorithm);
  if (name !== 'PBKDF2' && name !== 'HKDF') return 'algorithm';
  const { hash, salt, iterations, info } = algorithm as Record<string, unknown>;
  const hashName = nameOf(hash);
  const digest = DIGESTS[hashName];
  if (digest === undefined) return 'algorithm';
  if (!isBetween(bits, 8, MAX_DERIVED_BITS[name]) || bits % 8 !== 0) return 'argument';
  const salted = copyOf(salt, LIMITS.maxAux);
  if (typeof salted === 'string') return salted;
  const secret = secretFor(key, name, 'deriveBits');
  if (!secret) return 'key';
  const length = bits / 8;
  if (name === 'PBKDF2') {
    if (!isBetween(iterations, 1, MAX_ITERATIONS)) return 'argument';
    if (iterations * Math.ceil(length / 16) > MAX_ITERATIONS) return 'size';
    if (iterations * Math.ceil(length / 16) < LEAST_ITERATIONS) return 'no gain';
    const options = { algorithm: 'pbkdf2', digest, salt: salted, iterations, length } as const;
    const given = [{ name, hash: hashName, salt: salted, iterations }, key, bits];
    return { result: accelerator.deriveKey(secret, options).then(alone), given };
  }
  const bound = copyOf(info, MAX_INFO_BYTES);
  if (typeof bound === 'string') return bound;
  const options = { algorithm: 'hkdf', digest, salt: salted, info: bound, length } as const;
  const given = [{ name, hash: hashName, salt: salted, info: bound }, key, bits];
  // Done sooner in this thread than it could be sent to another.
  return { result: Promise.resolve(alone(accelerator.deriveKeySync(secret, options))), given };
}

function transform(
  accelerator: Accelerator,
  method: 'encrypt' | 'decrypt',
  algorithm: unknown,
  key: CryptoKey,
  data: unknown,
): Begun | SubtleReason {
  const name = nameOf(algorithm);
  const message = messageOf(name, algorithm as Record<string, unknown>);
  if (typeof message === 'string') return message;
  const session = cipherFor(accelerator, key, name, method);
  if (!session) return 'key';
  const bytes = copyOf(data);
  if (typeof bytes === 'string') return bytes;
  const { iv, aad } = message;
  // Each algorithm reads the members that it knows.
  const own = { name, iv, additionalData: aad, counter: iv, length: AES_BLOCK_BYTES * 8 };
  return { result: session[method](bytes, message).then(alone), given: [own, key, bytes] };
}

/** What belongs to one message, of an algorithm as Web Cryptography has it. */
function messageOf(name: string, algorithm: Record<string, unknown>): MessageOptions | SubtleReason {
  const { iv, additionalData, tagLength, counter, length } = algorithm;
  const start = copyOf(name === 'AES-CTR' ? counter : iv);
  if (typeof start === 'string') return start;
  if (name === 'AES-GCM') {
    const { byteLength } = start;
    if (byteLength < MIN_GCM_IV_BYTES || byteLength > MAX_GCM_IV_BYTES) return 'argument';
    if (tagLength !== undefined && tagLength !== AES_BLOCK_BYTES * 8) return 'argument';
    if (additionalData === undefined) return { iv: start };
    const aad = copyOf(additionalData);
    return typeof aad === 'string' ? aad : { iv: start, aad };
  }
  if (start.byteLength !== AES_BLOCK_BYTES) return 'argument';
  if (name === 'AES-CBC') return { iv: start };
  // A shorter counter runs over within its bits alone.
  if (name === 'AES-CTR' && length === AES_BLOCK_BYTES * 8) return { iv: start };
  return 'algorithm';
}

function codeOf(
  accelerator: Accelerator,
  usage: 'sign' | 'verify',
  algorithm: unknown,
  key: CryptoKey,
  data: unknown,
): { code: Promise<Buffer>; bytes: Buffer } | SubtleReason {
  if (nameOf(algorithm) !== 'HMAC') return 'algorithm';
  const session = macFor(accelerator, key, usage);
  if (!session) return 'key';
  const bytes = copyOf(data, MAX_HASHED_BYTES);
  return typeof bytes === 'string' ? bytes : { code: session.mac(bytes), bytes };
}

/** The name of an algorithm, in whatever case. */
function nameOf(algorithm: unknown): string {
  const name =
    typeof algorithm === 'string' ? algorithm : (algorithm as { name?: unknown } | undefined)?.name;
  return typeof name === 'string' ? name.toUpperCase() : '';
}

/** Bytes as Web Cryptography takes them. What is empty may be detached, which Node's own finds out. */
function bytesOf(data: unknown, most = MAX_BYTES): Uint8Array | SubtleReason {
  const isView = ArrayBuffer.isView(data);
  const buffer = isView ? data.buffer : data;
  if (!(buffer instanceof ArrayBuffer)) return 'argument';
  const bytes = isView ? new Uint8Array(buffer, data.byteOffset, data.byteLength) : new Uint8Array(buffer);
  if (bytes.byteLength === 0) return 'argument';
  return bytes.byteLength > most ? 'size' : bytes;
}

/** A copy of such bytes. */
function copyOf(data: unknown, most?: number): Buffer | SubtleReason {
  const bytes = bytesOf(data, most);
  return typeof bytes === 'string' ? bytes : Buffer.from(bytes);
}

/** A result as a buffer of its own, with nothing beside it. */
function alone(result: Buffer): ArrayBuffer {
  return new Uint8Array(result).buffer;
}

/** A method of Node's own subtle, by the accelerator where it can. Whatever goes wrong there, Node's own says what it is. */
function makeMethod(name: keyof Subtle): Method {
  const node = (nodeSubtle[name] as unknown as Method).bind(nodeSubtle);
  const attempt = ATTEMPTS[name];
  const pass = (reason: SubtleReason, given: unknown[]): Promise<unknown> => {
    countSubtle(name, reason);
    return node(...given);
  };
  const method: Method = async (...given) => {
    if (!attempt) return pass('method', given);
    const accelerator = shared.current;
    if (!accelerator) return pass('no accelerator', given);
    let asGiven = given;
    try {
      const outcome = attempt(accelerator, ...(given as never[]));
      if (typeof outcome === 'string') return pass(outcome, given);
      asGiven = outcome.given;
      const result = await outcome.result;
      countSubtle(name, undefined);
      return result;
    } catch (error) {
      shared.noteError(accelerator, error);
      return pass('failure', asGiven);
    }
  };
  return method;
}

/** Imports a key as Node does; of a secret one, remembers what it was made of. */
const importKey: Method = async (format, given, ...rest) => {
  countSubtle('importKey', 'method');
  const bytes = format === 'raw' ? bytesOf(given) : 'argument';
  const work = (nodeSubtle.importKey as unknown as Method).call(nodeSubtle, format, given, ...rest);
  if (typeof bytes === 'string') return work;
  // In memory of its own: the pool behind other Buffers is open to whoever has one of them.
  const material = ownCopy(bytes);
  let isRemembered = false;
  try {
    const key = (await work) as CryptoKey;
    isRemembered = rememberKey(key, material);
    return key;
  } finally {
    if (!isRemembered) material.fill(0);
  }
};

/** The methods of the running Node's subtle. */
const METHODS = Object.entries(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(nodeSubtle)))
  .filter(([name, { value }]) => typeof value === 'function' && name !== 'constructor')
  .map(([name]) => name as keyof Subtle);

/** Web Cryptography's operations. Keys are Node's own. */
export const subtle: Subtle = Object.create(
  Object.getPrototypeOf(nodeSubtle),
  Object.fromEntries(
    METHODS.map((name) => {
      const value = named(name === 'importKey' ? importKey : makeMethod(name), nodeSubtle[name]);
      return [name, { value, writable: true, configurable: true }];
    }),
  ),
);
