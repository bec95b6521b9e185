import { ALGORITHM, ALGORITHMS, type CipherAlgorithm } from '../../abi/algorithms.js';
import { CRYPTO_CIPHER } from '../../abi/virtio-crypto.js';

/** An algorithm of ours, as a virtio-crypto device knows it. */
export interface Cipher {
  name: CipherAlgorithm;
  /** Number of the cipher in requests, and of its bit in the configuration. */
  number: number;
  keyBytes: number;
  ivBytes: number;
  /** How lengths that are no multiple of a block are dealt with. */
  mode: 'block' | 'counter' | 'xts';
}

export const BLOCK_BYTES = 16;

function cipher(name: CipherAlgorithm, number: number, mode: Cipher['mode']): Cipher {
  const { keyBytes, ivBytes } = ALGORITHMS[name];
  return { name, number, keyBytes, ivBytes, mode };
}

/** What this driver can ask of a device. */
export const CIPHERS: readonly Cipher[] = [
  ...(['aes-128-ecb', 'aes-192-ecb', 'aes-256-ecb'] as const).map((name) =>
    cipher(name, CRYPTO_CIPHER.aesEcb, 'block'),
  ),
  ...(['aes-128-cbc', 'aes-192-cbc', 'aes-256-cbc'] as const).map((name) =>
    cipher(name, CRYPTO_CIPHER.aesCbc, 'block'),
  ),
  ...(['aes-128-ctr', 'aes-192-ctr', 'aes-256-ctr'] as const).map((name) =>
    cipher(name, CRYPTO_CIPHER.aesCtr, 'counter'),
  ),
  ...(['aes-128-xts', 'aes-256-xts'] as const).map((name) => cipher(name, CRYPTO_CIPHER.aesXts, 'xts')),
];

/** By the number of the algorithm. */
export const CIPHER_BY_ALGORITHM: readonly (Cipher | undefined)[] = (() => {
  const table: (Cipher | undefined)[] = [];
  for (const each of CIPHERS) table[ALGORITHM[each.name]] = each;
  return table;
})();
