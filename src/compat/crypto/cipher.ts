import type { CipherRecipes } from '../../algorithms/class-options.js';
import { CIPHER_KINDS } from './cipher-kinds.js';
import { Counter, type CryptoReason } from './counters.js';
import { PREFERS_OBJECTS } from './engines.js';
import { isBytes, lengthOf } from './is-bytes.js';
import { type AnyCipher, type CipherWork, makeLightCipher } from './light-cipher.js';
import { type KnownKey, RecentKeys } from './recent-keys.js';
import { stock } from './stock.js';
import { Worth } from './worth.js';

type Create = (algorithm: unknown, key: unknown, iv: unknown, options?: unknown) => AnyCipher;

const keys = new RecentKeys();

/** One message. */
class Message implements CipherWork {
  readonly counter: Counter;
  readonly worth: Worth;
  readonly recipes: CipherRecipes;
  readonly key: KnownKey;
  readonly iv: Uint8Array;
  /** Node:crypto's object takes shorter tags, unless it is told. */
  readonly #options: { authTagLength: number } | undefined;

  constructor(
    counter: Counter,
    worth: Worth,
    recipes: CipherRecipes,
    key: KnownKey,
    iv: Uint8Array,
    options: { authTagLength: number } | undefined,
  ) {
    this.counter = counter;
    this.worth = worth;
    this.recipes = recipes;
    this.key = key;
    this.iv = new Uint8Array(iv);
    this.#options = options;
  }

  makeNode(): AnyCipher {
    return stock[this.counter.name]!(this.recipes.algorithm, this.key.node, this.iv, this.#options);
  }
}

export const createCipheriv = makeCreate('createCipheriv', true);
export const createDecipheriv = makeCreate('createDecipheriv', false);

function makeCreate(name: 'createCipheriv' | 'createDecipheriv', encrypts: boolean): Create {
  const node = stock[name] as Create;
  const Light = makeLightCipher(node('aes-128-gcm', Buffer.alloc(16), Buffer.alloc(12)), encrypts);
  const counter = new Counter(name);
  const worth = new Worth();
  return (algorithm, key, iv, options) => {
    const recipes = CIPHER_KINDS.get(algorithm);
    // Options may say how a text is to be read.
    const isPlainKey = typeof key !== 'string' || options === undefined;
    const known = recipes && isPlainKey ? keys.find(recipes.encrypt, key, recipes.facts.keyBytes) : undefined;
    if (!recipes || !known) {
      counter.node(recipes ? 'key' : 'algorithm');
      return node(algorithm, key, iv, options);
    }
    const reason = reasonOf(recipes, known, iv, options) ?? (worth.isWorthIt() ? undefined : 'no gain');
    if (reason === undefined) {
      const tag = options === undefined ? undefined : { authTagLength: recipes.tagBytes };
      return new Light(new Message(counter, worth, recipes, known, iv as Uint8Array, tag));
    }
    counter.node(reason);
    return node(algorithm, PREFERS_OBJECTS ? known.node : key, iv, options);
  };
}

/** Why an engine is not asked. Others than GCM are as fast with node:crypto, once it has the key. */
function reasonOf(
  recipes: CipherRecipes,
  known: KnownKey,
  iv: unknown,
  options: unknown,
): CryptoReason | undefined {
  if (!recipes.isAead) return 'no gain';
  if (options !== undefined && !hasUsualTag(recipes, options)) return 'option';
  if (!isBytes(iv) || lengthOf(iv) !== recipes.ivBytes) return 'argument';
  return known.session ? undefined : 'no gain';
}

/** Whether options say nothing but how long the tag is, which is as long as any. */
function hasUsualTag(recipes: CipherRecipes, options: unknown): boolean {
  if (typeof options !== 'object' || options === null) return false;
  const names = Object.keys(options);
  return (
    names.length === 1 &&
    names[0] === 'authTagLength' &&
    (options as { authTagLength: unknown }).authTagLength === recipes.tagBytes
  );
}
