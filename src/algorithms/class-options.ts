import { inspect } from 'node:util';
import {
  type AeadAlgorithm,
  ALGORITHM,
  ALGORITHMS,
  type AlgorithmClass,
  type AlgorithmFacts,
  type AlgorithmName,
  algorithmsOf,
  type ChecksumAlgorithm,
  type CipherAlgorithm,
  type CmacAlgorithm,
  type DigestAlgorithm,
  factsOf,
  type KdfAlgorithm,
} from '../abi/algorithms.js';
import { SQE_FLAG } from '../abi/queue.js';
import { ArgumentError, UnsupportedError } from '../errors.js';
import type { SecretKey } from './keys.js';
import { type Bytes, checkObject, toBytes } from './options.js';
import { Recipe } from './recipe.js';

const TAG_BYTES = 16;
/** GCM and CCM: NIST SP 800-38D 5.2.1.2, RFC 3610. */
const GCM_TAGS: readonly number[] = [4, 8, 12, 13, 14, 15, 16];
const CCM_TAGS: readonly number[] = [4, 6, 8, 10, 12, 14, 16];

export interface DigestOptions {
  /** By default sha256. */
  algorithm?: DigestAlgorithm;
}

export interface HmacOptions extends DigestOptions {
  key: SecretKey;
}

export interface CmacOptions {
  /** By default the AES of the key's size. */
  algorithm?: CmacAlgorithm;
  key: SecretKey;
}

export interface CipherOptions {
  /** By default aes-256-gcm. */
  algorithm?: CipherAlgorithm | AeadAlgorithm;
  key: SecretKey;
  /** Initialisation vector or nonce; none for ECB. Never use one twice with the same key. */
  iv?: Bytes;
  /** AEAD: data that is authenticated, and not encrypted. */
  aad?: Bytes;
  /** AEAD: bytes of the tag that follows the ciphertext; by default 16. */
  tagLength?: number;
  /** ECB and CBC: whether the last block is padded (PKCS#7), as by default. */
  padding?: boolean;
}

export interface ChecksumOptions {
  /** By default crc32. */
  algorithm?: ChecksumAlgorithm;
  /** The checksum of what comes before. Not for xxh64 and xxh3. */
  seed?: number | bigint;
}

export interface DeriveOptions {
  algorithm: KdfAlgorithm;
  /** Bytes wanted. */
  length: number;
  salt?: Bytes;
  /** hkdf, pbkdf2: by default sha256. */
  digest?: DigestAlgorithm;
  /** hkdf: binds the key to its use. */
  info?: Bytes;
  /** pbkdf2. */
  iterations?: number;
  /** scrypt: N, a power of two, by default 16384; block size r, by default 8; parallelization p, by default 1. */
  cost?: number;
  blockSize?: number;
  parallelization?: number;
}

const NO_BYTES = new Uint8Array(0);

/** An algorithm of some classes, by its name; the error lists what there is. */
export function algorithmOf<N extends AlgorithmName>(
  name: unknown,
  fallback: N | undefined,
  ...classes: AlgorithmClass[]
): N {
  if (name === undefined && fallback !== undefined) return fallback;
  if (typeof name === 'string' && Object.hasOwn(ALGORITHMS, name)) {
    if (classes.includes(factsOf(name as AlgorithmName).class)) return name as N;
  }
  const there = classes.flatMap((each) => algorithmsOf(each));
  throw new UnsupportedError(`there is no such algorithm: ${inspect(name)}`, {
    hint: `there are ${there.join(', ')}`,
  });
}

function wholeNumber(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw new ArgumentError(`${name} must be a whole number from ${min} to ${max}`);
}

/** Recipes that have nothing but an algorithm, made once. */
const digests = new Map<unknown, Recipe>();
const checksums = new Map<unknown, Recipe>();

