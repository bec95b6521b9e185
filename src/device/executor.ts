import { ALGORITHM, algorithmName, MAX_LEVEL } from '../abi/algorithms.js';
import { CQE_FLAG, LIMITS, OPCODE, SQE, SQE_FLAG, SQE_FLAGS_DEFINED, STATUS } from '../abi/queue.js';
import { copyMemory, Mapping } from '../sys/memory.js';
import { translate } from './address-space.js';
import { type Checksums, loadChecksums } from './engines/checksum.js';
import { ENGINE_ID, type Engine, EngineRequest, type Outcome } from './engines/engine.js';
import type { EngineRegistry } from './engines/registry.js';
import { type Fault, injectFault } from './inject.js';
import { closeSession, openSession } from './ledger.js';
import { type DeviceState, SESSION, SPACE, SPACE_MODE, THREAD } from './state.js';

const WORD_OPCODE = SQE.offset.opcode >> 2;
const WORD_SESSION = SQE.offset.session >> 2;
const WORD_SOURCE = SQE.offset.sourceLow >> 2;
const WORD_SOURCE_LENGTH = SQE.offset.sourceLength >> 2;
const WORD_CAPACITY = SQE.offset.destinationCapacity >> 2;
const WORD_DESTINATION = SQE.offset.destinationLow >> 2;
const WORD_RESERVED = SQE.offset.reserved0 >> 2;
const WORD_END = SQE.bytes >> 2;

const CHECKSUMS = SQE_FLAG.crc32 | SQE_FLAG.adler32;

const SESSION_FREE = 0;
const SESSION_OPEN = 1;
const SESSION_BUSY = 2;
/** A session's number: its slot below, a serial above, so that a number from before is recognised as stale. */
const SESSION_SLOT_BITS = 12;

