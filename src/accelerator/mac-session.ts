import type { Bytes } from '../algorithms/options.js';
import { toBytes } from '../algorithms/options.js';
import type { Recipe } from '../algorithms/recipe.js';
import { isPlain, limits, ownKey } from './cipher-session.js';
import { asData, type CallOptions, type ClassCalls, type ResultWithInfo } from './class-calls.js';
import { KeySession, sessionSpec } from './key-session.js';

/** An authentication code (HMAC or CMAC) with its key, set up once and used by many messages. */
export class MacSession {
  readonly #calls: ClassCalls;
  readonly #recipe: Recipe;
  readonly #key: KeySession;

  /** @internal Use `Accelerator.hmacSession` or `cmacSession`. @param key taken over */
  constructor(calls: ClassCalls, recipe: Recipe, key: Buffer) {
    this.#calls = calls;
    this.#recipe = recipe;
    this.#key = new KeySession(sessionSpec(recipe), key);
  }

  /** The code of a message. */
  mac(data: Bytes, options: CallOptions & { info: true }): Promise<ResultWithInfo<Buffer>>;
  mac(data: Bytes, options?: CallOptions): Promise<Buffer>;
  mac(data: Bytes, options: CallOptions = {}): Promise<Buffer | ResultWithInfo<Buffer>> {
    try {
      if (isPlain(options) && data instanceof Uint8Array && this.#tryHere(data, false)) {
        return Promise.resolve(this.#calls.engines.takeOutput());
      }
      const operation = this.#recipe.request(toBytes(data));
      return this.#calls.run(this.#recipe, operation, this.#key, limits(options), asData);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  macSync(data: Bytes): Buffer {
    if (data instanceof Uint8Array && this.#tryHere(data, true)) return this.#calls.engines.takeOutput();
    const operation = this.#recipe.request(toBytes(data));
    return this.#calls.runSync(this.#recipe, operation, this.#key, false, asData) as Buffer;
  }

  #tryHere(data: Uint8Array, isSync: boolean): boolean {
    return this.#calls.tryHere(this.#recipe, data, this.#key, undefined, undefined, isSync);
  }

  /** The codes of many messages, in order. */
  macMany(messages: Iterable<Bytes>, options: CallOptions = {}): Promise<Buffer[]> {
    return this.#calls.many(this.#recipe, messages, this.#key, options, (data) => ({
      operation: this.#recipe.request(toBytes(data)),
      finish: asData,
    }));
  }

  /** @internal For a stage of a chain. */
  get recipe(): Recipe {
    return this.#recipe;
  }

  /** @internal */
  keyFor(calls: ClassCalls): KeySession {
    return ownKey(this.#key, this.#calls === calls);
  }

  /** Ends the session and overwrites its key; messages under way are not affected. */
  close(): void {
    this.#key.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