export function digestRecipe(options: DigestOptions): Recipe {
  checkObject(options);
  const known = digests.get(options.algorithm);
  if (known) return known;
  const algorithm = algorithmOf<DigestAlgorithm>(options.algorithm, 'sha256', 'digest');
  const recipe = new Recipe('digest', algorithm);
  recipe.baseCapacity = factsOf(algorithm).outputBytes!;
  digests.set(options.algorithm, recipe);
  return recipe;
}

export function hmacRecipe(options: DigestOptions): Recipe {
  checkObject(options);
  return macRecipe(algorithmOf<DigestAlgorithm>(options.algorithm, 'sha256', 'digest'));
}

export function cmacRecipe(options: Partial<CmacOptions>, keyBytes: number): Recipe {
  checkObject(options);
  const bySize = algorithmsOf('mac').find((name) => factsOf(name).keyBytes === keyBytes);
  return macRecipe(algorithmOf<CmacAlgorithm>(options.algorithm, bySize ?? 'aes-256-cmac', 'mac'));
}

function macRecipe(algorithm: DigestAlgorithm | CmacAlgorithm): Recipe {
  const recipe = new Recipe('mac', algorithm);
  recipe.baseCapacity = factsOf(algorithm).outputBytes!;
  return recipe;
}

/** What a cipher's requests have in common, either way. */
export interface CipherRecipes {
  algorithm: CipherAlgorithm | AeadAlgorithm;
  facts: AlgorithmFacts;
  isAead: boolean;
  /** What is usual. */
  ivBytes: number;
  tagBytes: number;
  encrypt: Recipe;
  decrypt: Recipe;
}

export function cipherRecipes(options: Partial<CipherOptions>): CipherRecipes {
  checkObject(options);
  const algorithm = algorithmOf<CipherAlgorithm | AeadAlgorithm>(
    options.algorithm,
    'aes-256-gcm',
    'cipher',
    'aead',
  );
  const facts: AlgorithmFacts = factsOf(algorithm);
  const isAead = facts.class === 'aead';
  const tagBytes = tagLength(algorithm, isAead, options.tagLength);
  const padded = options.padding ?? true;
  if (typeof padded !== 'boolean') throw new ArgumentError('padding is true or false');
  if (!padded && facts.pads !== true) {
    throw new ArgumentError(`${algorithm} pads nothing`, { hint: 'leave padding out' });
  }
  const made = { encrypt: new Recipe('encrypt', algorithm), decrypt: new Recipe('decrypt', algorithm) };
  for (const recipe of [made.encrypt, made.decrypt]) {
    recipe.grows = true;
    if (isAead) recipe.param1 = tagBytes;
    if (!padded) recipe.flags = SQE_FLAG.unpadded;
  }
  made.encrypt.baseCapacity = isAead ? tagBytes : facts.pads && padded ? facts.blockBytes! : 0;
  made.decrypt.baseCapacity = isAead ? -tagBytes : 0;
  return { algorithm, facts, isAead, ivBytes: facts.ivBytes ?? 0, tagBytes, ...made };
}

function tagLength(algorithm: AlgorithmName, isAead: boolean, given: unknown): number {
  if (given === undefined) return isAead ? TAG_BYTES : 0;
  if (!isAead) throw new ArgumentError(`${algorithm} has no tag`);
  const allowed = algorithm.endsWith('-ccm')
    ? CCM_TAGS
    : algorithm === 'chacha20-poly1305'
      ? [TAG_BYTES]
      : GCM_TAGS;
  if (allowed.includes(given as number)) return given as number;
  throw new ArgumentError(`a tag of ${algorithm} has ${allowed.join(', ')} bytes, not ${inspect(given)}`);
}

