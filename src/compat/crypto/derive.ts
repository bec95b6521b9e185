import { KeyObject } from 'node:crypto';
import type { Accelerator } from '../../accelerator/accelerator.js';
import type { DeriveOptions } from '../../algorithms/class-options.js';
import { ownCopy } from '../../algorithms/own-copy.js';
import { type Begun, copyOf, isBetween, makeAsync } from './async-call.js';
import type { CryptoReason } from './counters.js';
import { digestNamed } from './digest-names.js';

/* Derivations with a callback: the accelerator keeps them out of the pool that file access and DNS share. */

/** What one request may ask for: docs/device-spec.md, "derive". */
const MAX_BYTES = 65_536;
const MAX_ITERATIONS = 10_000_000;
const MAX_SCRYPT_BLOCKS = 2 ** 23;
/** Measured: what is shorter is done sooner in node:crypto's pool; what is longer had better not be there. */
export const LEAST_ITERATIONS = 20_000;
const SMALLEST_DIGEST_BYTES = 16;
const MAX_INT = 2 ** 31 - 1;
/** As node:crypto has them. */
const MAX_INFO_BYTES = 1024;
const SCRYPT_COST = 16_384;
const SCRYPT_MEMORY = 32 * 1024 * 1024;

export const pbkdf2 = makeAsync('pbkdf2', [5], (accelerator, given) => {
  const [password, salt, iterations, length, digest] = given;
  const algorithm = digestNamed(digest);
  if (algorithm === undefined) return 'algorithm';
  if (!isBetween(iterations, 1, MAX_INT) || !isBetween(length, 1, MAX_INT)) return 'argument';
  const blocks = Math.ceil(length / SMALLEST_DIGEST_BYTES);
  if (length > MAX_BYTES || iterations * blocks > MAX_ITERATIONS) return 'size';
  if (iterations * blocks < LEAST_ITERATIONS) return 'no gain';
  const options = { algorithm: 'pbkdf2', digest: algorithm, iterations, length } as const;
  return derive(accelerator, options, password, salt, (secret, salted) => [
    secret,
    salted,
    iterations,
    length,
    digest,
  ]);
});

export const scrypt = makeAsync('scrypt', [4, 3], (accelerator, given) => {
  const [password, salt, length, options] = given;
  if (!isBetween(length, 1, MAX_INT)) return 'argument';
  const cost = scryptCost(options);
  if (typeof cost === 'string') return cost;
  if (length > MAX_BYTES) return 'size';
  return derive(accelerator, { algorithm: 'scrypt', length, ...cost }, password, salt, (secret, salted) => [
    secret,
    salted,
    length,
    { ...(options as object) },
  ]);
});

type ScryptCost = Required<Pick<DeriveOptions, 'cost' | 'blockSize' | 'parallelization'>>;

/** What an scrypt costs, if it is no more than node:crypto and one request allow. */
function scryptCost(options: unknown): ScryptCost | CryptoReason {
  if (options !== undefined && (typeof options !== 'object' || options === null)) return 'argument';
  const { N, r, p, maxmem, cost, blockSize, parallelization } = (options ?? {}) as Record<string, unknown>;
  const isTwice = [
    [N, cost],
    [r, blockSize],
    [p, parallelization],
  ].some(([short, long]) => short !== undefined && long !== undefined);
  if (isTwice) return 'argument';
  const made = {
    cost: orElse(N, orElse(cost, SCRYPT_COST)),
    blockSize: orElse(r, orElse(blockSize, 8)),
    parallelization: orElse(p, orElse(parallelization, 1)),
  };
  const memory = orElse(maxmem, SCRYPT_MEMORY);
  if (!isBetween(made.cost, 2, 2 ** 30) || (made.cost & (made.cost - 1)) !== 0) return 'argument';
  if (!isBetween(made.blockSize, 1, 65_535) || !isBetween(made.parallelization, 1, 65_535)) return 'argument';
  if (!isBetween(memory, 1, Number.MAX_SAFE_INTEGER)) return 'argument';
  const { cost: n, blockSize: b, parallelization: ways } = made as ScryptCost;
  // RFC 7914, 2: the cost is less than 2 to the power of 16 blocks' size.
  if (16 * b < 31 && n >= 2 ** (16 * b)) return 'argument';
  // As OpenSSL counts it, which refuses more than that.
  if (128 * b * (n + 2 + ways) > memory) return 'argument';
  return n * b * ways > MAX_SCRYPT_BLOCKS ? 'size' : (made as ScryptCost);
}

/** A value, or what is meant when there is none: null is a value, and a wrong one. */
function orElse(value: unknown, otherwise: unknown): unknown {
  return value === undefined ? otherwise : value;
}

export const hkdf = makeAsync('hkdf', [5], (accelerator, given) => {
  const [digest, key, salt, info, length] = given;
  const algorithm = digestNamed(digest);
  if (algorithm === undefined) return 'algorithm';
  if (!isBetween(length, 1, MAX_INT)) return 'argument';
  // What is longer than this may be too long for the digest.
  if (length > 255 * SMALLEST_DIGEST_BYTES) return 'size';
  const material = key instanceof KeyObject ? exported(key) : key;
  const bound = copyOf(info);
  if (!bound || bound.byteLength > MAX_INFO_BYTES) return 'argument';
  const options = { algorithm: 'hkdf', digest: algorithm, info: bound, length } as const;
  const begun = derive(accelerator, options, material, salt, (secret, salted) => [
    digest,
    secret,
    salted,
    bound,
    length,
  ]);
  if (key instanceof KeyObject) (material as Buffer | undefined)?.fill(0);
  if (typeof begun === 'string') return begun;
  return { ...begun, result: begun.result.then((bits) => (bits as Buffer).buffer) };
});

function exported(key: KeyObject): Buffer | undefined {
  return key.type === 'secret' ? key.export() : undefined;
}

/** HKDF is done sooner in this thread than it could be sent to another: in microseconds. */
async function run(accelerator: Accelerator, secret: Uint8Array, options: DeriveOptions): Promise<Buffer> {
  return options.algorithm === 'hkdf'
    ? accelerator.deriveKeySync(secret, options)
    : accelerator.deriveKey(secret, options);
}

function derive(
  accelerator: Accelerator,
  options: DeriveOptions,
  password: unknown,
  salt: unknown,
  again: (secret: Uint8Array, salt: Uint8Array) => unknown[],
): Begun | CryptoReason {
  const secret = copyOf(password);
  const salted = copyOf(salt);
  if (!secret || !salted) return 'argument';
  const result = run(accelerator, secret, { ...options, salt: salted }).then(ownCopy);
  return { result, given: again(secret, salted), secrets: [secret] };
}
