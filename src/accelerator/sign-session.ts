import { type KeyedRecipe, purposeOf, type SignOptions, signRecipe } from '../algorithms/key-options.js';
import type { Operation } from '../algorithms/operation.js';
import { type Bytes, toBytes } from '../algorithms/options.js';
import { limits } from './cipher-session.js';
import { asData, type CallOptions, type ClassCalls, type ResultWithInfo } from './class-calls.js';
import { KeySession, sessionSpec } from './key-session.js';

const asVerdict = (operation: Operation): boolean => operation.result === 1;

/** The session that a request with a private or public key runs in. */
export function keySessionOf({ recipe, key, param0, param1 }: KeyedRecipe): KeySession {
  return new KeySession(sessionSpec(recipe, { operation: purposeOf(recipe), param0, param1 }), key);
}

/** A private key, set up once, that signs many messages. */
export class SignSession {
  readonly #calls: ClassCalls;
  readonly #keyed: KeyedRecipe;
  readonly #key: KeySession;

  /** @internal Use `Accelerator.signSession`. */
  constructor(calls: ClassCalls, options: SignOptions) {
    this.#calls = calls;
    this.#keyed = signRecipe(options, 'sign');
    this.#key = keySessionOf(this.#keyed);
  }

  /** The signature of a message. */
  sign(data: Bytes, options: CallOptions & { info: true }): Promise<ResultWithInfo<Buffer>>;
  sign(data: Bytes, options?: CallOptions): Promise<Buffer>;
  sign(data: Bytes, options: CallOptions = {}): Promise<Buffer | ResultWithInfo<Buffer>> {
    const { recipe } = this.#keyed;
    return attempt(() =>
      this.#calls.run(recipe, recipe.request(toBytes(data)), this.#key, limits(options), asData),
    );
  }

  signSync(data: Bytes): Buffer {
    const { recipe } = this.#keyed;
    return this.#calls.runSync(recipe, recipe.request(toBytes(data)), this.#key, false, asData) as Buffer;
  }

  /** The signatures of many messages, in order. */
  signMany(messages: Iterable<Bytes>, options: CallOptions = {}): Promise<Buffer[]> {
    const { recipe } = this.#keyed;
    return this.#calls.many(recipe, messages, this.#key, options, (data) => ({
      operation: recipe.request(toBytes(data)),
      finish: asData,
    }));
  }

  /** Ends the session and overwrites its key. */
  close(): void {
    this.#key.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A public key, set up once, that verifies many signatures. */
export class VerifySession {
  readonly #calls: ClassCalls;
  readonly #keyed: KeyedRecipe;
  readonly #key: KeySession;

  /** @internal Use `Accelerator.verifySession`. */
  constructor(calls: ClassCalls, options: SignOptions) {
    this.#calls = calls;
    this.#keyed = signRecipe(options, 'verify');
    this.#key = keySessionOf(this.#keyed);
  }

  /** Whether a signature is that of a message. */
  verify(
    data: Bytes,
    signature: Bytes,
    options: CallOptions & { info: true },
  ): Promise<ResultWithInfo<boolean>>;
  verify(data: Bytes, signature: Bytes, options?: CallOptions): Promise<boolean>;
  verify(
    data: Bytes,
    signature: Bytes,
    options: CallOptions = {},
  ): Promise<boolean | ResultWithInfo<boolean>> {
    const { recipe } = this.#keyed;
    return attempt(() => {
      const operation = recipe.request(toBytes(data), toBytes(signature));
      return this.#calls.run(recipe, operation, this.#key, limits(options), asVerdict);
    });
  }

  verifySync(data: Bytes, signature: Bytes): boolean {
    const { recipe } = this.#keyed;
    const operation = recipe.request(toBytes(data), toBytes(signature));
    return this.#calls.runSync(recipe, operation, this.#key, false, asVerdict) as boolean;
  }

  /** Verdicts on many messages with their signatures, in order. */
  verifyMany(
    messages: Iterable<{ data: Bytes; signature: Bytes }>,
    options: CallOptions = {},
  ): Promise<boolean[]> {
    const { recipe } = this.#keyed;
    return this.#calls.many(recipe, messages, this.#key, options, ({ data, signature }) => ({
      operation: recipe.request(toBytes(data), toBytes(signature)),
      finish: asVerdict,
    }));
  }

  /** Ends the session. */
  close(): void {
    this.#key.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A call whose arguments may be wrong: then the promise rejects. */
export function attempt<T>(call: () => Promise<T>): Promise<T> {
  try {
    return call();
  } catch (error) {
    return Promise.reject(error);
  }
}
