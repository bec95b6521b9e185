import { LIMITS, OPCODE, STATUS } from '../abi/queue.js';
import { viewMemory } from '../sys/libc.js';
import {
  ENGINE_ID,
  type EngineRequest,
  type Outcome,
  openContextFor,
  type SessionTerms,
} from './engines/engine.js';
import type { EngineRegistry, Offer } from './engines/registry.js';
import { closeSession, openSession } from './ledger.js';
import { type DeviceState, SESSION, SESSION_STATE, THREAD } from './state.js';

/** A session's number: its slot below, a serial above, so that a number from before is recognised as stale. */
const SESSION_SLOT_BITS = 12;
const SLOT_MASK = (1 << SESSION_SLOT_BITS) - 1;
const MAX_SERIAL = 0x7ffff;
/** How long a thread sleeps between two looks whether others have let go of a session. */
const RELEASE_PAUSE_MS = 0.05;

/** Memory for the key material of all sessions of a device. Nobody but its threads has it mapped. */
export function sessionKeyBytes(sessions: number): number {
  return sessions * LIMITS.maxKey;
}

/**
 * The sessions of a device as one of its threads sees them: what is set up once and used by many requests. Key material
 * is copied here when a session is opened and overwritten when it ends. A session belongs to one address space.
 */
export class Sessions {
  readonly #state: DeviceState;
  readonly #registry: EngineRegistry;
  readonly #thread: number;
  readonly #keys: Uint8Array;
  readonly #keysAddress: number;
  readonly #request: EngineRequest;
  /** The slot that the last `open` filled, as a session's number. */
  opened = 0;
  /** Whether the session that was taken last is one request's alone. */
  #isExclusive = false;

  /** @param thread the engine thread's number; -1 for the control thread, which only ends sessions */
  constructor(
    state: DeviceState,
    registry: EngineRegistry,
    thread: number,
    keysAddress: number,
    request: EngineRequest,
  ) {
    this.#state = state;
    this.#registry = registry;
    this.#thread = thread;
    this.#keysAddress = keysAddress;
    this.#keys = new Uint8Array(viewMemory(keysAddress, sessionKeyBytes(state.shape.sessions)));
    this.#request = request;
  }

  /** Opens a session as the request in hand asks; its source is the key material. */
  open(space: number): Outcome {
    const request = this.#request;
    if (request.sourceLength > LIMITS.maxKey) return STATUS.badLength;
    // Streams are what a session was for before there were others, and what one is for where nothing is said.
    const operation = request.level === 0 ? OPCODE.decompress : request.level;
    const isSequence = operation === OPCODE.decompress || operation === OPCODE.digest || request.piece;
    const offer = this.#registry.chooseForSession(operation, request.algorithm, isSequence);
    if (!offer) return STATUS.unsupported;
    const { ledger } = this.#state;
    const account = this.#state.account(space);
    if (!openSession(ledger, account)) return STATUS.noResources;
    const outcome = this.#fillFree(space, operation, isSequence, offer);
    if (outcome !== STATUS.ok) closeSession(ledger, account);
    return outcome;
  }

