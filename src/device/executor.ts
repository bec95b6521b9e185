import { ALGORITHM, MAX_ANY_LEVEL, MAX_LEVEL } from '../abi/algorithms.js';
import { CQE_FLAG, LIMITS, OPCODE, SQE, SQE_FLAG, SQE_FLAGS_DEFINED, STATUS } from '../abi/queue.js';
import { copyMemory, Mapping } from '../sys/memory.js';
import { translate } from './address-space.js';
import { Chain } from './chain.js';
import { addChecksum, type Checksums, loadChecksums } from './engines/checksum.js';
import { ENGINE_ID, EngineRequest, type Outcome } from './engines/engine.js';
import { type EngineRegistry, nanosecondsOf, type Offer } from './engines/registry.js';
import { corrupt, type Fault, injectFault, VERDICT } from './inject.js';
import { auxIsKnown, type OperationRule, RULES } from './rules.js';
import { Sessions } from './sessions.js';
import { type DeviceState, SPACE, SPACE_MODE, THREAD } from './state.js';
import { mayRun, unitsOf } from './units.js';

const WORD_OPCODE = SQE.offset.opcode >> 2;
const WORD_SESSION = SQE.offset.session >> 2;
const WORD_SOURCE = SQE.offset.sourceLow >> 2;
const WORD_SOURCE_LENGTH = SQE.offset.sourceLength >> 2;
const WORD_CAPACITY = SQE.offset.destinationCapacity >> 2;
const WORD_DESTINATION = SQE.offset.destinationLow >> 2;
const WORD_AUX = SQE.offset.auxLow >> 2;
const WORD_AUX_LENGTH = SQE.offset.auxLength >> 2;
const WORD_PARAM = SQE.offset.param0 >> 2;
const PARAMS = 3;

const CHECKSUMS = SQE_FLAG.crc32 | SQE_FLAG.adler32;

/**
 * Executes requests for one engine thread. `run` gets the private copy of a submission, checks every field, and
 * leaves the outcome in `status`, `produced` and the fields beside them.
 */
export class Executor {
  readonly registry: EngineRegistry;
  readonly #state: DeviceState;
  readonly #thread: number;
  readonly #checksums: Checksums;
  readonly #request = new EngineRequest();
  readonly #sessions: Sessions;
  readonly #chain: Chain;
  readonly #faults: Fault[];
  readonly #aux = Mapping.anonymous(LIMITS.maxAux);
  /** Copies of a source that must not change. */
  #copy: Mapping | undefined;
  #workNs = 0;
  /** The request in hand is to give something wrong. */
  #spoil = false;
  engine = 0;
  produced = 0;
  consumed = 0;
  result = 0;
  nanoseconds = 0;
  flags = 0;

