import type { KeyObject, webcrypto } from 'node:crypto';
import type { SignatureKind } from '../crypto/sign-sessions.js';
import { asymmetricFor, DIGESTS } from './key-use.js';
import type { SubtleReason } from './subtle-counters.js';

type CryptoKey = webcrypto.CryptoKey;
/** Every algorithm's key has some of these. */
type Algorithm = webcrypto.KeyAlgorithm & Partial<webcrypto.EcKeyAlgorithm & webcrypto.RsaHashedKeyAlgorithm>;

/** A key, what its signatures are like, and the algorithm as Node's own takes it. */
export interface SignatureUse {
  object: KeyObject;
  kind: SignatureKind;
  own: object;
}

export const SIGNATURES: readonly string[] = ['RSASSA-PKCS1-V1_5', 'RSA-PSS', 'ECDSA', 'ED25519'];
const CURVES: Record<string, SignatureKind['algorithm']> = { 'P-256': 'ecdsa-p256', 'P-384': 'ecdsa-p384' };
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 4096;
const MAX_SALT_BYTES = 128;

/** What is to be signed with, or verified; or why it must be Node's own. @param name in capitals */
export function signatureUse(
  name: string,
  algorithm: unknown,
  key: CryptoKey,
  usage: 'sign' | 'verify',
): SignatureUse | SubtleReason {
  const found = asymmetricFor<Algorithm>(key, name, usage);
  if (!found) return 'key';
  const { object, algorithm: ofKey } = found;
  if (name === 'ED25519') {
    return { object, kind: { algorithm: 'ed25519', isRaw: false }, own: { name } };
  }
  if (name === 'ECDSA') return ecdsaUse(object, ofKey, algorithm);
  const digest = DIGESTS[ofKey.hash?.name ?? ''];
  const { modulusLength: bits = 0 } = ofKey;
  if (digest === undefined || bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) return 'key';
  if (object.asymmetricKeyType !== 'rsa') return 'key';
  if (name !== 'RSA-PSS') {
    return { object, kind: { algorithm: 'rsassa-pkcs1-v1_5', digest, isRaw: false }, own: { name } };
  }
  const { saltLength } = algorithm as { saltLength?: unknown };
  const isSize = typeof saltLength === 'number' && Number.isInteger(saltLength) && saltLength >= 0;
  if (!isSize || saltLength > MAX_SALT_BYTES) return 'argument';
  return {
    object,
    kind: { algorithm: 'rsa-pss', digest, saltLength, isRaw: false },
    own: { name, saltLength },
  };
}

function ecdsaUse(object: KeyObject, ofKey: Algorithm, given: unknown): SignatureUse | SubtleReason {
  const { hash } = given as { hash?: unknown };
  const named = typeof hash === 'string' ? hash : (hash as { name?: unknown } | undefined)?.name;
  const hashName = typeof named === 'string' ? named.toUpperCase() : '';
  const digest = DIGESTS[hashName];
  const algorithm = CURVES[ofKey.namedCurve ?? ''];
  if (digest === undefined) return 'algorithm';
  if (algorithm === undefined) return 'key';
  return { object, kind: { algorithm, digest, isRaw: true }, own: { name: 'ECDSA', hash: hashName } };
}
