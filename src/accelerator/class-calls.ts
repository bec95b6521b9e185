import { type AlgorithmName, algorithmName, factsOf } from '../abi/algorithms.js';
import { LIMITS, OPCODE, type OperationName, SQE_FLAG, STATUS } from '../abi/queue.js';
import { Operation } from '../algorithms/operation.js';
import type { RequestOptions } from '../algorithms/options.js';
import type { Recipe } from '../algorithms/recipe.js';
import { engineName } from '../device/engines/engine.js';
import { nanosecondsOf, type Offer } from '../device/engines/registry.js';
import type { DriverDevice } from '../driver/driver.js';
import { ArgumentError, DeviceLostError, UnsupportedError } from '../errors.js';
import type { CallerEngines } from './caller-engines.js';
import type { Dispatcher } from './dispatcher.js';
import type { DmaMemory } from './dma-memory.js';
import type { OperationInfo, RanBecause } from './job.js';
import type { KeySession } from './key-session.js';
import { checkLimits, withLimits } from './limits.js';
import type { Placement } from './placement.js';
import { statusError } from './status-error.js';

/** A result together with where it came from. */
export interface ResultWithInfo<T> {
  result: T;
  info: OperationInfo;
}

/** Wishes that any call of these classes may carry. */
export type CallOptions = RequestOptions & { info?: boolean };

export interface ClassCallsParts {
  /** The device in use, and a number that is another one for each device. */
  device: () => DriverDevice;
  generation: () => number;
  dispatcher: Dispatcher;
  memory: DmaMemory;
  placement: Placement;
  engines: CallerEngines;
  /** A queue for requests that take long, made when the first comes. */
  longQueue: () => Promise<Dispatcher | undefined>;
  /** Whether the calling thread takes over what a device cannot do any more. */
  fallback: boolean;
  /** Throws once the accelerator is closed. */
  checkOpen: () => void;
  /** Where another device is looked for when one goes away: resolves when that has ended. */
  reattached: (() => Promise<void>) | undefined;
}

/** A request on its way: with its key, and what becomes of it. */
interface Call<T> {
  recipe: Recipe;
  operation: Operation;
  key: KeySession | undefined;
  offer: Offer | undefined;
  finish: (operation: Operation) => T;
  info: boolean;
}

/** How long the small requests of one batch may hold up the calling thread. */
const MANY_NS = 1e6;

/** Associated data up to this many bytes goes the shortest way. */
const MAX_DIRECT_AAD = 16_384;

/** Of the ciphers that a device may take whole blocks of. */
const BLOCK_BYTES = 16;

/** Requests of a batch between two looks at the clock. */
const LOOK_EVERY = 16;

const NO_BYTES = new Uint8Array(0);

/** Takes the output as the result. */
export const asData = (operation: Operation): Buffer => operation.data;

/** Calls of all classes but `compress`: each is one request, which runs on the device or in the calling thread. */
export class ClassCalls {
  readonly #parts: ClassCallsParts;
  /** What the device has, by operation and algorithm. */
  #offered = new Set<number>();
  #offeredBy: DriverDevice | undefined;
  /** A batch has held up this thread for long enough. */
  #held = false;

  constructor(parts: ClassCallsParts) {
    this.#parts = parts;
  }

  get engines(): CallerEngines {
    return this.#parts.engines;
  }

  get memory(): DmaMemory {
    return this.#parts.memory;
  }

  checkOpen(): void {
    this.#parts.checkOpen();
  }

