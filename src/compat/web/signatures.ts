import type { KeyObject, webcrypto } from 'node:crypto';
import type { SignatureKind } from '../crypto/sign-sessions.js';
import { asymmetricFor, DIGESTS } from './key-use.js';
import type { SubtleReason } from './subtle-counters.js';

type CryptoKey = webcrypto.CryptoKey;

/** A key, what its signatures are like, and the algorithm as Node's own takes it. */
export interface SignatureUse {
  object: KeyObject;
  kind: SignatureKind;
  own: object;
}

/** Kinds of signatures, in capitals. Those of RSA alone take longer to hand over than to verify. */
export const SIGNATURES: readonly string[] = ['RSASSA-PKCS1-V1_5', 'RSA-PSS'];
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 4096;
const MAX_SALT_BYTES = 128;

/** What is to be verified; or why it must be Node's own. @param name in capitals */
export function signatureUse(name: string, algorithm: unknown, key: CryptoKey): SignatureUse | SubtleReason {
  const found = asymmetricFor<webcrypto.RsaHashedKeyAlgorithm>(key, name, 'verify');
  if (!found) return 'key';
  const { object, algorithm: ofKey } = found;
  const digest = DIGESTS[ofKey.hash.name];
  const { modulusLength: bits } = ofKey;
  if (digest === undefined || bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) return 'key';
  if (object.asymmetricKeyType !== 'rsa') return 'key';
  if (name !== 'RSA-PSS') return { object, kind: { algorithm: 'rsassa-pkcs1-v1_5', digest }, own: { name } };
  const { saltLength } = algorithm as { saltLength?: unknown };
  const isSize = typeof saltLength === 'number' && Number.isInteger(saltLength) && saltLength >= 0;
  if (!isSize || saltLength > MAX_SALT_BYTES) return 'argument';
  return { object, kind: { algorithm: 'rsa-pss', digest, saltLength }, own: { name, saltLength } };
}
