import { LIMITS, OPCODE, SQE, SQE_FLAG, STATUS } from '../abi/queue.js';
import { copyMemory, Mapping } from '../sys/memory.js';
import type { EngineRequest, Outcome } from './engines/engine.js';
import { RULES } from './rules.js';

const STAGE_WORDS = SQE.bytes >> 2;
const WORD_OPCODE = SQE.offset.opcode >> 2;
const WORD_SESSION = SQE.offset.session >> 2;
const WORD_AUX = SQE.offset.auxLow >> 2;
const WORD_AUX_LENGTH = SQE.offset.auxLength >> 2;
const WORD_PARAM = SQE.offset.param0 >> 2;

/** The largest output of a stage that looks at what passes: a digest of 512 bits. */
const NOTE_BYTES = 64;
const CHECKSUM_BYTES = 8;
/** What a stage may be asked for besides. */
const STAGE_FLAGS = SQE_FLAG.unpadded;

/** Operations whose output the next stage takes. */
const isTransform = (opcode: number): boolean =>
  opcode === OPCODE.compress ||
  opcode === OPCODE.decompress ||
  opcode === OPCODE.encrypt ||
  opcode === OPCODE.decrypt ||
  opcode === OPCODE.copy;
/** Operations that look at what passes, and leave it as it is. */
const isObserver = (opcode: number): boolean =>
  opcode === OPCODE.digest || opcode === OPCODE.mac || opcode === OPCODE.checksum;

/** Executes the request in hand: a space, a session or 0, flags. */
type Perform = (space: number, session: number, flags: number) => Outcome;

/**
 * Several operations as one request: each stage takes what the one before made, and only the last one's output goes to
 * the client, followed by what the observing stages found. What lies between is memory of the thread's own, and is
 * overwritten afterwards.
 */
export class Chain {
  readonly #request: EngineRequest;
  readonly #aux: Mapping;
  readonly #perform: Perform;
  readonly #stages = new Int32Array(LIMITS.maxStages * STAGE_WORDS);
  readonly #notes = Mapping.anonymous(LIMITS.maxStages * NOTE_BYTES);
  /** Two buffers in turn; how much of each has to be overwritten. */
  readonly #between: (Mapping | undefined)[] = [undefined, undefined];
  readonly #used = [0, 0];
  #auxLength = 0;
  #noted = 0;

  /** @param aux where a request's parameters are copied to */
  constructor(request: EngineRequest, aux: Mapping, perform: Perform) {
    this.#request = request;
    this.#aux = aux;
    this.#perform = perform;
  }