  /**
   * The shortest way for bytes that this thread handles itself, and nothing else is wished for. False when they are to
   * go another way, or failed: then the usual one finds out, and says why.
   * @param iv of a cipher, of a length that it takes
   */
  tryHere(
    recipe: Recipe,
    input: Uint8Array,
    key: KeySession | undefined,
    iv: Uint8Array | undefined,
    aad: Uint8Array | undefined,
    isSync: boolean,
  ): boolean {
    this.#parts.checkOpen();
    key?.check();
    const bytes = input.byteLength;
    // What is empty may be detached, which is found out the usual way.
    if (bytes === 0 || bytes > LIMITS.maxTransfer) return false;
    if (this.#held || (aad !== undefined && aad.byteLength > MAX_DIRECT_AAD)) return false;
    const offer = key ? key.offer(this.engines) : this.engines.offerOf(recipe);
    if (!offer) return false;
    const nanoseconds = nanosecondsOf(offer.capability, recipe.level, bytes, 0);
    if (!this.#parts.placement.isInline(recipe, bytes, nanoseconds, isSync)) return false;
    return this.engines.direct(recipe, input, offer, key, iv, aad) === STATUS.ok;
  }

  /** Runs one request. Small ones run at once, in this thread, and the promise is settled already. */
  run<T>(
    recipe: Recipe,
    operation: Operation,
    key: KeySession | undefined,
    options: CallOptions | undefined,
    finish: (operation: Operation) => T,
  ): Promise<T | ResultWithInfo<T>> {
    try {
      this.#parts.checkOpen();
      key?.check();
      if (options !== undefined) checkLimits(options);
      const info = options?.info === true;
      if (info) operation.flags |= SQE_FLAG.timed;
      const offer = this.engines.offerFor(operation, key);
      const here = this.#placeOf(recipe, operation, key, offer, false);
      const call: Call<T> = { recipe, operation, key, offer, finish, info };
      if (here !== undefined) return Promise.resolve(this.#runHere(call, offer!, here));
      const work = this.#send(call);
      return options === undefined
        ? work
        : withLimits(work, options, () => {
            // One that names a session has to come back before the session may end.
            if (!key) this.#parts.dispatcher.abandon(operation);
          });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Runs a request for each input. Those that are small run here, until they have held up this thread for a while: the
   * rest goes through the queue.
   */
  many<I, T>(
    recipe: Recipe,
    inputs: Iterable<I>,
    key: KeySession | undefined,
    options: CallOptions,
    make: (input: I) => { operation: Operation; finish: (operation: Operation) => T } | Buffer,
  ): Promise<T[]> {
    const results: (T | Promise<T>)[] = [];
    try {
      this.#parts.checkOpen();
      key?.check();
      checkLimits(options);
      let isWaiting = false;
      let heldNs = 0;
      const started = performance.now();
      for (const input of inputs) {
        const made = make(input);
        // Done already, the shortest way.
        if (made instanceof Uint8Array) {
          results.push(made as T);
          if (results.length % LOOK_EVERY === 0) this.#held = performance.now() - started > MANY_NS / 1e6;
          continue;
        }
        const { operation, finish } = made;
        const offer = this.engines.offerFor(operation, key);
        let here = this.#placeOf(recipe, operation, key, offer, false);
        if (here === 'small') {
          heldNs += this.engines.nanoseconds(operation, offer!);
          if (heldNs > MANY_NS) here = undefined;
        }
        const call: Call<T> = { recipe, operation, key, offer, finish, info: false };
        if (here !== undefined) {
          results.push(this.#runHere(call, offer!, here) as T);
        } else {
          isWaiting = true;
          results.push(this.#send(call) as Promise<T>);
        }
      }
      if (!isWaiting) return Promise.resolve(results as T[]);
      return withLimits(Promise.all(results), options, () => {});
    } catch (error) {
      // Nobody waits for those that are on their way.
      for (const result of results) if (result instanceof Promise) result.catch(() => {});
      return Promise.reject(error);
    } finally {
      this.#held = false;
    }
  }

  /** Like `run`; the event loop stands still meanwhile. */
  runSync<T>(
    recipe: Recipe,
    operation: Operation,
    key: KeySession | undefined,
    info: boolean,
    finish: (operation: Operation) => T,
  ): T | ResultWithInfo<T> {
    this.#parts.checkOpen();
    key?.check();
    if (info) operation.flags |= SQE_FLAG.timed;
    const offer = this.engines.offerFor(operation, key);
    const here = this.#placeOf(recipe, operation, key, offer, true);
    const call: Call<T> = { recipe, operation, key, offer, finish, info };
    if (here !== undefined) return this.#runHere(call, offer!, here);
    const { dispatcher, memory, generation } = this.#parts;
    const givenAddress = operation.inputAddress;
    if (operation.inputAddress === 0) operation.inputAddress = memory.addressOf(operation.input);
    if (key) operation.session = key.numberOn(generation());
    if (key && operation.session === 0) {
      // A session is opened on the event loop otherwise; one for this request alone must do.
      const open = key.openRequest();
      dispatcher.runSync(open);
      this.#check(open);
      operation.session = open.result;
    }
    dispatcher.runSync(operation);
    if (key && key.numberOn(generation()) !== operation.session) this.#release(operation.session);
    return this.#settleOrRun(call, givenAddress);
  }

  /** Runs a request on the device, wherever another one would run. */
  runOnDevice<T>(
    recipe: Recipe,
    operation: Operation,
    key: KeySession | undefined,
    finish: (operation: Operation) => T,
  ): Promise<T> {
    return this.#send({ recipe, operation, key, offer: undefined, finish, info: false }) as Promise<T>;
  }

  /** Runs a request in this thread, wherever another one would run. */
  runInPlace<T>(
    recipe: Recipe,
    operation: Operation,
    key: KeySession | undefined,
    finish: (operation: Operation) => T,
  ): T {
    this.#parts.checkOpen();
    const offer = this.engines.offerFor(operation, key);
    if (!offer) throw this.#unsupported(recipe);
    const call: Call<T> = { recipe, operation, key, offer, finish, info: false };
    return this.#runHere(call, offer, 'not in memory of the device') as T;
  }

  /** Whether the device keeps what comes in parts. */
  keepsSequences({ operationName, algorithmName }: Recipe): boolean {
    const { sequences } = this.#parts.device().description;
    return sequences?.[operationName]?.includes(algorithmName!) ?? false;
  }

  /** Why the calling thread runs a request, or undefined where the device does. */
  #placeOf(
    recipe: Recipe,
    operation: Operation,
    key: KeySession | undefined,
    offer: Offer | undefined,
    isSync: boolean,
  ): RanBecause | undefined {
    const { placement, dispatcher } = this.#parts;
    const { operation: number, algorithm, inputLength } = operation;
    const onDevice =
      this.isOffered(number, algorithm) && !this.#isBroken(algorithm, inputLength) && this.#hasDigest(key);
    if (!onDevice || !fitsDevice(operation)) {
      if (offer) return onDevice ? 'too large for a request' : 'not on the device';
      if (onDevice) throw new UnsupportedError(`one request takes at most ${LIMITS.maxTransfer} bytes`);
      throw this.#unsupported(recipe);
    }
    if (!offer) return undefined;
    const nanoseconds = this.engines.nanoseconds(operation, offer);
    return placement.choose(recipe, operation, nanoseconds, isSync, dispatcher);
  }

  /** Whether the device takes whole blocks alone, and this is none. */
  #isBroken(algorithm: number, length: number): boolean {
    if (length % BLOCK_BYTES === 0) return false;
    return this.#parts.device().description.wholeBlocks?.includes(algorithmName(algorithm)!) ?? false;
  }

  /** Whether the device has the digest of a signature. */
  #hasDigest(key: KeySession | undefined): boolean {
    if (!key) return true;
    const { operation, param0 } = key.spec;
    if (operation !== OPCODE.sign && operation !== OPCODE.verify) return true;
    const { signatureDigests } = this.#parts.device().description;
    return signatureDigests?.includes(algorithmName(param0)!) ?? true;
  }

  /** Whether the device has an operation for an algorithm, by their numbers. */
  isOffered(operation: number, algorithm: number): boolean {
    const device = this.#parts.device();
    if (this.#offeredBy !== device) {
      this.#offeredBy = device;
      this.#offered = offeredBy(device);
    }
    return this.#offered.has((operation << 8) | algorithm);
  }

  /** Whether the device, or this thread, has an operation for an algorithm. */
  supports(operation: OperationName, algorithm: AlgorithmName): boolean {
    return (
      (this.#parts.device().description.algorithms[operation] ?? []).includes(algorithm) ||
      this.engines.registry.supports(operation, algorithm)
    );
  }

  #runHere<T>(call: Call<T>, offer: Offer, why: RanBecause): T | ResultWithInfo<T> {
    const { operation } = call;
    const { input, inputLength } = operation;
    if (input.byteLength !== inputLength) throw new ArgumentError('the buffer was detached or resized');
    this.engines.run(operation, offer, call.key);
    return this.#settle(call, why);
  }

  async #send<T>(call: Call<T>): Promise<T | ResultWithInfo<T>> {
    const { operation, offer, key } = call;
    // What is signed is what was given, and not what is in the caller's buffer by the time that this thread has to do it.
    const isSigned = offer !== undefined && operation.operation === OPCODE.sign;
    if (isSigned && this.#mayRunLate()) operation.input = Buffer.from(operation.input);
    const givenAddress = operation.inputAddress;
    key?.hold();
    try {
      for (;;) {
        try {
          await this.#sendOnce(call);
          return this.#settleOrRun(call, givenAddress);
        } catch (error) {
          if (!(error instanceof DeviceLostError)) throw error;
          operation.state = 'new';
          operation.error = undefined;
          operation.inputAddress = givenAddress;
          if (this.#parts.fallback && offer) return this.#runHere(call, offer, 'the device has gone');
          if (!this.#parts.reattached) throw error;
          // The session was on the device that went away: it is opened again on the next one.
          await this.#parts.reattached();
          this.#parts.dispatcher.checkUsable();
        }
      }
    } finally {
      key?.unhold();
    }
  }

  /** Whether a signature that was sent may have to be made in this thread after all. */
  #mayRunLate(): boolean {
    return this.#parts.fallback || this.#parts.device().description.signatureDigests !== undefined;
  }

  /** The key is held meanwhile: a session that is closed ends, and its key is overwritten, only after that. */
  async #sendOnce<T>({ operation, key, offer }: Call<T>): Promise<void> {
    const { dispatcher, memory, generation, placement } = this.#parts;
    if (operation.inputAddress === 0) operation.inputAddress = memory.addressOf(operation.input);
    if (key) {
      const known = key.numberOn(generation());
      operation.session = known !== 0 ? known : await this.openSession(key);
    }
    const isLong = offer !== undefined && placement.isLong(this.engines.nanoseconds(operation, offer));
    const long = isLong ? await this.#parts.longQueue() : undefined;
    await submitted(long ?? dispatcher, operation);
    if (operation.error) throw operation.error;
  }

  /** The number that a key's session has on the device; opened there now if it is not. */
  openSession(key: KeySession): Promise<number> {
    const { dispatcher, generation } = this.#parts;
    return key.on(
      generation(),
      async (open) => {
        await submitted(dispatcher, open);
        this.#check(open);
        return open.result;
      },
      (session) => this.#release(session),
    );
  }

  #release(session: number): void {
    const close = closeRequest(session);
    this.#parts.dispatcher.submit(close);
  }

  /**
   * A signature that the device turns out not to make is made in this thread.
   * @param givenAddress of the input in this process; the device may have one of its own for it
   */
  #settleOrRun<T>(call: Call<T>, givenAddress: number): T | ResultWithInfo<T> {
    const { operation, offer } = call;
    const isRefused = !operation.error && operation.status === STATUS.unsupported;
    if (!offer || !isRefused || operation.operation !== OPCODE.sign) return this.#settle(call, undefined);
    operation.inputAddress = givenAddress;
    return this.#runHere(call, offer, 'not on the device');
  }

  #settle<T>(call: Call<T>, why: RanBecause | undefined): T | ResultWithInfo<T> {
    const { operation, finish } = call;
    this.#check(operation, call.recipe);
    const result = finish(operation);
    if (!call.info) return result;
    return { result, info: this.#infoOf(operation, why) };
  }

  #infoOf(operation: Operation, why: RanBecause | undefined): OperationInfo {
    const { device, dispatcher } = this.#parts;
    return {
      device: device().name,
      queue: dispatcher.queue.id,
      engine: engineName(operation.engine) ?? 'none',
      thread: operation.thread,
      nanoseconds: operation.nanoseconds,
      requests: 1,
      ran: why === undefined ? 'queue' : 'caller',
      ...(why === undefined ? {} : { why }),
    };
  }

  /** @throws the error that a request's status stands for */
  #check(operation: Operation, recipe?: Recipe): void {
    if (operation.error) throw operation.error;
    if (operation.status === STATUS.ok) return;
    throw statusError(operation, this.#parts.device().name, recipe);
  }

  #unsupported(recipe: Recipe): UnsupportedError {
    const { device } = this.#parts;
    const there = device().description.algorithms[recipe.operationName] ?? [];
    const what = recipe.algorithmName ?? recipe.operationName;
    return new UnsupportedError(`nothing here has ${what} for ${recipe.operationName}`, {
      hint: there.length > 0 ? `there are ${there.join(', ')}` : 'no engine here has this operation',
    });
  }
}

/** Sends a request; resolves when it is done, whatever became of it. */
function submitted(dispatcher: Dispatcher, operation: Operation): Promise<void> {
  return new Promise((resolve) => {
    operation.onDone = () => resolve();
    dispatcher.submit(operation);
  });
}

function offeredBy(device: DriverDevice): Set<number> {
  const offered = new Set<number>();
  for (const [name, algorithms] of Object.entries(device.description.algorithms)) {
    const operation = OPCODE[name as OperationName];
    if (operation === undefined || !Array.isArray(algorithms)) continue;
    offered.add(operation << 8);
    for (const algorithm of algorithms) {
      const facts = factsOf(algorithm as AlgorithmName);
      if (facts) offered.add((operation << 8) | facts.id);
    }
  }
  return offered;
}

function fitsDevice({ inputLength, capacity, aux }: Operation): boolean {
  return (
    inputLength <= LIMITS.maxTransfer && capacity <= LIMITS.maxTransfer && aux.byteLength <= LIMITS.maxAux
  );
}

function closeRequest(session: number): Operation {
  const close = new Operation(NO_BYTES);
  close.operation = OPCODE.sessionClose;
  close.session = session;
  return close;
}
