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
  ['md5', 1.4],
  ['sha1', 0.5],
  ['sha224', 0.6],
  ['sha256', 0.6],
  ['sha3-', 2],
  ['sha', 1],
  ['blake2b', 0.8],
  ['blake2s', 1.2],
  ['sm3', 2.3],
  ['sm4', 8],
  ['chacha20', 0.2],
];
const AES_PER_BYTE: readonly [RegExp, number][] = [
  [/-(gcm|ctr|ecb|xts)$/, 0.2],
  [/-ccm$/, 0.7],
  [/^aes/, 1],
];

function perByte(name: AlgorithmName): number {
  const aes = AES_PER_BYTE.find(([pattern]) => name.startsWith('aes') && pattern.test(name));
  return aes?.[1] ?? PER_BYTE.find(([start]) => name.startsWith(start))?.[1] ?? 1;
}

/** Microseconds of one operation with a key. */
const WITH_KEY: readonly [OperationName[], AlgorithmName[], number][] = [
  [['sign'], ['rsassa-pkcs1-v1_5', 'rsa-pss'], 700],
  [['verify'], ['rsassa-pkcs1-v1_5', 'rsa-pss'], 40],
  [['sign', 'verify'], ['ecdsa-p256'], 40],
  [['sign', 'verify'], ['ecdsa-p384'], 600],
  [['sign', 'verify'], ['ed25519'], 60],
  [['encrypt'], ['rsa-oaep'], 40],
  [['decrypt'], ['rsa-oaep'], 700],
  [['agree'], ['x25519', 'ecdh-p256'], 150],
  [['agree'], ['ecdh-p384'], 1000],
];

/** Nanoseconds of an iteration of PBKDF2, and of a block of scrypt. */
const DERIVATIONS: readonly [AlgorithmName, number][] = [
  ['hkdf', 0],
  ['pbkdf2', 200],
  ['scrypt', 200],
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
    add(['digest'], name, 400, {});
    if (parts) add(['digest'], name, 400, { session: 'exclusive' });
  }
  for (const name of macs) {
    add(['mac'], name, 800, { session: 'shared' });
    if (parts) add(['mac'], name, 800, { session: 'exclusive' });
  }
  for (const name of ciphers) add(['encrypt', 'decrypt'], name, 700, { session: 'shared' });
  for (const [name, nsPerUnit] of DERIVATIONS) add(['derive'], name, 4000, { nsPerUnit });
  for (const [operations, names, microseconds] of WITH_KEY) {
    // A message is gone over twice by Ed25519, and a key's DER by whoever reads it: neither may change meanwhile.
    const rereads = !operations.includes('encrypt') && !operations.includes('decrypt');
    for (const name of names) add(operations, name, microseconds * 1000, { session: 'shared', rereads });
  }
  return made;
}
