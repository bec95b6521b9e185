import { constants, KeyObject } from 'node:crypto';
import type { DigestAlgorithm, SignAlgorithm } from '../../abi/algorithms.js';
import type { CryptoReason } from './counters.js';
import { digestNamed } from './digest-names.js';
import type { SignatureKind } from './sign-sessions.js';

/** What a call wants signatures to be like. */
export interface Wanted {
  key: KeyObject;
  kind: SignatureKind;
}

const OPTIONS = new Set(['key', 'padding', 'saltLength', 'dsaEncoding']);
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 4096;
const MAX_SALT_BYTES = 128;
/** The digests of signatures that engines have. */
const DIGESTS: readonly string[] = ['sha1', 'sha224', 'sha256', 'sha384', 'sha512'];
const CURVES: Record<string, SignAlgorithm> = { prime256v1: 'ecdsa-p256', secp384r1: 'ecdsa-p384' };

/** What a call of node:crypto's `sign` or `verify` wants; or why the accelerator cannot do it. Keys are KeyObjects. */
export function wantedOf(algorithm: unknown, given: unknown): Wanted | CryptoReason {
  const isBare = given instanceof KeyObject;
  const options = (isBare ? {} : given) as Record<string, unknown> | undefined;
  const key = isBare ? given : options?.['key'];
  if (!(key instanceof KeyObject) || !options) return 'key';
  if (Object.keys(options).some((name) => !OPTIONS.has(name))) return 'option';
  const { asymmetricKeyType: type } = key;
  if (type === 'ed25519') {
    if (algorithm !== null && algorithm !== undefined) return 'algorithm';
    return isBare ? { key, kind: { algorithm: 'ed25519', isRaw: false } } : 'option';
  }
  const digest = signatureDigest(algorithm);
  if (digest === undefined) return 'algorithm';
  if (type !== 'rsa' && type !== 'ec') return 'key';
  const kind = type === 'rsa' ? rsaKind(key, digest, options) : ecKind(key, digest, options);
  return typeof kind === 'string' ? kind : { key, kind };
}

function signatureDigest(name: unknown): DigestAlgorithm | undefined {
  const bare = typeof name === 'string' ? name.replace(/^RSA-/, '') : name;
  const digest = digestNamed(bare);
  return digest !== undefined && DIGESTS.includes(digest) ? digest : undefined;
}

function rsaKind(
  key: KeyObject,
  digest: DigestAlgorithm,
  { padding, saltLength, dsaEncoding }: Record<string, unknown>,
): SignatureKind | CryptoReason {
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) return 'key';
  if (dsaEncoding !== undefined) return 'option';
  if (padding === undefined || padding === constants.RSA_PKCS1_PADDING) {
    return saltLength === undefined ? { digest, algorithm: 'rsassa-pkcs1-v1_5', isRaw: false } : 'option';
  }
  if (padding !== constants.RSA_PKCS1_PSS_PADDING) return 'option';
  if (saltLength === constants.RSA_PSS_SALTLEN_DIGEST) return { digest, algorithm: 'rsa-pss', isRaw: false };
  const isSize = Number.isInteger(saltLength) && (saltLength as number) >= 0;
  if (!isSize || (saltLength as number) > MAX_SALT_BYTES) return 'option';
  return { digest, algorithm: 'rsa-pss', saltLength: saltLength as number, isRaw: false };
}

function ecKind(
  key: KeyObject,
  digest: DigestAlgorithm,
  { padding, saltLength, dsaEncoding }: Record<string, unknown>,
): SignatureKind | CryptoReason {
  const algorithm = CURVES[key.asymmetricKeyDetails?.namedCurve ?? ''];
  if (algorithm === undefined) return 'key';
  if (padding !== undefined || saltLength !== undefined) return 'option';
  if (dsaEncoding !== undefined && dsaEncoding !== 'der' && dsaEncoding !== 'ieee-p1363') return 'argument';
  return { digest, algorithm, isRaw: dsaEncoding === 'ieee-p1363' };
}
