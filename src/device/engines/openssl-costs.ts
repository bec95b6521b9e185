import type { AlgorithmName } from '../../abi/algorithms.js';
import type { OperationName } from '../../abi/queue.js';
import type { Capability } from './engine.js';

/*
 * What cryptography costs, roughly: nanoseconds for a byte and for the rest of a request, of OpenSSL on x86-64 with
 * AES-NI. The twin in node:crypto makes its objects anew for each request, and comes with a higher fixed cost.
 */

const TWIN_FIXED_NS = 6000;

/** Nanoseconds for a byte, by how an algorithm's name begins; the first that fits. */
const PER_BYTE: readonly [string, number][] = [
  ['md5', 1.7],
  ['sha1', 0.7],
  ['sha224', 0.8],
  ['sha256', 0.8],
  ['sha3-', 3],
  ['sha', 1.8],
  ['blake2b', 1.3],
  ['blake2s', 2],
  ['sm3', 4.5],
  ['sm4', 10],
  ['chacha20', 0.6],
];
const AES_PER_BYTE: readonly [RegExp, number][] = [
  [/-(gcm|ctr|ecb|xts)$/, 0.3],
  [/-ccm$/, 1.2],
  [/^aes/, 1],
];

function perByte(name: AlgorithmName): number {
  const aes = AES_PER_BYTE.find(([pattern]) => name.startsWith('aes') && pattern.test(name));
  return aes?.[1] ?? PER_BYTE.find(([start]) => name.startsWith(start))?.[1] ?? 1;
}

/** Microseconds of one operation with a key. */
const WITH_KEY: readonly [OperationName[], AlgorithmName[], number][] = [
  [['sign'], ['rsassa-pkcs1-v1_5', 'rsa-pss'], 1500],
  [['verify'], ['rsassa-pkcs1-v1_5', 'rsa-pss'], 50],
  [['sign', 'verify'], ['ecdsa-p256'], 80],
  [['sign', 'verify'], ['ecdsa-p384'], 1000],
  [['sign', 'verify'], ['ed25519'], 120],
  [['encrypt'], ['rsa-oaep'], 50],
  [['decrypt'], ['rsa-oaep'], 1500],
  [['agree'], ['x25519', 'ecdh-p256'], 150],
  [['agree'], ['ecdh-p384'], 1000],
];

/** Nanoseconds of an iteration of PBKDF2, and of a block of scrypt. */
const DERIVATIONS: readonly [AlgorithmName, number][] = [
  ['hkdf', 0],
  ['pbkdf2', 500],
  ['scrypt', 300],
];

/** Algorithms that an engine has found. */
export interface CryptoAlgorithms {
  digests: readonly AlgorithmName[];
  macs: readonly AlgorithmName[];
  ciphers: readonly AlgorithmName[];
}

/** The capabilities of an engine that has these, and whatever needs no digest or cipher of its own. */
export function cryptoCapabilities(
  rank: number,
  { digests, macs, ciphers }: CryptoAlgorithms,
  parts: boolean,
): Capability[] {
  const extraNs = parts ? 0 : TWIN_FIXED_NS;
  const made: Capability[] = [];
  const add = (
    operations: OperationName[],
    name: AlgorithmName,
    fixedNs: number,
    rest: Partial<Capability>,
  ): void => {
    const fixed = fixedNs + extraNs;
    made.push({ operations, algorithms: [name], rank, nsPerByte: perByte(name), fixedNs: fixed, ...rest });
  };
  for (const name of digests) {
    add(['digest'], name, 800, {});
    if (parts) add(['digest'], name, 800, { session: 'exclusive' });
  }
  for (const name of macs) {
    add(['mac'], name, 1500, { session: 'shared' });
    if (parts) add(['mac'], name, 1500, { session: 'exclusive' });
  }
  for (const name of ciphers) add(['encrypt', 'decrypt'], name, 1200, { session: 'shared' });
  for (const [name, nsPerUnit] of DERIVATIONS) add(['derive'], name, 4000, { nsPerUnit, rereads: true });
  for (const [operations, names, microseconds] of WITH_KEY) {
    // A signature of data that changes meanwhile, or a key that does, must not get the better of the library.
    for (const name of names)
      add(operations, name, microseconds * 1000, { session: 'shared', rereads: true });
  }
  return made;
}
