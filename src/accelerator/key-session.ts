import { OPCODE, SQE_FLAG } from '../abi/queue.js';
import { Operation } from '../algorithms/operation.js';
import type { Recipe } from '../algorithms/recipe.js';
import {
  type Engine,
  type EngineRequest,
  openContextFor,
  type SessionTerms,
} from '../device/engines/engine.js';
import type { Offer } from '../device/engines/registry.js';
import { ClosedError } from '../errors.js';
import { addressOf } from '../sys/memory.js';
import type { CallerEngines } from './caller-engines.js';

/** What a session is opened with. */
export interface SessionSpec extends SessionTerms {
  /** Its requests build on one another. */
  sequence: boolean;
}

/** The session that requests of a recipe need. */
export function sessionSpec(recipe: Recipe, more: Partial<SessionSpec> = {}): SessionSpec {
  return {
    operation: recipe.operation,
    algorithm: recipe.algorithm,
    sequence: false,
    param0: 0,
    param1: 0,
    param2: 0,
    ...more,
  };
}

/**
 * A key as requests use it: opened on the device when the first request goes there, and as a context of the calling
 * thread when one runs here. The key material is this object's own copy; `close` overwrites it.
 */
export class KeySession {
  readonly spec: SessionSpec;
  readonly #key: Buffer;
  #offer: Offer | undefined;
  #keyAddress = 0;
  #engine: Engine | undefined;
  #context = 0;
  /** The session on a device, by the device's generation: another device is asked anew. */
  #opened: Promise<number> | undefined;
  #generation = -1;
  /** Its number, once it is known. */
  #number = 0;
  #closed = false;
  /** Whether the key has been overwritten: nothing may be done with what is there now. */
  #isWiped = false;
  /** Requests under way that need it. */
  #users = 0;
  #release: ((session: number) => void) | undefined;

  /** @param key taken over: it is overwritten when the session is closed */
  constructor(spec: SessionSpec, key: Buffer) {
    this.spec = spec;
    this.#key = key;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** @throws ClosedError once it is closed */
  check(): void {
    if (this.#closed) throw new ClosedError('the session is closed', { hint: 'open another' });
  }

  /** What serves the session in the calling thread; undefined where nothing there can. */
  offer(engines: CallerEngines): Offer | undefined {
    const { operation, algorithm, sequence } = this.spec;
    this.#offer ??= engines.registry.chooseForSession(operation, algorithm, sequence);
    return this.#offer;
  }

  /** Puts the calling thread's context and the key into a request; false if the key is none, or not there any more. */
  lend(request: EngineRequest, engine: Engine): boolean {
    if (this.#isWiped) return false;
    if (this.#keyAddress === 0 && this.#key.length > 0) this.#keyAddress = addressOf(this.#key);
    request.key = this.#keyAddress;
    request.keyLength = this.#key.length;
    if (this.#engine !== engine) {
      this.#closeContext();
      this.#context = openContextFor(engine, request, this.spec);
      if (this.#context !== 0) this.#engine = engine;
    }
    request.context = this.#context;
    return this.#context !== 0;
  }

  #closeContext(): void {
    if (this.#context !== 0) this.#engine?.closeContext(this.#context);
    this.#context = 0;
    this.#engine = undefined;
  }

  /** The request that opens the session on a device. */
  openRequest(): Operation {
    const { spec } = this;
    const operation = new Operation(this.#key);
    operation.operation = OPCODE.sessionOpen;
    operation.algorithm = spec.algorithm;
    operation.level = spec.operation;
    operation.flags = spec.sequence ? SQE_FLAG.piece : 0;
    operation.param0 = spec.param0;
    operation.param1 = spec.param1;
    operation.param2 = spec.param2;
    operation.secret = true;
    return operation;
  }

  /** The session's number if it is open on this device already, else 0. */
  numberOn(generation: number): number {
    return this.#generation === generation ? this.#number : 0;
  }

  /**
   * The session's number on a device, opened there now if it is not.
   * @param generation tells one device from the next
   * @param open sends the request, and resolves with the session's number
   * @param release sends the request that ends the session again
   */
  async on(
    generation: number,
    open: (request: Operation) => Promise<number>,
    release: (session: number) => void,
  ): Promise<number> {
    this.check();
    if (this.#generation !== generation || !this.#opened) {
      this.#generation = generation;
      this.#number = 0;
      this.#release = release;
      const opened = open(this.openRequest());
      this.#opened = opened;
      opened.then(
        (number) => {
          if (this.#opened === opened) this.#number = number;
          this.#letGo();
        },
        () => {
          if (this.#opened === opened) this.#opened = undefined;
          this.#letGo();
        },
      );
    }
    return this.#opened;
  }

  /** A request that needs the session, or its key, begins. */
  hold(): void {
    this.#users++;
  }

  /** It has ended. */
  unhold(): void {
    this.#users--;
    this.#letGo();
  }

  /** Ends the session; requests under way are not affected. Calling it again does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#letGo();
  }

  /** Ends the session on the device, and overwrites the key, once it is closed and no request needs it. */
  #letGo(): void {
    if (!this.#closed || this.#users > 0) return;
    if (this.#number !== 0) {
      this.#release?.(this.#number);
      this.#number = 0;
      this.#opened = undefined;
    }
    // What opens it is on its way, with the key.
    if (this.#opened) return;
    this.#closeContext();
    this.#key.fill(0);
    this.#isWiped = true;
  }
}