  constructor(
    state: DeviceState,
    threadIndex: number,
    registry: EngineRegistry,
    keysAddress: number,
    faults: Fault[],
  ) {
    this.#state = state;
    this.#thread = state.thread(threadIndex);
    this.registry = registry;
    this.#faults = faults;
    this.#checksums = loadChecksums(registry.names);
    this.#sessions = new Sessions(state, registry, threadIndex, keysAddress, this.#request);
    this.#chain = new Chain(this.#request, this.#aux, (space, session, flags) =>
      this.#perform(space, session, flags),
    );
  }

  /** Frees what the thread holds; nothing is executed afterwards. */
  close(): void {
    this.#copy?.unmap();
    this.#aux.unmap();
    this.#chain.close();
    this.registry.close();
  }

  /** Whether the request is done without touching memory, so that it can be answered at once. */
  isTrivial(entry: Int32Array): boolean {
    return (entry[WORD_OPCODE]! & 0xff) === OPCODE.noop;
  }

  /** A guess at the microseconds that a request will take. */
  estimate(entry: Int32Array): number {
    const head = entry[WORD_OPCODE]!;
    const algorithm = (head >>> 8) & 0xff;
    const level = (head >>> 16) & 0xff;
    const bytes = Math.max(entry[WORD_SOURCE_LENGTH]! >>> 0, entry[WORD_AUX_LENGTH]! >>> 0);
    const capability = this.registry.likely(head & 0xff, algorithm, level);
    // Several stages go over the same bytes.
    if (!capability) return (head & 0xff) === OPCODE.chain ? bytes / 100 : 0;
    const units = unitsOf(head & 0xff, algorithm, entry, WORD_PARAM);
    return nanosecondsOf(capability, level, bytes, units) / 1000;
  }

  /** The work that the last request was, in microseconds: its bytes, on whichever side there were more of them. */
  get workUs(): number {
    return this.#workNs / 1000;
  }

  /** KiB of source and destination that a request names, as far as a device would look at them. */
  footprintKib(entry: Int32Array): number {
    const source = Math.min(entry[WORD_SOURCE_LENGTH]! >>> 0, LIMITS.maxTransfer);
    const capacity = Math.min(entry[WORD_CAPACITY]! >>> 0, LIMITS.maxTransfer);
    const aux = Math.min(entry[WORD_AUX_LENGTH]! >>> 0, LIMITS.maxTransfer);
    return ((source + capacity + aux) >>> 10) + 1;
  }

  /** Executes a submission on behalf of an address space. */
  run(entry: Int32Array, space: number): number {
    this.engine = 0;
    this.produced = 0;
    this.consumed = 0;
    this.result = 0;
    this.nanoseconds = 0;
    this.flags = 0;
    this.#workNs = 0;
    const head = entry[WORD_OPCODE]!;
    const flags = head >>> 24;
    const rule = RULES[head & 0xff];
    if ((flags & ~SQE_FLAGS_DEFINED) !== 0 || (flags & CHECKSUMS) === CHECKSUMS) return STATUS.badField;
    const allowed = rule ? rule.params : 0;
    for (let param = allowed; param < PARAMS; param++) {
      if (entry[WORD_PARAM + param] !== 0) return STATUS.badField;
    }
    const aux = wide(entry, WORD_AUX);
    if (rule ? !auxIsKnown(rule, entry[WORD_AUX_LENGTH]!, aux) : aux !== 0 || entry[WORD_AUX_LENGTH] !== 0) {
      return STATUS.badField;
    }
    const started = (flags & SQE_FLAG.timed) !== 0 ? performance.now() : 0;
    const verdict =
      this.#faults.length > 0 ? injectFault(this.#faults, head & 0xff, (head >>> 8) & 0xff) : VERDICT.none;
    if (verdict === VERDICT.fail) return STATUS.engineFailed;
    this.#spoil = verdict === VERDICT.corrupt;
    const status = rule ? this.#carryOut(entry, head, flags, space, rule) : STATUS.badOpcode;
    if (started !== 0) this.nanoseconds = Math.min(0x7fffffff, (performance.now() - started) * 1e6) | 0;
    return status;
  }

  #carryOut(entry: Int32Array, head: number, flags: number, space: number, rule: OperationRule): number {
    const request = this.#request;
    request.restart();
    request.operation = head & 0xff;
    request.algorithm = (head >>> 8) & 0xff;
    request.level = (head >>> 16) & 0xff;
    request.sourceLength = entry[WORD_SOURCE_LENGTH]! >>> 0;
    request.capacity = entry[WORD_CAPACITY]! >>> 0;
    request.auxLength = entry[WORD_AUX_LENGTH]! >>> 0;
    request.param0 = entry[WORD_PARAM]!;
    request.param1 = entry[WORD_PARAM + 1]!;
    request.param2 = entry[WORD_PARAM + 2]!;
    const session = entry[WORD_SESSION]!;
    if (request.operation === OPCODE.noop) return STATUS.ok;
    if (request.operation === OPCODE.sessionClose) return this.#sessions.close(session, space);
    const malformed = this.#checkShape(rule, flags, session);
    if (malformed !== STATUS.ok) return malformed;

    const words = this.#state.words;
    const epoch = this.#thread + THREAD.epoch;
    // From here to the second step the thread uses the client's memory, and an unmap waits for it.
    Atomics.add(words, epoch, 1);
    try {
      if (!this.#translate(entry, space, rule)) return STATUS.badAddress;
      const status =
        request.operation === OPCODE.chain ? this.#chain.run(space) : this.#perform(space, session, flags);
      if (this.#spoil && status === STATUS.ok) corrupt(request);
      this.#report();
      return status;
    } catch {
      return STATUS.engineFailed;
    } finally {
      Atomics.add(words, epoch, 1);
    }
  }

  /** Whether a request has what its operation needs, and no more. */
  #checkShape(rule: OperationRule, flags: number, session: number): Outcome {
    const request = this.#request;
    if ((flags & ~(rule.flags | SQE_FLAG.timed)) !== 0) return STATUS.badField;
    const { operation, algorithm, level } = request;
    if (operation === OPCODE.compress || operation === OPCODE.decompress) {
      if (algorithm === 0 || level > (algorithm <= ALGORITHM.gzip ? MAX_LEVEL : MAX_ANY_LEVEL)) {
        return STATUS.unsupported;
      }
      if ((flags & SQE_FLAG.piece) !== 0 && algorithm !== ALGORITHM['deflate-raw']) return STATUS.badField;
    }
    if (request.sourceLength > LIMITS.maxTransfer || request.capacity > LIMITS.maxTransfer) {
      return STATUS.badLength;
    }
    if (rule.destination === 'yes' && request.capacity === 0) return STATUS.badLength;
    if (request.auxLength > (rule.aux === 'copied' ? LIMITS.maxAux : LIMITS.maxTransfer)) {
      return STATUS.badLength;
    }
    if ((rule.aux === 'read' || rule.aux === 'written') && request.auxLength < request.sourceLength) {
      return STATUS.badLength;
    }
    if (rule.session === 'no' && session !== 0) return STATUS.badSession;
    return rule.session === 'yes' && session === 0 && request.operation !== OPCODE.chain
      ? STATUS.badSession
      : STATUS.ok;
  }

  /** Finds the ranges in this process, and copies the parameters; false for one that the client may not touch. */
  #translate(entry: Int32Array, space: number, rule: OperationRule): boolean {
    const request = this.#request;
    const state = this.#state;
    request.source = 0;
    request.destination = 0;
    request.aux = 0;
    if (rule.source && request.sourceLength > 0) {
      request.source = translate(state, space, wide(entry, WORD_SOURCE), request.sourceLength, false);
      if (request.source === 0) return false;
    }
    if (rule.destination !== 'no' && request.capacity > 0) {
      request.destination = translate(state, space, wide(entry, WORD_DESTINATION), request.capacity, true);
      if (request.destination === 0) return false;
    }
    if (rule.aux === 'none' || request.auxLength === 0) return true;
    const isWritten = rule.aux === 'written';
    request.aux = translate(state, space, wide(entry, WORD_AUX), request.auxLength, isWritten);
    if (request.aux === 0) return false;
    if (rule.aux === 'copied') {
      copyMemory(this.#aux.address, request.aux, request.auxLength);
      request.aux = this.#aux.address;
    }
    return true;
  }

  /** Executes the request in hand, whose addresses are in this process. */
  #perform(space: number, session: number, flags: number): Outcome {
    const request = this.#request;
    request.piece = (flags & SQE_FLAG.piece) !== 0;
    request.unpadded = (flags & SQE_FLAG.unpadded) !== 0;
    request.context = 0;
    if (request.operation === OPCODE.sessionOpen) {
      const outcome = this.#sessions.open(space);
      request.result = outcome === STATUS.ok ? this.#sessions.opened : 0;
      return outcome;
    }
    if (!mayRun(request)) return STATUS.badLength;
    if (session !== 0) return this.#performInSession(space, session, flags);
    const offer = this.registry.choose(request);
    return offer ? this.#runOffer(offer, space, flags) : STATUS.unsupported;
  }

  #performInSession(space: number, session: number, flags: number): Outcome {
    const request = this.#request;
    const at = this.#sessions.take(session, space);
    if (at < 0) return STATUS.badSession;
    try {
      const offer = this.registry.offerOf(request.operation, request.algorithm, this.#sessions.engineOf(at));
      return offer ? this.#runOffer(offer, space, flags) : STATUS.unsupported;
    } finally {
      this.#sessions.release(at);
    }
  }

  #runOffer({ engine, capability }: Offer, space: number, flags: number): Outcome {
    const request = this.#request;
    this.engine = ENGINE_ID[engine.name];
    const { source } = request;
    if (capability.rereads === true && request.sourceLength > 0 && this.#isMapped(space)) this.#copySource();
    const status = engine.run(request);
    request.source = source;
    const bytes = Math.max(request.consumed, request.produced);
    const units = unitsOf(request.operation, request.algorithm, undefined, 0, request);
    this.#workNs += nanosecondsOf(capability, request.level, bytes, units);
    if (status === STATUS.ok) addChecksum(this.#checksums, request, flags);
    // What a request that failed has written is nobody's result; a sequence says how far it came.
    else if (request.context === 0) request.produced = 0;
    return status === STATUS.corrupt && engine.name === 'libdeflate' ? this.#diagnose() : status;
  }

  /** Another process may change its memory at any time: an engine that minds gets a copy of the source. */
  #copySource(): void {
    const request = this.#request;
    this.#copy ??= Mapping.anonymous(LIMITS.maxTransfer);
    copyMemory(this.#copy.address, request.source, request.sourceLength);
    request.source = this.#copy.address;
  }

  /** Whether a client reaches its own memory only, as one of another process does. */
  #isMapped(space: number): boolean {
    return this.#state.words[this.#state.space(space) + SPACE.mode] === SPACE_MODE.mapped;
  }

  /** libdeflate calls all bad input corrupt; another engine can tell input that ends early. */
  #diagnose(): Outcome {
    const request = this.#request;
    const offers = this.registry.offers(request.operation, request.algorithm);
    const other = offers.find(({ engine }) => engine.name === 'zlib' || engine.name === 'node');
    const second = other?.engine.run(request) ?? STATUS.corrupt;
    request.streamEnd = false;
    request.produced = 0;
    return second === STATUS.ok ? STATUS.corrupt : second;
  }

  /** What the completion tells of the request in hand. */
  #report(): void {
    const request = this.#request;
    this.produced = request.produced;
    this.consumed = request.consumed;
    this.result = request.result;
    this.flags = request.streamEnd ? CQE_FLAG.streamEnd : 0;
    // A checksum of 64 bits: nothing else is produced.
    if (request.operation === OPCODE.checksum) this.produced = request.resultHigh;
  }
}

function wide(entry: Int32Array, low: number): number {
  return (entry[low]! >>> 0) + (entry[low + 1]! >>> 0) * 4294967296;
}
