import type { AeadAlgorithm } from '../abi/algorithms.js';
import { Failure } from './failure.js';

/*
 * The format of encrypted files, byte by byte: docs/encrypted-files.md. Chunks follow the STREAM construction (Hoang,
 * Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance, 2015).
 */

export const SEALED_SUFFIX = '.wdx';

/** Plaintext of each chunk but the last, which may be shorter. */
export const CHUNK_BYTES = 64 * 1024;
/** What each chunk is longer by when it is encrypted. */
export const TAG_BYTES = 16;
/** The counter in a nonce has 32 bits. */
export const MAX_CHUNKS = 2 ** 32;

export const KEY_BYTES = 32;
export const SALT_BYTES = 32;
export const PREFIX_BYTES = 7;
export const COMMITMENT_BYTES = 32;

/** Not ASCII, and with both line ends: what is copied as text is no longer a file of this format. */
const MAGIC = Buffer.from('89574458' + '0d0a1a0a', 'hex');
const VERSION = 1;
const OFFSET = {
  version: 8,
  algorithm: 9,
  kdf: 10,
  log2Cost: 11,
  r: 12,
  p: 16,
  salt: 20,
  prefix: 52,
} as const;
/** What the key is derived with; the commitment follows. */
export const BOUND_BYTES = OFFSET.prefix + PREFIX_BYTES;
export const HEADER_BYTES = BOUND_BYTES + COMMITMENT_BYTES;

const ALGORITHM_IDS = { 'aes-256-gcm': 1, 'chacha20-poly1305': 2 } as const satisfies Partial<
  Record<AeadAlgorithm, number>
>;
export type SealAlgorithm = keyof typeof ALGORITHM_IDS;
export const SEAL_ALGORITHMS = Object.keys(ALGORITHM_IDS) as SealAlgorithm[];

const KDF_NONE = 0;
const KDF_SCRYPT = 1;

/** Parameters of scrypt (RFC 7914). */
export interface ScryptCost {
  /** N is two to the power of this. */
  log2Cost: number;
  r: number;
  p: number;
}

export const DEFAULT_LOG2_COST = 17;
export const MIN_LOG2_COST = 10;
export const MAX_LOG2_COST = 20;
/**
 * The most that a header may ask for, as N * r * p: a gigabyte of memory (128 * N * r bytes) and the time for going over
 * it once, some seconds. It is what `--cost 20` takes.
 */
const MAX_SCRYPT_BLOCKS = 2 ** MAX_LOG2_COST * 8;

export interface SealedHeader {
  algorithm: SealAlgorithm;
  /** How the master key comes from a passphrase; undefined where it is the key itself. */
  scrypt: ScryptCost | undefined;
  salt: Uint8Array;
  prefix: Uint8Array;
}

/** The one error for all that is wrong with an encrypted file or its key: nothing in it tells what. */
export function refused(): Failure {
  return new Failure(
    'cannot be decrypted: another key or passphrase, or not as "warpdrive encrypt" wrote it',
  );
}

/** The header without its commitment. */
export function encodeHeader({ algorithm, scrypt, salt, prefix }: SealedHeader): Buffer {
  const bytes = Buffer.alloc(BOUND_BYTES);
  MAGIC.copy(bytes);
  bytes[OFFSET.version] = VERSION;
  bytes[OFFSET.algorithm] = ALGORITHM_IDS[algorithm];
  if (scrypt) {
    bytes[OFFSET.kdf] = KDF_SCRYPT;
    bytes[OFFSET.log2Cost] = scrypt.log2Cost;
    bytes.writeUInt32BE(scrypt.r, OFFSET.r);
    bytes.writeUInt32BE(scrypt.p, OFFSET.p);
  }
  bytes.set(salt, OFFSET.salt);
  bytes.set(prefix, OFFSET.prefix);
  return bytes;
}

/**
 * Reads the first BOUND_BYTES of a header.
 * @throws the one Failure for anything that encodeHeader would not write, and for a derivation that asks for too much
 */
export function parseHeader(bytes: Buffer): SealedHeader {
  if (bytes.length < BOUND_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw refused();
  const algorithm = SEAL_ALGORITHMS.find((name) => ALGORITHM_IDS[name] === bytes[OFFSET.algorithm]);
  if (bytes[OFFSET.version] !== VERSION || !algorithm) throw refused();
  return {
    algorithm,
    scrypt: parseScrypt(bytes),
    salt: bytes.subarray(OFFSET.salt, OFFSET.salt + SALT_BYTES),
    prefix: bytes.subarray(OFFSET.prefix, OFFSET.prefix + PREFIX_BYTES),
  };
}

function parseScrypt(bytes: Buffer): ScryptCost | undefined {
  const log2Cost = bytes[OFFSET.log2Cost]!;
  const r = bytes.readUInt32BE(OFFSET.r);
  const p = bytes.readUInt32BE(OFFSET.p);
  if (bytes[OFFSET.kdf] === KDF_NONE && log2Cost === 0 && r === 0 && p === 0) return undefined;
  if (bytes[OFFSET.kdf] !== KDF_SCRYPT || log2Cost < 1 || r < 1 || p < 1) throw refused();
  // The second is a rule of scrypt itself: N is less than 2 to the power of 128 * r / 8.
  if (2 ** log2Cost * r * p > MAX_SCRYPT_BLOCKS || log2Cost >= 16 * r) throw refused();
  return { log2Cost, r, p };
}

/**
 * The nonce of a chunk: the file's prefix, the chunk's number, and whether it is the last.
 * @throws Failure beyond the last number there is
 */
export function chunkNonce(prefix: Uint8Array, index: number, isLast: boolean): Buffer {
  if (index >= MAX_CHUNKS) {
    throw new Failure('too large: an encrypted file has at most 2^32 chunks of 64 KiB, which are 256 TiB');
  }
  const nonce = Buffer.alloc(PREFIX_BYTES + 5);
  nonce.set(prefix);
  nonce.writeUInt32BE(index, PREFIX_BYTES);
  nonce[PREFIX_BYTES + 4] = isLast ? 1 : 0;
  return nonce;
}
