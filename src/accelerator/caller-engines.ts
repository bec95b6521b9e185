import { CQE_FLAG, LIMITS, SQE_FLAG, STATUS } from '../abi/queue.js';
import type { Operation } from '../algorithms/operation.js';
import type { Recipe } from '../algorithms/recipe.js';
import { addChecksum, type Checksums, loadChecksums } from '../device/engines/checksum.js';
import { ENGINE_ID, EngineRequest } from '../device/engines/engine.js';
import { EngineRegistry, nanosecondsOf, type Offer } from '../device/engines/registry.js';
import { unitsOf } from '../device/units.js';
import { addressOf, Mapping } from '../sys/memory.js';
import type { KeySession } from './key-session.js';
import { OutputPool } from './output-pool.js';

/** What operations and recipes have in common. */
type Asked = Pick<Recipe, 'operation' | 'algorithm' | 'level' | 'flags' | 'param0' | 'param1' | 'param2'>;

/**
 * The engines of the calling thread: what runs a request where it is asked for, when a queue would take longer, or when
 * there is no device for it. They are loaded when they are first needed.
 */
export class CallerEngines {
  readonly #disabled: readonly string[];
  readonly #request = new EngineRequest();
  readonly #outputs = new OutputPool();
  readonly #offers = new Map<number, Offer>();
  #checksums: Checksums | undefined;
  #aux: Mapping | undefined;
  #registry: EngineRegistry | undefined;

  /** @param disabled names of engines not to be used */
  constructor(disabled: readonly string[]) {
    this.#disabled = disabled;
  }

  get registry(): EngineRegistry {
    this.#registry ??= new EngineRegistry(this.#disabled);
    return this.#registry;
  }

  /** What would run a request; undefined if nothing here can. */
  offerFor(operation: Operation, key: KeySession | undefined): Offer | undefined {
    if (!key) return this.registry.choose(this.#begin(operation, operation.inputLength));
    // Nothing is copied for long parameters that a device would refuse, too.
    return this.registry.chooseForSession(key.spec.operation, operation.algorithm, false);
  }

  /** What would run a recipe without a key, whatever the size of its input; found once for each. */
  offerOf(recipe: Recipe): Offer | undefined {
    const known = this.#offers.get((recipe.operation << 8) | recipe.algorithm);
    if (known !== undefined) return known;
    const offer = this.registry.choose(this.#begin(recipe, 0));
    if (offer) this.#offers.set((recipe.operation << 8) | recipe.algorithm, offer);
    return offer;
  }

  /** About how many nanoseconds a request takes this thread. */
  nanoseconds(operation: Operation, { capability }: Offer): number {
    const bytes = Math.max(operation.inputLength, operation.capacity);
    const request = this.#begin(operation, operation.inputLength);
    const units = unitsOf(operation.operation, operation.algorithm, undefined, 0, request);
    return nanosecondsOf(capability, operation.level, bytes, units);
  }

  /** Runs a request; its outcome is in the operation afterwards, as if a device had completed it. */
  run(operation: Operation, { engine }: Offer, key: KeySession | undefined): void {
    const { input, inputLength, capacity, aux } = operation;
    const request = this.#begin(operation, inputLength);
    request.source = operation.inputAddress || (inputLength === 0 ? 0 : addressOf(input));
    this.#setDestination(operation.outputAddress, capacity);
    request.aux = operation.auxAddress;
    request.auxLength = operation.auxLength;
    if (aux.byteLength > 0) this.#setAux(aux);
    const timed = (operation.flags & SQE_FLAG.timed) !== 0 ? performance.now() : 0;
    let status: number = STATUS.badSession;
    if (!key || key.lend(request, engine)) status = engine.run(request);
    if (status === STATUS.ok && operation.flags !== 0) this.#addChecksum(operation.flags);
    operation.nanoseconds = timed === 0 ? 0 : (performance.now() - timed) * 1e6;
    operation.status = status;
    operation.engine = ENGINE_ID[engine.name];
    operation.thread = CALLER_THREAD;
    operation.flagsOut = request.streamEnd ? CQE_FLAG.streamEnd : 0;
    operation.produced = request.produced;
    operation.consumed = request.consumed;
    operation.result = request.result;
    operation.resultHigh = request.resultHigh;
    operation.state = 'done';
    if (status === STATUS.ok && capacity > 0 && operation.outputAddress === 0) {
      operation.data = this.#outputs.keep(request.produced);
    }
  }

  /**
   * Runs what a recipe asks of bytes without making a request for it: the shortest way. The outcome is the status; what
   * was produced is in `output` and `result` until the next call.
   * @param input not empty; @param iv of a cipher; @param aad what an AEAD authenticates besides
   */
  direct(
    recipe: Recipe,
    input: Uint8Array,
    { engine }: Offer,
    key: KeySession | undefined,
    iv: Uint8Array | undefined,
    aad: Uint8Array | undefined,
  ): number {
    const request = this.#begin(recipe, input.byteLength);
    request.source = addressOf(input);
    this.#setDestination(0, recipe.capacityFor(input.byteLength));
    request.aux = 0;
    request.auxLength = 0;
    if (iv !== undefined) this.#setIv(iv, aad);
    return key && !key.lend(request, engine) ? STATUS.badKey : engine.run(request);
  }

  /** The request of this thread, with what is asked for and no more. */
  #begin(asked: Asked, sourceLength: number): EngineRequest {
    const request = this.#request;
    request.restart();
    request.operation = asked.operation;
    request.algorithm = asked.algorithm;
    request.level = asked.level;
    request.piece = false;
    request.unpadded = (asked.flags & SQE_FLAG.unpadded) !== 0;
    request.param0 = asked.param0;
    request.param1 = asked.param1;
    request.param2 = asked.param2;
    request.sourceLength = sourceLength;
    request.context = 0;
    return request;
  }

  /** Where the output goes: to an address, or to room of this object's. */
  #setDestination(address: number, capacity: number): void {
    const request = this.#request;
    request.capacity = capacity;
    request.destination = address;
    if (capacity === 0 || address !== 0) return;
    this.#outputs.reserve(capacity);
    request.destination = this.#outputs.address;
  }