/** About how many nanoseconds a compressed byte takes to decompress, with any engine. */
const DECOMPRESS_NS_PER_BYTE = 5;

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
  readonly #faults: Fault[];
  #copy: Mapping | undefined;
  engine = 0;
  produced = 0;
  consumed = 0;
  result = 0;
  nanoseconds = 0;
  flags = 0;

  constructor(state: DeviceState, threadIndex: number, registry: EngineRegistry, faults: Fault[]) {
    this.#state = state;
    this.#thread = state.thread(threadIndex);
    this.registry = registry;
    this.#faults = faults;
    this.#checksums = loadChecksums(registry.names);
  }

  /** Frees what the thread holds; nothing is executed afterwards. */
  close(): void {
    this.#copy?.unmap();
    this.registry.close();
  }

  /** Whether the request is done without touching memory, so that it can be answered at once. */
  isTrivial(entry: Int32Array): boolean {
    return (entry[WORD_OPCODE]! & 0xff) === OPCODE.noop;
  }

  /** A guess at the microseconds that a request will take. */
  estimate(entry: Int32Array): number {
    return this.#microseconds(entry, entry[WORD_SOURCE_LENGTH]! >>> 0);
  }

  /** The work that the last request was, in microseconds: its bytes, on whichever side there were more of them. */
  workUs(entry: Int32Array): number {
    return this.#microseconds(entry, Math.max(this.consumed, this.produced));
  }

  #microseconds(entry: Int32Array, bytes: number): number {
    const head = entry[WORD_OPCODE]!;
    const nsPerByte =
      (head & 0xff) === OPCODE.compress
        ? this.registry.nsPerByte((head >>> 16) & 0xff)
        : DECOMPRESS_NS_PER_BYTE;
    return (bytes * nsPerByte) / 1000;
  }

  /** KiB of source and destination that a request names, as far as a device would look at them. */
  footprintKib(entry: Int32Array): number {
    const source = Math.min(entry[WORD_SOURCE_LENGTH]! >>> 0, LIMITS.maxTransfer);
    const capacity = Math.min(entry[WORD_CAPACITY]! >>> 0, LIMITS.maxTransfer);
    return ((source + capacity) >>> 10) + 1;
  }

  /** Executes a submission on behalf of an address space. */
  run(entry: Int32Array, space: number): number {
    this.engine = 0;
    this.produced = 0;
    this.consumed = 0;
    this.result = 0;
    this.nanoseconds = 0;
    this.flags = 0;
    const head = entry[WORD_OPCODE]!;
    const flags = head >>> 24;
    if ((flags & ~SQE_FLAGS_DEFINED) !== 0 || (flags & CHECKSUMS) === CHECKSUMS) return STATUS.badField;
    for (let word = WORD_RESERVED; word < WORD_END; word++) {
      if (entry[word] !== 0) return STATUS.badField;
    }
    const started = (flags & SQE_FLAG.timed) !== 0 ? performance.now() : 0;
    if (this.#faults.length > 0 && injectFault(this.#faults, head & 0xff)) return STATUS.engineFailed;
    const status = this.#dispatch(entry, head, flags, space);
    if (started !== 0) this.nanoseconds = Math.min(0x7fffffff, (performance.now() - started) * 1e6) | 0;
    return status;
  }

  #dispatch(entry: Int32Array, head: number, flags: number, space: number): number {
    switch (head & 0xff) {
      case OPCODE.noop:
        return STATUS.ok;
      case OPCODE.compress:
      case OPCODE.decompress:
        return this.#transform(entry, head, flags, space);
      case OPCODE.streamOpen:
        return this.#openStream((head >>> 8) & 0xff, space);
      case OPCODE.streamClose:
        return this.#closeStream(entry[WORD_SESSION]!, space);
      default:
        return STATUS.badOpcode;
    }
  }

  #transform(entry: Int32Array, head: number, flags: number, space: number): number {
    const request = this.#request;
    request.algorithm = (head >>> 8) & 0xff;
    request.level = (head >>> 16) & 0xff;
    request.piece = (flags & SQE_FLAG.piece) !== 0;
    request.sourceLength = entry[WORD_SOURCE_LENGTH]! >>> 0;
    request.capacity = entry[WORD_CAPACITY]! >>> 0;
    request.produced = 0;
    request.consumed = 0;
    request.streamEnd = false;
    if (algorithmName(request.algorithm) === undefined) return STATUS.unsupported;
    if (request.level > MAX_LEVEL) return STATUS.unsupported;
    if (request.piece && request.algorithm !== ALGORITHM['deflate-raw']) return STATUS.badField;
    if (request.sourceLength > LIMITS.maxTransfer) return STATUS.badLength;
    if (request.capacity === 0 || request.capacity > LIMITS.maxTransfer) return STATUS.badLength;

    const words = this.#state.words;
    const epoch = this.#thread + THREAD.epoch;
    // From here to the second step the thread uses the client's memory, and an unmap waits for it.
    Atomics.add(words, epoch, 1);
    try {
      const source = wide(entry, WORD_SOURCE);
      request.source =
        request.sourceLength === 0 ? 0 : translate(this.#state, space, source, request.sourceLength, false);
      request.destination = translate(
        this.#state,
        space,
        wide(entry, WORD_DESTINATION),
        request.capacity,
        true,
      );
      if ((request.source === 0 && request.sourceLength > 0) || request.destination === 0) {
        return STATUS.badAddress;
      }
      const status =
        (head & 0xff) === OPCODE.compress
          ? this.#compress(request, entry[WORD_SESSION]!, flags, this.#isMapped(space))
          : this.#decompress(request, entry[WORD_SESSION]!, space, flags);
      this.produced = request.produced;
      this.consumed = request.consumed;
      this.flags = request.streamEnd ? CQE_FLAG.streamEnd : 0;
      return status;
    } catch {
      return STATUS.engineFailed;
    } finally {
      Atomics.add(words, epoch, 1);
    }
  }

  #compress(request: EngineRequest, session: number, flags: number, isMapped: boolean): Outcome {
    if (session !== 0) return STATUS.badSession;
    const engine = this.registry.compressor(request);
    if (!engine) return STATUS.unsupported;
    this.engine = ENGINE_ID[engine.name];
    if (engine.capabilities.rereads && isMapped && request.sourceLength > 0) this.#copySource(request);
    const status = engine.compress(request);
    if (status === STATUS.ok) this.#checksum(flags, request.source, request.sourceLength);
    return status;
  }

  /** Another process may change its memory at any time: an engine that minds gets a copy of the source. */
  #copySource(request: EngineRequest): void {
    this.#copy ??= Mapping.anonymous(LIMITS.maxTransfer);
    copyMemory(this.#copy.address, request.source, request.sourceLength);
    request.source = this.#copy.address;
  }

  /** Whether a client reaches its own memory only, as one of another process does. */
  #isMapped(space: number): boolean {
    return this.#state.words[this.#state.space(space) + SPACE.mode] === SPACE_MODE.mapped;
  }

  #decompress(request: EngineRequest, session: number, space: number, flags: number): Outcome {
    if (request.piece) return STATUS.badField;
    const status =
      session === 0 ? this.#decompressWhole(request) : this.#decompressStream(request, session, space);
    if (status === STATUS.ok) this.#checksum(flags, request.destination, request.produced);
    return status;
  }

  #checksum(flags: number, address: number, length: number): void {
    if ((flags & SQE_FLAG.crc32) !== 0) this.result = this.#checksums.crc32(address, length);
    else if ((flags & SQE_FLAG.adler32) !== 0) this.result = this.#checksums.adler32(address, length);
  }

  #decompressWhole(request: EngineRequest): Outcome {
    const engine = this.registry.decompressor;
    if (!engine) return STATUS.unsupported;
    this.engine = ENGINE_ID[engine.name];
    const status = engine.decompress(request);
    if (status !== STATUS.corrupt || engine.name !== 'libdeflate') return status;
    // libdeflate calls all bad input corrupt; another engine can tell input that ends early.
    const second = this.registry.diagnostician?.decompress(request) ?? status;
    request.streamEnd = false;
    request.produced = 0;
    return second === STATUS.ok ? STATUS.corrupt : second;
  }

  #decompressStream(request: EngineRequest, session: number, space: number): Outcome {
    const engine = this.registry.streamer;
    if (!engine) return STATUS.unsupported;
    this.engine = ENGINE_ID[engine.name];
    const at = this.#takeSession(session, space);
    if (at < 0) return STATUS.badSession;
    const words = this.#state.words;
    try {
      if (words[at + SESSION.algorithm] !== request.algorithm) return STATUS.badSession;
      return engine.decompressStream(this.#state.wide(at + SESSION.addressLow), request);
    } finally {
      words[this.#thread + THREAD.session] = 0;
      Atomics.store(words, at + SESSION.state, SESSION_OPEN);
    }
  }

  #openStream(algorithm: number, space: number): Outcome {
    const engine = this.registry.streamer;
    if (!engine || algorithmName(algorithm) === undefined) return STATUS.unsupported;
    this.engine = ENGINE_ID[engine.name];
    const { ledger } = this.#state;
    const account = this.#state.account(space);
    if (!openSession(ledger, account)) return STATUS.noResources;
    const outcome = this.#takeFreeSession(engine, algorithm, space);
    if (outcome !== STATUS.ok) closeSession(ledger, account);
    return outcome;
  }

  #takeFreeSession(engine: Engine, algorithm: number, space: number): Outcome {
    const { words, shape } = this.#state;
    for (let slot = 0; slot < shape.sessions; slot++) {
      const at = this.#state.session(slot);
      if (Atomics.compareExchange(words, at + SESSION.state, SESSION_FREE, SESSION_BUSY) !== SESSION_FREE)
        continue;
      const address = engine.openStream(algorithm);
      if (address === 0) {
        Atomics.store(words, at + SESSION.state, SESSION_FREE);
        return STATUS.noResources;
      }
      words[at + SESSION.space] = space;
      words[at + SESSION.algorithm] = algorithm;
      this.#state.setWide(at + SESSION.addressLow, address);
      const serial = (words[at + SESSION.serial]! + 1) & 0x7ffff;
      words[at + SESSION.serial] = serial;
      this.result = (serial << SESSION_SLOT_BITS) | (slot + 1);
      Atomics.store(words, at + SESSION.state, SESSION_OPEN);
      return STATUS.ok;
    }
    return STATUS.noResources;
  }

  #closeStream(session: number, space: number): Outcome {
    const at = this.#takeSession(session, space);
    if (at < 0) return STATUS.badSession;
    this.#state.words[this.#thread + THREAD.session] = 0;
    releaseSession(this.#state, at, this.registry.streamer);
    return STATUS.ok;
  }

  /** Takes a session of this address space for one request; -1 if it is not there, not theirs, or in use. */
  #takeSession(session: number, space: number): number {
    const slot = (session & ((1 << SESSION_SLOT_BITS) - 1)) - 1;
    if (slot < 0 || slot >= this.#state.shape.sessions) return -1;
    const { words } = this.#state;
    const at = this.#state.session(slot);
    if (Atomics.compareExchange(words, at + SESSION.state, SESSION_OPEN, SESSION_BUSY) !== SESSION_OPEN)
      return -1;
    if (words[at + SESSION.space] === space && words[at + SESSION.serial] === session >>> SESSION_SLOT_BITS) {
      words[this.#thread + THREAD.session] = slot + 1;
      return at;
    }
    Atomics.store(words, at + SESSION.state, SESSION_OPEN);
    return -1;
  }
}

