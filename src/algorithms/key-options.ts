import { createPublicKey, type KeyObject } from 'node:crypto';
import {
  type AgreeAlgorithm,
  ALGORITHM,
  type DigestAlgorithm,
  type SignAlgorithm,
} from '../abi/algorithms.js';
import { OPCODE } from '../abi/queue.js';
import { ArgumentError } from '../errors.js';
import { algorithmOf } from './class-options.js';
import { type AsymmetricKey, privateKey, publicKey } from './keys.js';
import { checkObject } from './options.js';
import { Recipe } from './recipe.js';

/*
 * Operations with public and private keys. RSA: RFC 8017; ECDSA: FIPS 186-5, with signatures as DER; Ed25519: RFC 8032;
 * X25519: RFC 7748; ECDH: SP 800-56A.
 */

/** The largest output: an RSA key of 4096 bits. A DER signature of P-384 has at most 104 bytes. */
const RSA_BYTES = 512;
const MAX_SECRET_BYTES = 66;

export interface SignOptions {
  algorithm: SignAlgorithm;
  /** A private key to sign with; to verify, a public one, or a private one for its public half. */
  key: AsymmetricKey;
  /** What is signed; by default sha256, for ecdsa-p384 sha384. ed25519 has none. */
  digest?: DigestAlgorithm;
  /** rsa-pss: bytes of the salt; by default those of the digest. */
  saltLength?: number;
}

export interface RsaOptions {
  /** The public key to encrypt with, or the private one to decrypt with. */
  key: AsymmetricKey;
  /** Of OAEP and its mask; by default sha256. */
  digest?: DigestAlgorithm;
  label?: Uint8Array;
}

export interface AgreeOptions {
  /** By default that of the private key. */
  algorithm?: AgreeAlgorithm;
  privateKey: AsymmetricKey;
  publicKey: AsymmetricKey;
}

/** What a request with such a key needs: its recipe, and the session it runs in. */
export interface KeyedRecipe {
  recipe: Recipe;
  key: Buffer;
  param0: number;
  param1: number;
}

export function signRecipe(options: SignOptions, operation: 'sign' | 'verify'): KeyedRecipe {
  checkObject(options);
  const algorithm = algorithmOf<SignAlgorithm>(options.algorithm, undefined, 'sign');
  const { digest, saltLength } = options;
  if (algorithm === 'ed25519' && digest !== undefined) {
    throw new ArgumentError('ed25519 has a digest of its own', { hint: 'leave digest out' });
  }
  if (saltLength !== undefined && algorithm !== 'rsa-pss') {
    throw new ArgumentError(`${algorithm} has no salt`, { hint: 'leave saltLength out' });
  }
  if (saltLength !== undefined && !(Number.isInteger(saltLength) && saltLength >= 0 && saltLength <= 446)) {
    throw new ArgumentError('saltLength must be a whole number from 0 to 446');
  }
  const usual = algorithm === 'ecdsa-p384' ? 'sha384' : 'sha256';
  const recipe = new Recipe(operation, algorithm);
  if (operation === 'sign') recipe.baseCapacity = RSA_BYTES;
  return {
    recipe,
    key: operation === 'sign' ? privateKey(options.key) : publicKey(options.key),
    param0: algorithm === 'ed25519' ? 0 : ALGORITHM[algorithmOf<DigestAlgorithm>(digest, usual, 'digest')],
    // 0 stands for the digest's length, so that a salt of none is said in another way.
    param1: saltLength === undefined ? 0 : saltLength + 1,
  };
}

export function rsaRecipe(options: RsaOptions, operation: 'encrypt' | 'decrypt'): KeyedRecipe {
  checkObject(options);
  const recipe = new Recipe(operation, 'rsa-oaep');
  recipe.baseCapacity = RSA_BYTES;
  return {
    recipe,
    key: operation === 'encrypt' ? publicKey(options.key) : privateKey(options.key),
    param0: ALGORITHM[algorithmOf<DigestAlgorithm>(options.digest, 'sha256', 'digest')],
    param1: 0,
  };
}

export function agreeRecipe(options: AgreeOptions): KeyedRecipe & { peer: Buffer } {
  checkObject(options);
  const peer = publicKey(options.publicKey);
  const algorithm = algorithmOf<AgreeAlgorithm>(options.algorithm, agreementOf(peer), 'agree');
  const recipe = new Recipe('agree', algorithm);
  recipe.baseCapacity = MAX_SECRET_BYTES;
  return { recipe, key: privateKey(options.privateKey), peer, param0: 0, param1: 0 };
}

function agreementOf(spki: Buffer): AgreeAlgorithm | undefined {
  const key: KeyObject = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  if (key.asymmetricKeyType === 'x25519') return 'x25519';
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (curve === 'prime256v1') return 'ecdh-p256';
  return curve === 'secp384r1' ? 'ecdh-p384' : undefined;
}

/** What a session for such a key is opened for: `encrypt` and `decrypt` have different keys. */
export function purposeOf(recipe: Recipe): number {
  return recipe.operation === OPCODE.decrypt ? OPCODE.decrypt : recipe.operation;
}
