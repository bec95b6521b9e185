import { createPrivateKey, createPublicKey, KeyObject } from 'node:crypto';
import { type AlgorithmFacts, type AlgorithmName, factsOf } from '../abi/algorithms.js';
import { LIMITS } from '../abi/queue.js';
import { ArgumentError } from '../errors.js';
import { type Bytes, toBytes } from './options.js';
import { ownCopy } from './own-copy.js';

/** A secret key: bytes, or a secret KeyObject of node:crypto. */
export type SecretKey = Bytes | KeyObject;
/** A private or public key: a KeyObject, PEM text, or DER (PKCS#8 or SubjectPublicKeyInfo). */
export type AsymmetricKey = KeyObject | string | Bytes;

/** A copy of a secret key's bytes, of the algorithm's size; the caller overwrites it when it is done. */
export function secretKey(key: unknown, algorithm: AlgorithmName): Buffer {
  const bytes = secretBytes(key);
  const { keyBytes } = factsOf(algorithm) as AlgorithmFacts;
  if (keyBytes !== undefined && bytes.length !== keyBytes) {
    const { length } = bytes;
    bytes.fill(0);
    throw new ArgumentError(`a key for ${algorithm} has ${keyBytes} bytes, not ${length}`);
  }
  return bytes;
}

/** A copy of a secret of any size. */
export function secretBytes(key: unknown): Buffer {
  let bytes: Buffer;
  if (key instanceof KeyObject) {
    if (key.type !== 'secret') throw new ArgumentError(`a secret key is wanted, not a ${key.type} one`);
    bytes = ownCopy(key.export());
  } else if (typeof key === 'string' || key === undefined || key === null) {
    throw new ArgumentError('a key is bytes, or a KeyObject', {
      hint: 'text is no key: derive one from a passphrase with deriveKey',
    });
  } else {
    bytes = ownCopy(toBytes(key as Bytes));
  }
  if (bytes.length > LIMITS.maxKey) {
    bytes.fill(0);
    throw new ArgumentError(`a key has at most ${LIMITS.maxKey} bytes`);
  }
  return bytes;
}

/** A private key as PKCS#8 DER. */
export function privateKey(key: unknown): Buffer {
  const parsed = parse(key, 'private', (given, format) =>
    format === 'pem'
      ? createPrivateKey(given as string)
      : createPrivateKey({ key: given as Buffer, format: 'der', type: 'pkcs8' }),
  );
  return ownCopy(parsed.export({ format: 'der', type: 'pkcs8' }));
}

/** A public key as SubjectPublicKeyInfo DER; of a private key, its public half. */
export function publicKey(key: unknown): Buffer {
  const parsed = parse(key, 'public', (given, format) =>
    format === 'pem'
      ? createPublicKey(given as string)
      : createPublicKey({ key: given as Buffer, format: 'der', type: 'spki' }),
  );
  return ownCopy(parsed.export({ format: 'der', type: 'spki' }));
}

function parse(
  key: unknown,
  wanted: 'private' | 'public',
  make: (given: string | Buffer, format: 'pem' | 'der') => KeyObject,
): KeyObject {
  if (key instanceof KeyObject) {
    if (key.type === wanted) return key;
    if (wanted === 'public' && key.type === 'private') return createPublicKey(key);
    throw new ArgumentError(`a ${wanted} key is wanted, not a ${key.type} one`);
  }
  try {
    if (typeof key === 'string') return make(key, 'pem');
    return make(Buffer.from(toBytes(key as Bytes)), 'der');
  } catch {
    // What was wrong with it may tell something of it.
    throw new ArgumentError(`the ${wanted} key could not be read`, {
      hint: 'a KeyObject, PEM text, or DER (PKCS#8, SubjectPublicKeyInfo) is wanted, without a passphrase',
    });
  }
}
