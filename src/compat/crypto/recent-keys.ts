import { AsyncResource } from 'node:async_hooks';
import { KeyObject } from 'node:crypto';
// Node's own, whatever a program puts in place of the global one.
import { setTimeout } from 'node:timers';
import { KeySession, sessionSpec } from '../../accelerator/key-session.js';
import { ownCopy } from '../../algorithms/own-copy.js';
import type { Recipe } from '../../algorithms/recipe.js';
import type { Offer } from '../../device/engines/registry.js';
import { areLoaded, offerFor } from './engines.js';
import { isBytes, lengthOf } from './is-bytes.js';
import { stock } from './stock.js';
import { Worth } from './worth.js';

/** A key that has been seen more than once. */
export class KnownKey {
  /** The same for node:crypto. */
  readonly node: KeyObject;
  readonly #recipe: Recipe;
  #session: KeySession | undefined;
  #offer: Offer | undefined;
  #isForgotten = false;

  constructor(recipe: Recipe, material: Uint8Array) {
    this.#recipe = recipe;
    this.node = stock['createSecretKey']!(material) as KeyObject;
  }

  /** The key set up in this thread, with the engine that has it; undefined while engines are not worth it, or not there. */
  get session(): KeySession | undefined {
    if (this.#session === undefined && !this.#isForgotten && areLoaded()) this.#open();
    return this.#offer === undefined ? undefined : this.#session;
  }

  get offer(): Offer {
    return this.#offer!;
  }

  #open(): void {
    const exported = this.node.export();
    const material = ownCopy(exported);
    exported.fill(0);
    this.#session = new KeySession(sessionSpec(this.#recipe), material);
    this.#offer = offerFor(this.#session);
  }

  forget(): void {
    this.#session?.close();
    this.#session = undefined;
    this.#offer = undefined;
    this.#isForgotten = true;
  }
}

/** One of the keys that were seen last. */
interface Place {
  recipe: Recipe | undefined;
  /** What the key was given as, if that was text. */
  text: string | undefined;
  readonly material: Uint8Array;
  length: number;
  known: KnownKey | undefined;
  wasUsed: boolean;
}

const PLACES = 8;
const MAX_KEY_BYTES = 128;
/** The most bytes that a character of a text becomes. */
const BYTES_PER_UNIT = 3;
/** Calls a function apart from whatever request is being served: a timer would keep its AsyncLocalStorage. */
const apart = AsyncResource.bind((run: () => void) => run());
/** How long a key may lie idle before it is overwritten. */
const IDLE_MS = 10_000;

/**
 * Keys of the calls before: programs use the same again and again, but hand it over each time. A key is known from the
 * second time on, until eight others have come or it has not been used for some seconds.
 */
export class RecentKeys {
  readonly #places: Place[] = Array.from({ length: PLACES }, () => ({
    recipe: undefined,
    text: undefined,
    material: new Uint8Array(Buffer.allocUnsafeSlow(MAX_KEY_BYTES).buffer),
    length: 0,
    known: undefined,
    wasUsed: false,
  }));
  #next = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Text as bytes; not in memory that other buffers share. */
  readonly #encoded = Buffer.allocUnsafeSlow(MAX_KEY_BYTES);
  readonly #worth = new Worth();
  readonly #ofObjects = new WeakMap<KeyObject, Map<Recipe, KnownKey | undefined>>();
  readonly #forgetting = new FinalizationRegistry<KnownKey>((key) => key.forget());

  /**
   * The key that is meant; undefined for one that is new, or no key at all.
   * @param size that of all its algorithm's keys, in bytes, if there is one
   */
  find(recipe: Recipe, key: unknown, size?: number): KnownKey | undefined {
    if (key instanceof KeyObject) return this.#findObject(recipe, key, size);
    if (!this.#worth.isWorthIt()) return undefined;
    if (typeof key === 'string') return this.#findText(recipe, key, size);
    return isBytes(key) ? this.#findBytes(recipe, key, undefined, size) : undefined;
  }

  #findText(recipe: Recipe, text: string, size: number | undefined): KnownKey | undefined {
    for (const place of this.#places) {
      if (place.text === text && place.recipe === recipe) return this.#use(place);
    }
    if (text.length * BYTES_PER_UNIT > MAX_KEY_BYTES) return undefined;
    const length = this.#encoded.write(text);
    const known = this.#findBytes(recipe, this.#encoded.subarray(0, length), text, size);
    this.#encoded.fill(0, 0, length);
    return known;
  }

  #findBytes(
    recipe: Recipe,
    key: Uint8Array,
    text: string | undefined,
    size: number | undefined,
  ): KnownKey | undefined {
    const length = lengthOf(key);
    if (length === 0 || length > MAX_KEY_BYTES) return undefined;
    if (size !== undefined && length !== size) return undefined;
    for (const place of this.#places) {
      if (place.length !== length || place.recipe !== recipe || !areEqual(place.material, key, length))
        continue;
      place.text ??= text;
      return this.#use(place);
    }
    this.#worth.lost();
    this.#remember(recipe, key, text);
    return undefined;
  }

  #use(place: Place): KnownKey {
    place.wasUsed = true;
    this.#worth.won();
    place.known ??= new KnownKey(place.recipe!, place.material.subarray(0, place.length));
    return place.known;
  }

  #remember(recipe: Recipe, key: Uint8Array, text: string | undefined): void {
    const place = this.#places[this.#next]!;
    this.#next = (this.#next + 1) % PLACES;
    forget(place);
    place.recipe = recipe;
    place.text = text;
    place.material.set(key);
    place.length = lengthOf(key);
    place.wasUsed = true;
    if (!this.#timer) apart(() => this.#startTimer());
  }

  #startTimer(): void {
    this.#timer = setTimeout(() => this.#sweep(), IDLE_MS).unref();
  }

  /** Forgets what has not been used since it was called last. */
  #sweep(): void {
    this.#timer = undefined;
    for (const place of this.#places) {
      if (!place.wasUsed) forget(place);
      place.wasUsed = false;
    }
    if (this.#places.some(({ length }) => length > 0)) this.#startTimer();
  }

  /** Nobody else reaches what is known of an object, which ends with it. */
  #findObject(recipe: Recipe, key: KeyObject, size: number | undefined): KnownKey | undefined {
    if (key.type !== 'secret' || (size !== undefined && key.symmetricKeySize !== size)) return undefined;
    let ofKey = this.#ofObjects.get(key);
    if (!ofKey) {
      ofKey = new Map();
      this.#ofObjects.set(key, ofKey);
    }
    if (!ofKey.has(recipe)) {
      ofKey.set(recipe, undefined);
      return undefined;
    }
    let known = ofKey.get(recipe);
    if (!known) {
      const material = key.export();
      known = new KnownKey(recipe, material);
      material.fill(0);
      ofKey.set(recipe, known);
      this.#forgetting.register(key, known);
    }
    return known;
  }
}

/** Whether the first bytes are those, in a time that does not tell where they differ. */
function areEqual(material: Uint8Array, bytes: Uint8Array, length: number): boolean {
  let difference = 0;
  for (let i = 0; i < length; i++) difference |= material[i]! ^ bytes[i]!;
  return difference === 0;
}

function forget(place: Place): void {
  place.known?.forget();
  place.known = undefined;
  place.material.fill(0, 0, place.length);
  place.text = undefined;
  place.recipe = undefined;
  place.length = 0;
}