  close(): void {
    this.#notes.unmap();
    for (const mapping of this.#between) mapping?.unmap();
  }

  /** Runs the stages that the request in hand brings in its parameters. */
  run(space: number): Outcome {
    const request = this.#request;
    const count = request.param0;
    const { source, sourceLength, destination, capacity, auxLength } = request;
    if (count < 1 || count > LIMITS.maxStages || auxLength < count * SQE.bytes) return STATUS.badLength;
    this.#stages.set(this.#aux.words.subarray(0, count * STAGE_WORDS));
    this.#auxLength = auxLength;
    this.#noted = 0;
    let last = -1;
    for (let stage = 0; stage < count; stage++) {
      if (isTransform(this.#stages[stage * STAGE_WORDS + WORD_OPCODE]! & 0xff)) last = stage;
    }
    try {
      const outcome = this.#runStages(count, last, space, destination, capacity);
      request.produced = 0;
      if (outcome !== STATUS.ok) return outcome;
      const produced = last < 0 ? 0 : request.sourceLength;
      if (produced + this.#noted > capacity) return STATUS.noSpace;
      if (this.#noted > 0) copyMemory(destination + produced, this.#notes.address, this.#noted);
      request.produced = produced + this.#noted;
      return STATUS.ok;
    } finally {
      request.operation = OPCODE.chain;
      request.consumed = sourceLength;
      request.source = source;
      request.result = 0;
      request.streamEnd = false;
      this.#forget();
    }
  }

  #runStages(count: number, last: number, space: number, destination: number, capacity: number): Outcome {
    const request = this.#request;
    let slot = 0;
    for (let stage = 0; stage < count; stage++) {
      const at = stage * STAGE_WORDS;
      const head = this.#stages[at + WORD_OPCODE]!;
      const opcode = head & 0xff;
      const ready = this.#prepare(at, opcode);
      if (ready !== STATUS.ok) return ready;
      const transforms = isTransform(opcode);
      if (!transforms) {
        request.destination = this.#notes.address + this.#noted;
        request.capacity = opcode === OPCODE.checksum ? 0 : NOTE_BYTES;
      } else if (stage === last) {
        request.destination = destination;
        request.capacity = capacity;
      } else {
        request.destination = this.#buffer(slot).address;
        request.capacity = LIMITS.maxTransfer;
        // It may write as much as there is room for before it fails.
        this.#used[slot] = LIMITS.maxTransfer;
      }
      const outcome = this.#perform(space, this.#stages[at + WORD_SESSION]!, head >>> 24);
      if (transforms && stage !== last && outcome === STATUS.ok) this.#used[slot] = request.produced;
      if (outcome !== STATUS.ok) return outcome;
      if (!transforms) {
        this.#note(opcode);
        continue;
      }
      request.source = request.destination;
      request.sourceLength = request.produced;
      slot ^= 1;
    }
    return STATUS.ok;
  }

  /** Puts a stage into the request in hand; its input is there already. */
  #prepare(at: number, opcode: number): Outcome {
    const request = this.#request;
    const stages = this.#stages;
    const head = stages[at + WORD_OPCODE]!;
    const rule = RULES[opcode];
    if (!rule || !(isTransform(opcode) || isObserver(opcode))) return STATUS.badOpcode;
    if (((head >>> 24) & ~(rule.flags & STAGE_FLAGS)) !== 0) return STATUS.badField;
    if (rule.session === 'yes' && stages[at + WORD_SESSION] === 0) return STATUS.badSession;
    request.restart();
    request.operation = opcode;
    request.algorithm = (head >>> 8) & 0xff;
    request.level = (head >>> 16) & 0xff;
    request.param0 = stages[at + WORD_PARAM]!;
    request.param1 = stages[at + WORD_PARAM + 1]!;
    request.param2 = stages[at + WORD_PARAM + 2]!;
    // A stage's parameters lie behind the stages: their address is an offset there.
    const offset = stages[at + WORD_AUX]! >>> 0;
    const length = stages[at + WORD_AUX_LENGTH]! >>> 0;
    if (stages[at + WORD_AUX + 1] !== 0 || offset + length > this.#auxLength) return STATUS.badLength;
    request.aux = length === 0 ? 0 : this.#aux.address + offset;
    request.auxLength = length;
    return STATUS.ok;
  }

  /** Keeps what an observing stage has found. */
  #note(opcode: number): void {
    const request = this.#request;
    if (opcode !== OPCODE.checksum) {
      this.#noted += request.produced;
      return;
    }
    const { bytes } = this.#notes;
    for (let byte = 0; byte < CHECKSUM_BYTES; byte++) {
      const half = byte < 4 ? request.result : request.resultHigh;
      bytes[this.#noted + byte] = half >>> (8 * (byte & 3));
    }
    this.#noted += CHECKSUM_BYTES;
  }

  #buffer(slot: number): Mapping {
    this.#between[slot] ??= Mapping.anonymous(LIMITS.maxTransfer);
    return this.#between[slot]!;
  }

  #forget(): void {
    this.#notes.bytes.fill(0);
    for (let slot = 0; slot < 2; slot++) {
      const used = this.#used[slot]!;
      this.#used[slot] = 0;
      if (used === 0) continue;
      this.#between[slot]!.bytes.fill(0, 0, used);
    }
  }
}
