/*
 * Every algorithm, by the name that an application uses, with the number it has in a submission and what is fixed about
 * it. Names are those of node:crypto, or of the RFC where node:crypto has none; of compression formats, those of the
 * Compression Streams standard: `deflate` is zlib's format (RFC 1950), `deflate-raw` is RFC 1951, `br` is RFC 7932.
 *
 * A number is never used again for something else: it is what both ends of a queue agree on.
 */

export type AlgorithmClass =
  | 'compress'
  | 'digest'
  | 'mac'
  | 'cipher'
  | 'aead'
  | 'checksum'
  | 'kdf'
  | 'sign'
  | 'encrypt'
  | 'agree';

/** What is fixed about an algorithm. Sizes in bytes. */
export interface AlgorithmFacts {
  id: number;
  class: AlgorithmClass;
  /** Of a digest, a MAC, or a checksum. */
  outputBytes?: number;
  /** Of a key, where there is one size. XTS takes two keys in one. */
  keyBytes?: number;
  /** Of an initialisation vector or nonce: what is usual, and what is allowed. */
  ivBytes?: number;
  minIvBytes?: number;
  maxIvBytes?: number;
  /** What the length of the input must be a multiple of when nothing is padded; 1 for anything. */
  blockBytes?: number;
  /** Ciphers: whether the last block is padded (PKCS#7). */
  pads?: boolean;
}

const compress = (id: number) => ({ id, class: 'compress' }) as const;
const digest = (id: number, outputBytes: number, blockBytes: number) =>
  ({ id, class: 'digest', outputBytes, blockBytes }) as const;
const mac = (id: number, outputBytes: number, keyBytes: number) =>
  ({ id, class: 'mac', outputBytes, keyBytes }) as const;
const cipher = (id: number, keyBytes: number, ivBytes: number, blockBytes = 1, pads = false) =>
  ({
    id,
    class: 'cipher',
    keyBytes,
    ivBytes,
    minIvBytes: ivBytes,
    maxIvBytes: ivBytes,
    blockBytes,
    pads,
  }) as const;
const aead = (id: number, keyBytes: number, minIvBytes: number, maxIvBytes: number) =>
  ({ id, class: 'aead', keyBytes, ivBytes: 12, minIvBytes, maxIvBytes, blockBytes: 1 }) as const;
const checksum = (id: number, outputBytes: number) => ({ id, class: 'checksum', outputBytes }) as const;

export const ALGORITHMS = {
  'deflate-raw': compress(1),
  deflate: compress(2),
  gzip: compress(3),
  zstd: compress(4),
  lz4: compress(5),
  'lz4-block': compress(6),
  br: compress(7),

  md5: digest(32, 16, 64),
  sha1: digest(33, 20, 64),
  sha224: digest(34, 28, 64),
  sha256: digest(35, 32, 64),
  sha384: digest(36, 48, 128),
  sha512: digest(37, 64, 128),
  'sha512-224': digest(38, 28, 128),
  'sha512-256': digest(39, 32, 128),
  'sha3-224': digest(40, 28, 144),
  'sha3-256': digest(41, 32, 136),
  'sha3-384': digest(42, 48, 104),
  'sha3-512': digest(43, 64, 72),
  blake2b512: digest(44, 64, 128),
  blake2s256: digest(45, 32, 64),
  sm3: digest(46, 32, 64),

  'aes-128-cmac': mac(56, 16, 16),
  'aes-192-cmac': mac(57, 16, 24),
  'aes-256-cmac': mac(58, 16, 32),

  'aes-128-ecb': cipher(64, 16, 0, 16, true),
  'aes-192-ecb': cipher(65, 24, 0, 16, true),
  'aes-256-ecb': cipher(66, 32, 0, 16, true),
  'aes-128-cbc': cipher(67, 16, 16, 16, true),
  'aes-192-cbc': cipher(68, 24, 16, 16, true),
  'aes-256-cbc': cipher(69, 32, 16, 16, true),
  'aes-128-ctr': cipher(70, 16, 16),
  'aes-192-ctr': cipher(71, 24, 16),
  'aes-256-ctr': cipher(72, 32, 16),
  'aes-128-xts': cipher(73, 32, 16),
  'aes-256-xts': cipher(74, 64, 16),
  'aes-128-cfb': cipher(75, 16, 16),
  'aes-192-cfb': cipher(76, 24, 16),
  'aes-256-cfb': cipher(77, 32, 16),
  'aes-128-ofb': cipher(78, 16, 16),
  'aes-192-ofb': cipher(79, 24, 16),
  'aes-256-ofb': cipher(80, 32, 16),
  chacha20: cipher(81, 32, 16),
  'sm4-ecb': cipher(82, 16, 0, 16, true),
  'sm4-cbc': cipher(83, 16, 16, 16, true),
  'sm4-ctr': cipher(84, 16, 16),

  'aes-128-gcm': aead(96, 16, 1, 64),
  'aes-192-gcm': aead(97, 24, 1, 64),
  'aes-256-gcm': aead(98, 32, 1, 64),
  'aes-128-ccm': aead(99, 16, 7, 13),
  'aes-192-ccm': aead(100, 24, 7, 13),
  'aes-256-ccm': aead(101, 32, 7, 13),
  'chacha20-poly1305': aead(102, 32, 12, 12),
  'sm4-gcm': aead(103, 16, 1, 64),
  'sm4-ccm': aead(104, 16, 7, 13),

  /** ISO 3309, as in gzip; the Castagnoli polynomial of iSCSI (RFC 3720). */
  crc32: checksum(128, 4),
  crc32c: checksum(129, 4),
  /** ECMA-182's polynomial 0x42f0e1eba9ea3693, reflected, as in xz. */
  'crc64-ecma': checksum(130, 8),
  adler32: checksum(131, 4),
  xxh64: checksum(132, 8),
  xxh3: checksum(133, 8),

  hkdf: { id: 144, class: 'kdf' },
  pbkdf2: { id: 145, class: 'kdf' },
  scrypt: { id: 146, class: 'kdf' },

  'rsassa-pkcs1-v1_5': { id: 160, class: 'sign' },
  'rsa-pss': { id: 161, class: 'sign' },
  'ecdsa-p256': { id: 162, class: 'sign' },
  'ecdsa-p384': { id: 163, class: 'sign' },
  ed25519: { id: 164, class: 'sign' },
  'rsa-oaep': { id: 168, class: 'encrypt' },
  x25519: { id: 172, class: 'agree' },
  'ecdh-p256': { id: 173, class: 'agree' },
  'ecdh-p384': { id: 174, class: 'agree' },
} as const satisfies Record<string, AlgorithmFacts>;

