import { constants, KeyObject } from 'node:crypto';
import type { CryptoReason } from './counters.js';
import { digestNamed } from './digest-names.js';
import type { SignatureKind } from './sign-sessions.js';

/** What a call wants signatures to be like. */
export interface Wanted {
  key: KeyObject;
  kind: SignatureKind;
}

const OPTIONS = new Set(['key', 'padding', 'saltLength']);
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 4096;
const MAX_SALT_BYTES = 128;
/** The digests of signatures that engines have. */
const DIGESTS: readonly string[] = ['sha1', 'sha224', 'sha256', 'sha384', 'sha512'];

/** Which signatures of RSA a call means; or why the accelerator does not verify them. Keys are KeyObjects. */
export function wantedOf(algorithm: unknown, given: unknown): Wanted | CryptoReason {
  const isBare = given instanceof KeyObject;
  const options = (isBare ? {} : given) as Record<string, unknown> | undefined;
  const key = isBare ? given : options?.['key'];
  if (!(key instanceof KeyObject) || !options) return 'key';
  // Of other kinds, nearly all of the time is the signature's own.
  if (key.asymmetricKeyType !== 'rsa') return 'no gain';
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) return 'key';
  if (Object.keys(options).some((name) => !OPTIONS.has(name))) return 'option';
  const digest = digestNamed(typeof algorithm === 'string' ? algorithm.replace(/^RSA-/, '') : algorithm);
  if (digest === undefined || !DIGESTS.includes(digest)) return 'algorithm';
  const { padding, saltLength } = options;
  if (padding === undefined || padding === constants.RSA_PKCS1_PADDING) {
    return saltLength === undefined ? { key, kind: { digest, algorithm: 'rsassa-pkcs1-v1_5' } } : 'option';
  }
  if (padding !== constants.RSA_PKCS1_PSS_PADDING) return 'option';
  if (saltLength === constants.RSA_PSS_SALTLEN_DIGEST) return { key, kind: { digest, algorithm: 'rsa-pss' } };
  const isSize = typeof saltLength === 'number' && Number.isInteger(saltLength) && saltLength >= 0;
  if (!isSize || saltLength > MAX_SALT_BYTES) return 'option';
  return { key, kind: { digest, algorithm: 'rsa-pss', saltLength } };
}
