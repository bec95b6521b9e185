import { LIMITS, OPCODE, SQE, SQE_FLAG, STATUS } from '../abi/queue.js';
import { copyMemory, Mapping } from '../sys/memory.js';
import type { EngineRequest, Outcome } from './engines/engine.js';
import { RULES } from './rules.js';

const STAGE_WORDS = SQE.bytes >> 2;
const WORD_OPCODE = SQE.offset.opcode >> 2;
const WORD_SESSION = SQE.offset.session >> 2;
const WORD_CAPACITY = SQE.offset.destinationCapacity >> 2;
const WORD_DESTINATION = SQE.offset.destinationLow >> 2;
const WORD_AUX = SQE.offset.auxLow >> 2;
const WORD_AUX_LENGTH = SQE.offset.auxLength >> 2;
const WORD_PARAM = SQE.offset.param0 >> 2;

/** Operations whose output the next stage takes; all others look at what passes, and leave it as it is. */
const isTransform = (opcode: number): boolean =>
  opcode === OPCODE.compress ||
  opcode === OPCODE.decompress ||
  opcode === OPCODE.encrypt ||
  opcode === OPCODE.decrypt ||
  opcode === OPCODE.copy;
const isObserver = (opcode: number): boolean =>
  opcode === OPCODE.digest || opcode === OPCODE.mac || opcode === OPCODE.checksum;
/** What a stage may be asked for besides. */
const STAGE_FLAGS = SQE_FLAG.unpadded | SQE_FLAG.crc32c;

/** Executes the request in hand: a space, a session or 0, flags. */
type Perform = (space: number, session: number, flags: number) => Outcome;
/** Where a range of the client's lies that will be written, or 0. */
type Translate = (address: number, length: number) => number;

/**
 * Several operations as one request: each stage takes what the one before made, and only the last one's output goes to
 * the client. What is made between lies in memory of the thread's own, and is overwritten afterwards.
 */
export class Chain {
  readonly #request: EngineRequest;
  readonly #aux: Mapping;
  readonly #perform: Perform;
  readonly #between: (Mapping | undefined)[] = [undefined, undefined];
  readonly #used = [0, 0];
  #stages = new Int32Array(LIMITS.maxStages * STAGE_WORDS);

  constructor(request: EngineRequest, aux: Mapping, perform: Perform) {
    this.#request = request;
    this.#aux = aux;
    this.#perform = perform;
  }