export type AlgorithmName = keyof typeof ALGORITHMS;

/** The names of one class. */
type OfClass<C extends AlgorithmClass> = {
  [N in AlgorithmName]: (typeof ALGORITHMS)[N]['class'] extends C ? N : never;
}[AlgorithmName];

export type CompressionAlgorithm = OfClass<'compress'>;
export type DigestAlgorithm = OfClass<'digest'>;
export type CmacAlgorithm = OfClass<'mac'>;
export type CipherAlgorithm = OfClass<'cipher'>;
export type AeadAlgorithm = OfClass<'aead'>;
export type ChecksumAlgorithm = OfClass<'checksum'>;
export type KdfAlgorithm = OfClass<'kdf'>;
export type SignAlgorithm = OfClass<'sign'>;
export type AgreeAlgorithm = OfClass<'agree'>;

export const ALGORITHM_NAMES = Object.keys(ALGORITHMS) as AlgorithmName[];

/** Numbers by name. */
export const ALGORITHM = Object.fromEntries(ALGORITHM_NAMES.map((name) => [name, ALGORITHMS[name].id])) as {
  readonly [N in AlgorithmName]: number;
};

const BY_ID: (AlgorithmName | undefined)[] = [];
for (const name of ALGORITHM_NAMES) BY_ID[ALGORITHM[name]] = name;

/** The algorithms of a class, in order of their numbers. */
export function algorithmsOf<C extends AlgorithmClass>(wanted: C): OfClass<C>[] {
  return ALGORITHM_NAMES.filter((name) => ALGORITHMS[name].class === wanted) as OfClass<C>[];
}

/** What is fixed about an algorithm. */
export function factsOf(name: AlgorithmName): AlgorithmFacts {
  return ALGORITHMS[name];
}

/** The name of an algorithm number, or undefined. */
export function algorithmName(id: number): AlgorithmName | undefined {
  return BY_ID[id];
}

export const COMPRESSION_ALGORITHMS = algorithmsOf('compress');

/** The deflate family: streams that are cut into pieces, and read by one decoder. */
export type DeflateAlgorithm = 'deflate-raw' | 'deflate' | 'gzip';
export const DEFLATE_ALGORITHMS = ['deflate-raw', 'deflate', 'gzip'] as const;

export function isDeflate(algorithm: CompressionAlgorithm): algorithm is DeflateAlgorithm {
  return (DEFLATE_ALGORITHMS as readonly string[]).includes(algorithm);
}

export const MIN_LEVEL = 0;
/** Of the deflate family. */
export const MAX_LEVEL = 12;
/** Of any format: zstd's. */
export const MAX_ANY_LEVEL = 22;
/** What node:zlib and gzip take when nothing is said. */
export const DEFAULT_LEVEL = 6;
/**
 * By format, when nothing is said: what each one's own program takes. Only Brotli's takes its highest, 11, at which a
 * megabyte takes seconds; 6 costs about what gzip's 6 does.
 */
export const DEFAULT_LEVELS: Readonly<Record<CompressionAlgorithm, number>> = {
  'deflate-raw': DEFAULT_LEVEL,
  deflate: DEFAULT_LEVEL,
  gzip: DEFAULT_LEVEL,
  zstd: 3,
  lz4: 1,
  'lz4-block': 1,
  br: 6,
};

/**
 * Whether an input is cut into parts that are compressed by themselves: the deflate family has blocks for that, and
 * frames of zstd and lz4 that follow each other are one stream.
 */
export function isCuttable(algorithm: CompressionAlgorithm): boolean {
  return isDeflate(algorithm) || algorithm === 'zstd' || algorithm === 'lz4';
}
