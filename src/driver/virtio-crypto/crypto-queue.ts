import { ALGORITHM } from '../../abi/algorithms.js';
import { HARDWARE_ENGINE, LIMITS, OPCODE, SQE_FLAG, STATUS } from '../../abi/queue.js';
import { CRYPTO_DIRECTION } from '../../abi/virtio-crypto.js';
import type { Interrupt } from '../../sys/interrupt.js';
import type { Completion, DeviceQueue, Submission } from '../driver.js';
import { Virtqueue, virtqueueParts } from '../virtio/virtqueue.js';
import { CipherRequests } from './cipher-requests.js';
import { CIPHER_BY_ALGORITHM } from './ciphers.js';
import { LocalCompletions } from './local-completions.js';
import { RequestTable } from './request-table.js';
import { DATA_CHAIN, KIND, type QueueOwner, type QueueRings, Requests, SENT } from './requests.js';
import { SignatureRequests } from './signature-requests.js';
import { SIGNATURE } from './signatures.js';
import type { QueueProgress } from './stall-watch.js';

/**
 * A data queue of a virtio-crypto device, as the accelerator uses any queue. What is no request for the device (sessions,
 * mistakes) is completed here, at once.
 */
export class CryptoQueue implements DeviceQueue, QueueProgress {
  readonly id: number;
  readonly depth: number;
  readonly interrupt: Interrupt;
  /** Device queues that no interrupt comes from are polled. */
  readonly #interrupts: boolean;
  readonly #owner: QueueOwner;
  readonly #release: () => Promise<void>;
  readonly #local: LocalCompletions;
  readonly #requests: Requests;
  readonly #ciphers: CipherRequests;
  readonly #signatures: SignatureRequests;
  /** Requests that the device has completed. */
  completed = 0;

  constructor(
    id: number,
    depth: number,
    rings: QueueRings,
    interrupt: Interrupt,
    interrupts: boolean,
    owner: QueueOwner,
    release: () => Promise<void>,
  ) {
    this.id = id;
    this.depth = depth;
    this.interrupt = interrupt;
    this.#interrupts = interrupts;
    this.#owner = owner;
    this.#release = release;
    this.#local = new LocalCompletions(depth);
    this.#requests = new Requests(rings);
    this.#ciphers = new CipherRequests(owner, this.#requests);
    this.#signatures = new SignatureRequests(owner, this.#requests);
  }

  /** Submitted, and not yet taken by `poll`. */
  get inFlight(): number {
    return this.#requests.rings.virtqueue.inFlight + this.#local.count;
  }

  get usedIndex(): number {
    return this.#requests.rings.virtqueue.usedIndex;
  }

  get outstanding(): number {
    return this.#requests.rings.virtqueue.outstanding;
  }

  /** There are none: the hardware takes no processor away from whoever polls. */
  get enginesAwake(): number {
    return 0;
  }

  get failed(): boolean {
    this.#owner.look();
    return this.#owner.lost;
  }

  get ready(): boolean {
    return this.#local.count > 0 || this.#requests.rings.virtqueue.ready;
  }

  submit(submission: Submission): boolean {
    if (this.inFlight >= this.depth || this.#owner.lost) return false;
    const status = this.#start(submission);
    if (status !== SENT) this.#local.add(submission.requestId, status, this.#result);
    return true;
  }

  /** What a request that is completed here is answered with. */
  #result = 0;

  /** Sends a request to the device, and returns SENT; or the STATUS with which it is completed at once. */
  #start(submission: Submission): number {
    this.#result = 0;
    switch (submission.operation) {
      case OPCODE.encrypt:
      case OPCODE.decrypt:
        return this.#ciphers.start(submission);
      case OPCODE.sign:
      case OPCODE.verify:
        return this.#signatures.start(submission);
      case OPCODE.noop:
        return this.#ciphers.startNoop(submission);
      case OPCODE.sessionOpen:
        return this.#openSession(submission);
      case OPCODE.sessionClose:
        return this.#owner.sessions.close(submission.session);
      default:
        return STATUS.badOpcode;
    }
  }