  #fillFree(space: number, operation: number, isSequence: boolean, offer: Offer): Outcome {
    const { words, shape } = this.#state;
    const { free, busy } = SESSION_STATE;
    for (let slot = 0; slot < shape.sessions; slot++) {
      const at = this.#state.session(slot);
      if (Atomics.compareExchange(words, at + SESSION.state, free, busy) === free) {
        return this.#fill(slot, at, space, operation, isSequence, offer);
      }
    }
    return STATUS.noResources;
  }

  #fill(
    slot: number,
    at: number,
    space: number,
    operation: number,
    isSequence: boolean,
    { engine }: Offer,
  ): Outcome {
    const request = this.#request;
    const { words } = this.#state;
    const keyAt = slot * LIMITS.maxKey;
    const { sourceLength } = request;
    if (sourceLength > 0) {
      this.#keys.set(new Uint8Array(viewMemory(request.source, sourceLength)), keyAt);
    }
    words[at + SESSION.operation] = operation;
    words[at + SESSION.algorithm] = request.algorithm;
    words[at + SESSION.engine] = ENGINE_ID[engine.name];
    words[at + SESSION.exclusive] = isSequence ? 1 : 0;
    words[at + SESSION.param0] = request.param0;
    words[at + SESSION.param1] = request.param1;
    words[at + SESSION.param2] = request.param2;
    words[at + SESSION.keyLength] = sourceLength;
    words.fill(0, at + SESSION.contexts, at + this.#state.sessionWords);
    // Whether the key is one is found out now, and not by the first request.
    this.#load(at, slot, 0);
    const context = openContextFor(engine, request, this.#terms(at));
    if (context === 0) {
      this.#keys.fill(0, keyAt, keyAt + sourceLength);
      Atomics.store(words, at + SESSION.state, SESSION_STATE.free);
      const hasKey = operation !== OPCODE.digest && !(operation === OPCODE.decompress && sourceLength === 0);
      return hasKey ? STATUS.badKey : STATUS.noResources;
    }
    this.#state.setWide(this.#contextAt(at), context);
    const serial = (words[at + SESSION.serial]! % MAX_SERIAL) + 1;
    words[at + SESSION.serial] = serial;
    words[at + SESSION.space] = space;
    this.opened = (serial << SESSION_SLOT_BITS) | (slot + 1);
    Atomics.store(words, at + SESSION.state, SESSION_STATE.open);
    return STATUS.ok;
  }

  /** Where this thread's context of a session is kept. */
  #contextAt(at: number): number {
    const exclusive = this.#state.words[at + SESSION.exclusive] !== 0;
    return at + SESSION.contexts + (exclusive ? 0 : 2 * this.#thread);
  }

  /** Puts a session's context and key into the request in hand. */
  #load(at: number, slot: number, context: number): void {
    const request = this.#request;
    const { words } = this.#state;
    request.context = context;
    request.key = this.#keysAddress + slot * LIMITS.maxKey;
    request.keyLength = words[at + SESSION.keyLength]!;
  }

  /** What a session was opened with. */
  #terms(at: number): SessionTerms {
    const { words } = this.#state;
    return {
      operation: words[at + SESSION.operation]!,
      algorithm: words[at + SESSION.algorithm]!,
      param0: words[at + SESSION.param0]!,
      param1: words[at + SESSION.param1]!,
      param2: words[at + SESSION.param2]!,
    };
  }

  /**
   * Takes a session for the request in hand, and puts its context and key there. `release` follows.
   * @returns where its words start, or -1 if it is not there, not this client's, not for this, or in use
   */
  take(session: number, space: number): number {
    const slot = (session & SLOT_MASK) - 1;
    if (slot < 0 || slot >= this.#state.shape.sessions) return -1;
    const { words } = this.#state;
    const at = this.#state.session(slot);
    // A guess at somebody else's session must not even touch it.
    if (!this.#isOf(at, session, space)) return -1;
    if (!this.#serves(at)) return -1;
    const exclusive = words[at + SESSION.exclusive] !== 0;
    this.#isExclusive = exclusive;
    const { open, busy } = SESSION_STATE;
    if (exclusive) {
      if (Atomics.compareExchange(words, at + SESSION.state, open, busy) !== open) return -1;
    } else {
      Atomics.add(words, at + SESSION.users, 1);
    }
    words[this.#state.thread(this.#thread) + THREAD.session] = slot + 1;
    // It may have ended between the first look and now.
    const ended = !exclusive && Atomics.load(words, at + SESSION.state) !== open;
    if (ended || !this.#isOf(at, session, space)) {
      this.release(at);
      return -1;
    }
    const contextAt = this.#contextAt(at);
    let context = this.#state.wide(contextAt);
    if (context === 0) {
      context = this.#makeContext(at, slot);
      this.#state.setWide(contextAt, context);
    }
    if (context === 0) {
      this.release(at);
      return -1;
    }
    this.#load(at, slot, context);
    return at;
  }

  /** A context for a thread that has not had this session before. */
  #makeContext(at: number, slot: number): number {
    this.#load(at, slot, 0);
    const engine = this.#registry.engine(this.engineOf(at));
    return engine ? openContextFor(engine, this.#request, this.#terms(at)) : 0;
  }

  #isOf(at: number, session: number, space: number): boolean {
    const { words } = this.#state;
    return (
      words[at + SESSION.space] === space && words[at + SESSION.serial] === session >>> SESSION_SLOT_BITS
    );
  }

  /** Whether a session was opened for what the request in hand asks. */
  #serves(at: number): boolean {
    const { operation, algorithm } = this.#request;
    const { words } = this.#state;
    if (operation === OPCODE.sessionClose) return true;
    const purpose = words[at + SESSION.operation]!;
    // A key encrypts and decrypts.
    const fits = purpose === operation || (purpose === OPCODE.encrypt && operation === OPCODE.decrypt);
    return fits && words[at + SESSION.algorithm] === algorithm;
  }

  /** The engine that keeps a session. */
  engineOf(at: number): number {
    return this.#state.words[at + SESSION.engine]!;
  }

  /** Lets go of what `take` took. */
  release(at: number): void {
    const { words } = this.#state;
    if (this.#isExclusive) {
      Atomics.store(words, at + SESSION.state, SESSION_STATE.open);
    } else {
      Atomics.sub(words, at + SESSION.users, 1);
    }
    words[this.#state.thread(this.#thread) + THREAD.session] = 0;
  }

  /** Ends a session: at once for those who come, and once all that use it have let go. */
  close(session: number, space: number): Outcome {
    const slot = (session & SLOT_MASK) - 1;
    if (slot < 0 || slot >= this.#state.shape.sessions) return STATUS.badSession;
    const { words } = this.#state;
    const at = this.#state.session(slot);
    const { open, busy } = SESSION_STATE;
    if (!this.#isOf(at, session, space)) return STATUS.badSession;
    if (Atomics.compareExchange(words, at + SESSION.state, open, busy) !== open) return STATUS.badSession;
    if (!this.#isOf(at, session, space)) {
      Atomics.store(words, at + SESSION.state, open);
      return STATUS.badSession;
    }
    this.#waitForUsers(at);
    this.#end(slot, at);
    return STATUS.ok;
  }

  #waitForUsers(at: number): void {
    const { words } = this.#state;
    for (;;) {
      const users = Atomics.load(words, at + SESSION.users);
      if (users === 0) return;
      Atomics.wait(words, at + SESSION.users, users, RELEASE_PAUSE_MS);
    }
  }

  /** Frees a session that nobody can be using. */
  #end(slot: number, at: number): void {
    const { words } = this.#state;
    const engine = this.#registry.engine(words[at + SESSION.engine]!);
    for (let word = at + SESSION.contexts; word < at + this.#state.sessionWords; word += 2) {
      const context = this.#state.wide(word);
      if (context !== 0) engine?.closeContext(context);
      this.#state.setWide(word, 0);
    }
    const keyAt = slot * LIMITS.maxKey;
    this.#keys.fill(0, keyAt, keyAt + words[at + SESSION.keyLength]!);
    const space = words[at + SESSION.space]!;
    words[at + SESSION.space] = -1;
    closeSession(this.#state.ledger, this.#state.account(space));
    Atomics.store(words, at + SESSION.state, SESSION_STATE.free);
  }

  /**
   * Puts in order what a thread left behind that is gone. A sequence is in a state that nobody knows, and ends; of a
   * session that is shared only that thread's context is given up.
   */
  abandon(slot: number, thread: number): void {
    const { words } = this.#state;
    const at = this.#state.session(slot);
    if (words[at + SESSION.exclusive] !== 0) {
      this.#end(slot, at);
      return;
    }
    this.#state.setWide(at + SESSION.contexts + 2 * thread, 0);
    Atomics.sub(words, at + SESSION.users, 1);
  }

  /** Ends every session of an address space whose queues are all disabled. */
  endAll(space: number): void {
    const { words, shape } = this.#state;
    const { open, busy } = SESSION_STATE;
    for (let slot = 0; slot < shape.sessions; slot++) {
      const at = this.#state.session(slot);
      if (words[at + SESSION.space] !== space) continue;
      if (Atomics.compareExchange(words, at + SESSION.state, open, busy) !== open) continue;
      this.#end(slot, at);
    }
  }
}