/** Frees a session that the caller has taken. */
function releaseSession(state: DeviceState, at: number, streamer: Engine | undefined): void {
  streamer?.closeStream(state.wide(at + SESSION.addressLow));
  closeSession(state.ledger, state.account(state.words[at + SESSION.space]!));
  Atomics.store(state.words, at + SESSION.state, SESSION_FREE);
}

/** Ends the session that a thread which is gone had in use: whatever state it was left in, nobody goes on with it. */
export function abandonSession(state: DeviceState, slot: number, streamer: Engine | undefined): void {
  releaseSession(state, state.session(slot), streamer);
}

/** Frees every session of an address space whose queues are all disabled. */
export function releaseSessions(state: DeviceState, space: number, streamer: Engine | undefined): void {
  for (let slot = 0; slot < state.shape.sessions; slot++) {
    const at = state.session(slot);
    if (state.words[at + SESSION.space] !== space) continue;
    if (Atomics.compareExchange(state.words, at + SESSION.state, SESSION_OPEN, SESSION_BUSY) !== SESSION_OPEN)
      continue;
    releaseSession(state, at, streamer);
  }
}

function wide(entry: Int32Array, low: number): number {
  return (entry[low]! >>> 0) + (entry[low + 1]! >>> 0) * 4294967296;
}