  close(): void {
    for (const mapping of this.#between) mapping?.unmap();
  }

  /** Runs the stages that the request in hand brings in its parameters. */
  run(space: number, flags: number, translate: Translate): Outcome {
    const request = this.#request;
    const count = request.param0;
    const { source, sourceLength, destination, capacity, auxLength } = request;
    if (count < 1 || count > LIMITS.maxStages || auxLength < count * SQE.bytes) return STATUS.badLength;
    this.#stages.set(this.#aux.words.subarray(0, count * STAGE_WORDS));
    let last = -1;
    for (let stage = 0; stage < count; stage++) {
      if (isTransform(this.#stages[stage * STAGE_WORDS + WORD_OPCODE]! & 0xff)) last = stage;
    }
    try {
      let result = 0;
      let outcome: Outcome = STATUS.ok;
      let slot = 0;
      let produced = 0;
      for (let stage = 0; stage < count; stage++) {
        const at = stage * STAGE_WORDS;
        const opcode = this.#stages[at + WORD_OPCODE]! & 0xff;
        const isLast = stage === last;
        const ready = this.#prepare(at, opcode, auxLength, translate);
        if (ready !== STATUS.ok) return ready;
        if (isTransform(opcode)) {
          request.destination = isLast ? destination : this.#buffer(slot).address;
          request.capacity = isLast ? capacity : LIMITS.maxTransfer;
          if (request.capacity === 0) return STATUS.badLength;
        }
        outcome = this.#perform(
          space,
          this.#stages[at + WORD_SESSION]!,
          (this.#stages[at + WORD_OPCODE]! >>> 24) | (flags & SQE_FLAG.timed),
        );
        if (isTransform(opcode) && !isLast) this.#used[slot] = Math.max(this.#used[slot]!, request.produced);
        if (outcome !== STATUS.ok) return outcome;
        if (opcode === OPCODE.checksum) result = this.#deliverChecksum(at, translate);
        else if (opcode === OPCODE.copy) result = request.result;
        if (isTransform(opcode)) {
          produced = request.produced;
          request.source = request.destination;
          request.sourceLength = produced;
          slot ^= 1;
        }
      }
      request.produced = produced;
      request.result = result;
      return STATUS.ok;
    } finally {
      request.operation = OPCODE.chain;
      request.consumed = sourceLength;
      request.source = source;
      request.streamEnd = false;
      this.#forget();
    }
  }

  /** Puts a stage into the request in hand; its input is there already. */
  #prepare(at: number, opcode: number, auxLength: number, translate: Translate): Outcome {
    const request = this.#request;
    const stages = this.#stages;
    const rule = RULES[opcode];
    const stageFlags = stages[at + WORD_OPCODE]! >>> 24;
    if (!rule || !(isTransform(opcode) || isObserver(opcode))) return STATUS.badOpcode;
    if ((stageFlags & ~(rule.flags & STAGE_FLAGS)) !== 0) return STATUS.badField;
    const { sourceLength } = request;
    request.restart();
    request.sourceLength = sourceLength;
    request.operation = opcode;
    request.algorithm = (stages[at + WORD_OPCODE]! >>> 8) & 0xff;
    request.level = (stages[at + WORD_OPCODE]! >>> 16) & 0xff;
    request.param0 = stages[at + WORD_PARAM]!;
    request.param1 = stages[at + WORD_PARAM + 1]!;
    request.param2 = stages[at + WORD_PARAM + 2]!;
    // A stage's parameters lie behind the stages: their address is an offset there.
    const offset = stages[at + WORD_AUX]! >>> 0;
    const length = stages[at + WORD_AUX_LENGTH]! >>> 0;
    if (stages[at + WORD_AUX + 1] !== 0 || offset + length > auxLength) return STATUS.badLength;
    request.aux = length === 0 ? 0 : this.#aux.address + offset;
    request.auxLength = length;
    if (!isObserver(opcode) || opcode === OPCODE.checksum) return STATUS.ok;
    request.capacity = stages[at + WORD_CAPACITY]! >>> 0;
    if (request.capacity === 0 || request.capacity > LIMITS.maxTransfer) return STATUS.badLength;
    request.destination = translate(this.#address(at), request.capacity);
    return request.destination === 0 ? STATUS.badAddress : STATUS.ok;
  }

  /** A checksum goes into the completion, and to the stage's destination if it has one. */
  #deliverChecksum(at: number, translate: Translate): number {
    const request = this.#request;
    const capacity = this.#stages[at + WORD_CAPACITY]! >>> 0;
    if (capacity < 8) return request.result;
    const to = translate(this.#address(at), 8);
    if (to === 0) return request.result;
    const words = this.#stages;
    words[at] = request.result;
    words[at + 1] = request.resultHigh;
    copyMemory(to, this.#stagesAddress(at), 8);
    return request.result;
  }

  #stagesAddress(at: number): number {
    this.#aux.words[0] = this.#stages[at]!;
    this.#aux.words[1] = this.#stages[at + 1]!;
    return this.#aux.address;
  }

  #address(at: number): number {
    const low = this.#stages[at + WORD_DESTINATION]! >>> 0;
    return low + (this.#stages[at + WORD_DESTINATION + 1]! >>> 0) * 4294967296;
  }

  #buffer(slot: number): Mapping {
    this.#between[slot] ??= Mapping.anonymous(LIMITS.maxTransfer);
    return this.#between[slot]!;
  }

  #forget(): void {
    for (let slot = 0; slot < 2; slot++) {
      if (this.#used[slot] === 0) continue;
      this.#between[slot]!.bytes.fill(0, 0, this.#used[slot]!);
      this.#used[slot] = 0;
    }
  }
}