/** The parameters of one request of a cipher: its IV, then the data that is only authenticated. */
export function cipherParameters(
  { algorithm, facts, isAead }: CipherRecipes,
  iv: Bytes | undefined,
  aad: Bytes | undefined,
): { aux: Uint8Array; ivBytes: number } {
  const { minIvBytes = 0, maxIvBytes = 0 } = facts;
  if (iv === undefined && minIvBytes > 0) {
    throw new ArgumentError(`${algorithm} needs an iv`, {
      hint: `of ${facts.ivBytes} bytes, never used twice`,
    });
  }
  const nonce = iv === undefined ? NO_BYTES : toBytes(iv);
  const { byteLength } = nonce;
  if (byteLength < minIvBytes || byteLength > maxIvBytes) {
    const range = minIvBytes === maxIvBytes ? `${minIvBytes}` : `${minIvBytes} to ${maxIvBytes}`;
    throw new ArgumentError(`an iv of ${algorithm} has ${range} bytes, not ${byteLength}`);
  }
  if (aad === undefined) return { aux: nonce, ivBytes: byteLength };
  if (!isAead) throw new ArgumentError(`${algorithm} authenticates nothing`, { hint: 'leave aad out' });
  const data = toBytes(aad);
  const aux = new Uint8Array(byteLength + data.byteLength);
  aux.set(nonce);
  aux.set(data, byteLength);
  return { aux, ivBytes: byteLength };
}

export function checksumRecipe(options: ChecksumOptions): Recipe {
  checkObject(options);
  const { seed } = options;
  const known = seed === undefined ? checksums.get(options.algorithm) : undefined;
  if (known) return known;
  const algorithm = algorithmOf<ChecksumAlgorithm>(options.algorithm, 'crc32', 'checksum');
  const recipe = new Recipe('checksum', algorithm);
  if (seed === undefined) {
    checksums.set(options.algorithm, recipe);
    return recipe;
  }
  const bits = factsOf(algorithm).outputBytes! * 8;
  const wide = bits === 64;
  if (algorithm === 'xxh64' || algorithm === 'xxh3') {
    throw new ArgumentError(`${algorithm} cannot go on from a checksum`, { hint: 'leave seed out' });
  }
  if (typeof seed !== (wide ? 'bigint' : 'number') || BigInt.asUintN(bits, BigInt(seed)) !== BigInt(seed)) {
    throw new ArgumentError(`seed is a ${algorithm}: a ${wide ? 'bigint' : 'number'} of ${bits} bits`);
  }
  recipe.param0 = Number(BigInt.asIntN(32, BigInt(seed)));
  recipe.param1 = Number(BigInt.asIntN(32, BigInt(seed) >> 32n));
  return recipe;
}

export function deriveRecipe(options: DeriveOptions): { recipe: Recipe; aux: Uint8Array } {
  checkObject(options);
  const algorithm = algorithmOf<KdfAlgorithm>(options.algorithm, undefined, 'kdf');
  const recipe = new Recipe('derive', algorithm);
  recipe.secret = true;
  recipe.baseCapacity = wholeNumber('length', options.length, 1, 65_536);
  const salt = options.salt === undefined ? NO_BYTES : toBytes(options.salt);
  if (algorithm === 'scrypt') {
    recipe.param0 = wholeNumber('cost', options.cost ?? 16_384, 2, 2 ** 30);
    if ((recipe.param0 & (recipe.param0 - 1)) !== 0) throw new ArgumentError('cost must be a power of two');
    recipe.param1 = wholeNumber('blockSize', options.blockSize ?? 8, 1, 65_536);
    recipe.param2 = wholeNumber('parallelization', options.parallelization ?? 1, 1, 65_536);
    return { recipe, aux: salt };
  }
  recipe.level = ALGORITHM[algorithmOf<DigestAlgorithm>(options.digest, 'sha256', 'digest')];
  if (algorithm === 'pbkdf2') {
    recipe.param1 = wholeNumber('iterations', options.iterations, 1, 2 ** 31 - 1);
    return { recipe, aux: salt };
  }
  const info = options.info === undefined ? NO_BYTES : toBytes(options.info);
  recipe.param0 = salt.byteLength;
  return { recipe, aux: Buffer.concat([salt, info]) };
}