  #openSession({ algorithm, level, flags, source, sourceLength, param0, param1 }: Submission): number {
    if ((flags & SQE_FLAG.piece) !== 0) return STATUS.unsupported;
    if (sourceLength > LIMITS.maxKey) return STATUS.badLength;
    const address = sourceLength === 0 ? 0 : this.#owner.memory.find(source, sourceLength);
    if (sourceLength > 0 && address === 0) return STATUS.badAddress;
    const { sessions } = this.#owner;
    const cipher = CIPHER_BY_ALGORITHM[algorithm];
    let status: number = STATUS.unsupported;
    if (cipher && (level === OPCODE.encrypt || level === OPCODE.decrypt)) {
      const direction = level === OPCODE.encrypt ? CRYPTO_DIRECTION.encrypt : CRYPTO_DIRECTION.decrypt;
      status = sourceLength === cipher.keyBytes ? sessions.openAt(cipher, address, direction) : STATUS.badKey;
    } else if (algorithm === ALGORITHM[SIGNATURE] && (level === OPCODE.sign || level === OPCODE.verify)) {
      if (param1 !== 0 || sourceLength === 0) return STATUS.badKey;
      status = sessions.openSigner(address, sourceLength, param0, level === OPCODE.verify);
    }
    this.#result = sessions.low;
    return status;
  }

  publish(): void {
    if (this.#owner.lost) return;
    const { virtqueue, ring } = this.#requests.rings;
    if (virtqueue.publish()) ring();
  }

  poll(completion: Completion): boolean {
    if (this.#local.count > 0) {
      this.#local.take(completion);
      return true;
    }
    const { virtqueue } = this.#requests.rings;
    const slot = virtqueue.poll();
    if (slot < 0) {
      if (virtqueue.failure !== undefined) this.#owner.distrust(virtqueue.failure);
      return false;
    }
    this.completed++;
    const requests = this.#requests;
    const isSignature = requests.kinds[slot] === KIND.signature;
    requests.kinds[slot] = KIND.none;
    completion.requestId = requests.requestIds[slot]!;
    completion.consumed = requests.sourceLengths[slot]!;
    completion.engine = HARDWARE_ENGINE;
    completion.thread = 0;
    completion.flags = 0;
    completion.nanoseconds = 0;
    if (isSignature) this.#signatures.finish(slot, completion);
    else this.#ciphers.finish(slot, completion);
    return true;
  }

  arm(count: number): boolean {
    if (this.#local.count > 0 || !this.#interrupts) return false;
    return this.#requests.rings.virtqueue.arm(count);
  }

  /** Goes on after a reset: what the device had has failed. */
  restart(rings: QueueRings): void {
    const { kinds, requestIds } = this.#requests;
    for (let slot = 0; slot < kinds.length; slot++) {
      if (kinds[slot] === KIND.none) continue;
      kinds[slot] = KIND.none;
      this.#local.add(requestIds[slot]!, STATUS.engineFailed, 0);
    }
    this.#requests.rings = rings;
  }

  /** Drops what was submitted and not published. */
  retract(): void {
    this.#requests.rings.virtqueue.retract();
  }

  /** The memory of its rings is gone: nothing goes out, and nothing comes back. */
  detach(): void {
    const shape = { size: 2, chain: DATA_CHAIN, indirect: true, eventIndex: false };
    const virtqueue = new Virtqueue(new Uint8Array(virtqueueParts(shape).bytes), 0, shape);
    const table = new RequestTable(new Uint8Array(RequestTable.bytes(2)), 0, 0);
    this.#requests.rings = { virtqueue, table, ring: () => {} };
  }

  release(): Promise<void> {
    return this.#release();
  }
}