  /** What the last `direct` produced, as the caller's from now on. */
  takeOutput(): Buffer {
    return this.#outputs.keep(this.#request.produced);
  }

  /** What the last `direct` produced, until the next call. */
  lookAtOutput(): Buffer {
    return this.#outputs.look(this.#request.produced);
  }

  get result(): number {
    return this.#request.result;
  }

  get resultHigh(): number {
    return this.#request.resultHigh;
  }

  #setIv(iv: Uint8Array, aad: Uint8Array | undefined): void {
    this.#aux ??= Mapping.anonymous(LIMITS.maxAux);
    const { bytes, address } = this.#aux;
    bytes.set(iv);
    if (aad !== undefined) bytes.set(aad, iv.byteLength);
    this.#request.param0 = iv.byteLength;
    this.#request.aux = address;
    this.#request.auxLength = iv.byteLength + (aad?.byteLength ?? 0);
  }

  #addChecksum(flags: number): void {
    this.#checksums ??= loadChecksums(this.registry.names);
    addChecksum(this.#checksums, this.#request, flags);
  }

  #setAux(aux: Uint8Array): void {
    const request = this.#request;
    request.auxLength = aux.byteLength;
    if (aux.byteLength > LIMITS.maxAux) {
      request.aux = addressOf(aux);
      return;
    }
    this.#aux ??= Mapping.anonymous(LIMITS.maxAux);
    this.#aux.bytes.set(aux);
    request.aux = this.#aux.address;
  }

  close(): void {
    this.#registry?.close();
    this.#registry = undefined;
    this.#offers.clear();
    this.#aux?.unmap();
    this.#aux = undefined;
  }
}

/** In place of an engine thread's number. */
export const CALLER_THREAD = -1;
