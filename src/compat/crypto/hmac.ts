import type { DigestAlgorithm } from '../../abi/algorithms.js';
import { STATUS } from '../../abi/queue.js';
import { hmacRecipe } from '../../algorithms/class-options.js';
import { ownCopy } from '../../algorithms/own-copy.js';
import type { Recipe } from '../../algorithms/recipe.js';
import { callerRunner } from '../caller-runner.js';
import { Counter } from './counters.js';
import { digestNamed } from './digest-names.js';
import type { TextEncoding } from './encodings.js';
import { PREFERS_OBJECTS } from './engines.js';
import { type AnyDigest, type DigestWork, makeLightDigest } from './light-digest.js';
import { type KnownKey, RecentKeys } from './recent-keys.js';
import { stock } from './stock.js';
import { Worth } from './worth.js';

const nodeCreateHmac = stock['createHmac'] as (
  algorithm: unknown,
  key: unknown,
  options?: unknown,
) => AnyDigest;

const LightHmac = makeLightDigest(nodeCreateHmac('sha256', 'key'));
const counter = new Counter('createHmac');
const worth = new Worth();

/** Measured: of more, making an object is what costs least. */
const MOST_BYTES = 4096;

const keys = new RecentKeys();
const recipes = new Map<DigestAlgorithm, Recipe>();

/** A MAC by an engine of the calling thread, with a key that is set up. */
class HmacWork implements DigestWork {
  readonly counter = counter;
  readonly worth = worth;
  readonly mostBytes = MOST_BYTES;
  readonly mostText = MOST_BYTES;
  readonly #algorithm: string;
  readonly #recipe: Recipe;
  readonly #key: KnownKey;

  constructor(algorithm: string, recipe: Recipe, key: KnownKey) {
    this.#algorithm = algorithm;
    this.#recipe = recipe;
    this.#key = key;
  }

  makeNode(): AnyDigest {
    return nodeCreateHmac(this.#algorithm, this.#key.node);
  }

  finish(data: string | Buffer, encoding: TextEncoding | undefined): string | Buffer | undefined {
    const { session, offer } = this.#key;
    // Engines are not asked for nothing, and a key may have been forgotten meanwhile.
    if (data.length === 0 || session === undefined) return undefined;
    const { engines } = callerRunner;
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    const status = engines.direct(this.#recipe, bytes, offer, session, undefined, undefined);
    if (status !== STATUS.ok) return undefined;
    const code = engines.lookAtOutput();
    return encoding === undefined ? ownCopy(code) : code.toString(encoding);
  }
}

export function createHmac(algorithm: unknown, key: unknown, options?: unknown): AnyDigest {
  const digest = digestNamed(algorithm);
  if (options !== undefined) counter.node('option');
  else if (digest === undefined) counter.node('algorithm');
  else {
    const recipe = recipeOf(digest);
    const known = keys.find(recipe, key);
    if (known?.session && worth.isWorthIt()) {
      return new LightHmac(new HmacWork(algorithm as string, recipe, known));
    }
    counter.node(known ? 'no gain' : 'key');
    if (known && PREFERS_OBJECTS) return nodeCreateHmac(algorithm, known.node);
  }
  return nodeCreateHmac(algorithm, key, options);
}

function recipeOf(digest: DigestAlgorithm): Recipe {
  let recipe = recipes.get(digest);
  if (!recipe) {
    recipe = hmacRecipe({ algorithm: digest });
    recipes.set(digest, recipe);
  }
  return recipe;
}
