import { CQE, SQE } from '../../abi/queue.js';
import type { QueuePair } from '../../queue/queue-pair.js';
import type { Interrupt } from '../../sys/interrupt.js';
import type { Completion, DeviceQueue, Submission } from '../driver.js';

const OPCODE = SQE.offset.opcode >> 2;
const REQUEST_ID = SQE.offset.requestId >> 2;
const SESSION = SQE.offset.session >> 2;
const SOURCE = SQE.offset.sourceLow >> 2;
const SOURCE_LENGTH = SQE.offset.sourceLength >> 2;
const CAPACITY = SQE.offset.destinationCapacity >> 2;
const DESTINATION = SQE.offset.destinationLow >> 2;
const AUX = SQE.offset.auxLow >> 2;
const AUX_LENGTH = SQE.offset.auxLength >> 2;
const PARAM = SQE.offset.param0 >> 2;
const C_REQUEST_ID = CQE.offset.requestId >> 2;
const C_STATUS = CQE.offset.status >> 2;
const C_PRODUCED = CQE.offset.produced >> 2;
const C_CONSUMED = CQE.offset.consumed >> 2;
const C_RESULT = CQE.offset.result >> 2;
const C_NANOSECONDS = CQE.offset.nanoseconds >> 2;

/** A queue of our own virtual accelerator: docs/device-spec.md, "Submission" and "Completion". */
export class WvaQueue implements DeviceQueue {
  readonly id: number;
  readonly depth: number;
  readonly interrupt: Interrupt;
  readonly pair: QueuePair;
  readonly #release: () => Promise<void>;

  constructor(id: number, pair: QueuePair, interrupt: Interrupt, release: () => Promise<void>) {
    this.id = id;
    this.depth = pair.depth;
    this.interrupt = interrupt;
    this.pair = pair;
    this.#release = release;
  }

  get inFlight(): number {
    return this.pair.inFlight;
  }

  get enginesAwake(): number {
    return this.pair.enginesAwake;
  }

  get failed(): boolean {
    return this.pair.failed || this.interrupt.ended;
  }

  get ready(): boolean {
    return this.pair.peek() >= 0;
  }

  submit(submission: Submission): boolean {
    const at = this.pair.reserve();
    if (at < 0) return false;
    const sq = this.pair.sq;
    const { source, destination, aux } = submission;
    sq[at + OPCODE] =
      submission.operation |
      (submission.algorithm << 8) |
      (submission.level << 16) |
      (submission.flags << 24);
    sq[at + REQUEST_ID] = submission.requestId;
    sq[at + SESSION] = submission.session;
    sq[at + SOURCE] = source | 0;
    sq[at + SOURCE + 1] = (source / 4294967296) | 0;
    sq[at + SOURCE_LENGTH] = submission.sourceLength;
    sq[at + CAPACITY] = submission.capacity;
    sq[at + DESTINATION] = destination | 0;
    sq[at + DESTINATION + 1] = (destination / 4294967296) | 0;
    sq[at + AUX] = aux | 0;
    sq[at + AUX + 1] = (aux / 4294967296) | 0;
    sq[at + AUX_LENGTH] = submission.auxLength;
    sq[at + PARAM] = submission.param0;
    sq[at + PARAM + 1] = submission.param1;
    sq[at + PARAM + 2] = submission.param2;
    return true;
  }

  publish(): void {
    this.pair.publish();
  }

  poll(completion: Completion): boolean {
    const at = this.pair.peek();
    if (at < 0) return false;
    const cq = this.pair.cq;
    const status = cq[at + C_STATUS]!;
    completion.requestId = cq[at + C_REQUEST_ID]!;
    completion.status = status & 0xff;
    completion.engine = (status >>> 8) & 0xff;
    completion.thread = (status >>> 16) & 0xff;
    completion.flags = status >>> 24;
    completion.produced = cq[at + C_PRODUCED]!;
    completion.consumed = cq[at + C_CONSUMED]!;
    completion.result = cq[at + C_RESULT]!;
    completion.nanoseconds = cq[at + C_NANOSECONDS]!;
    this.pair.advance();
    return true;
  }

  arm(count: number): boolean {
    return this.pair.arm(count);
  }

  release(): Promise<void> {
    return this.#release();
  }
}
