import { createPrivateKey, createPublicKey } from 'node:crypto';
import { ALGORITHM } from '../../abi/algorithms.js';
import { CRYPTO_KEY_TYPE, CRYPTO_RSA_HASH } from '../../abi/virtio-crypto.js';

/** The one algorithm: RSASSA-PKCS1-v1_5 (RFC 8017, 8.2). The device pads; what it has no padding for is not driven. */
export const SIGNATURE = 'rsassa-pkcs1-v1_5';

/** The digest of a message, as a virtio-crypto device knows it. */
export interface SignatureDigest {
  name: keyof typeof CRYPTO_RSA_HASH;
  number: number;
}

/** What this driver can ask of a device. */
export const SIGNATURE_DIGESTS: readonly SignatureDigest[] = (
  ['sha1', 'sha224', 'sha256', 'sha384', 'sha512'] as const
).map((name) => ({ name, number: CRYPTO_RSA_HASH[name] }));

/** What a session is for that signs, or that verifies. */
export interface Signer {
  /** CRYPTO_KEY_TYPE: private to sign, public to verify. */
  keyType: number;
  digest: SignatureDigest;
  /** Bytes of the modulus, and of every signature. */
  modulusBytes: number;
  /** To verify: the modulus, big-endian. A signature is a number below it (RFC 8017, 5.2.2). */
  modulus: Buffer | undefined;
}

/** Keys outside of these are refused, as by every other device of this program. */
const BITS = { min: 2048, max: 4096 } as const;
/** Where an RSAPrivateKey of so many bits has its version: behind two headers. */
const VERSION_AT = 6;

/**
 * Reads the key of a session.
 * @param der PKCS#8 to sign, SubjectPublicKeyInfo to verify; @param digest its number in ALGORITHM
 * @returns the key as the device takes it (RFC 8017, A.1), which whoever called overwrites; undefined if it is none
 */
export function readSigner(
  der: Uint8Array,
  digest: number,
  verifies: boolean,
): { signer: Signer; key: Buffer } | undefined {
  const found = SIGNATURE_DIGESTS.find(({ name }) => ALGORITHM[name] === digest);
  const parsed = found && parse(Buffer.from(der.buffer, der.byteOffset, der.length), verifies);
  if (!parsed) return undefined;
  const { bits, key, modulus } = parsed;
  // A device knows nothing of keys with more than two primes.
  const isPlain = verifies || key[VERSION_AT] === 0;
  if (bits < BITS.min || bits > BITS.max || !isPlain) {
    key.fill(0);
    return undefined;
  }
  const keyType = verifies ? CRYPTO_KEY_TYPE.public : CRYPTO_KEY_TYPE.private;
  return { signer: { keyType, digest: found, modulusBytes: Math.ceil(bits / 8), modulus }, key };
}

function parse(
  der: Buffer,
  isPublic: boolean,
): { bits: number; key: Buffer; modulus: Buffer | undefined } | undefined {
  try {
    const key = isPublic
      ? createPublicKey({ key: der, format: 'der', type: 'spki' })
      : createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    if (key.asymmetricKeyType !== 'rsa') return undefined;
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    // Of a private key it would be exported with everything else.
    const modulus = isPublic ? Buffer.from(key.export({ format: 'jwk' }).n!, 'base64url') : undefined;
    return { bits, key: key.export({ format: 'der', type: 'pkcs1' }), modulus };
  } catch {
    return undefined;
  }
}
