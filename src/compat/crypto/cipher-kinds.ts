import { type CipherRecipes, cipherRecipes } from '../../algorithms/class-options.js';

const NAMES = ['gcm', 'cbc', 'ctr'].flatMap((mode) =>
  [128, 192, 256].map((bits) => `aes-${bits}-${mode}` as 'aes-128-gcm' | 'aes-128-cbc'),
);

/** Ciphers whose keys are known again, by the names that programs give them: in small letters or in capitals. */
export const CIPHER_KINDS = new Map<unknown, CipherRecipes>(
  NAMES.flatMap((algorithm) => {
    const recipes = cipherRecipes({ algorithm });
    return [
      [algorithm, recipes],
      [algorithm.toUpperCase(), recipes],
    ];
  }),
);
