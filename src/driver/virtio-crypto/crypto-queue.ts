import { HARDWARE_ENGINE, LIMITS, OPCODE, SQE_FLAG, STATUS } from '../../abi/queue.js';
import { CRYPTO_OPCODE, CRYPTO_STATUS } from '../../abi/virtio-crypto.js';
import type { Interrupt } from '../../sys/interrupt.js';
import { copyMemory, fillMemory } from '../../sys/memory.js';
import type { Completion, DeviceQueue, Submission } from '../driver.js';
import { Virtqueue, virtqueueParts } from '../virtio/virtqueue.js';
import { BLOCK_BYTES, CIPHER_BY_ALGORITHM, type Cipher } from './ciphers.js';
import { LocalCompletions } from './local-completions.js';
import type { MemoryMap } from './memory-map.js';
import { RequestTable } from './request-table.js';
import type { Sessions } from './sessions.js';
import type { QueueProgress } from './stall-watch.js';

/** Header with IV, source, what is put behind it, output, the output's end with the status. */
export const DATA_CHAIN = 5;

/** A queue of the device as it was set up last. */
export interface QueueRings {
  virtqueue: Virtqueue;
  table: RequestTable;
  /** Rings the doorbell. */
  ring: () => void;
}

/** What the queues of a device have in common. */
export interface QueueOwner {
  readonly sessions: Sessions;
  readonly memory: MemoryMap;
  readonly lost: boolean;
  /** An internal session, for empty requests, and two blocks of memory. */
  readonly probe: { session: number; cipher: Cipher; source: number; destination: number } | undefined;
  /** The device broke the rules. */
  distrust(reason: string): void;
  /** Called by whoever waits: looks at the device, if it is time. */
  look(): void;
}

/**
 * A data queue of a virtio-crypto device, as the accelerator uses any queue. What is no request for a cipher (sessions,
 * mistakes) is completed here, at once. Ciphers of the device take whole blocks: what is missing
 * is put behind the source from a table of this driver's, and what is too much of the output goes there.
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
  #rings: QueueRings;
  /** By slot: what the completion is to say, and how the output ends. */
  readonly #requestIds: Int32Array;
  readonly #sourceLengths: Float64Array;
  readonly #produced: Float64Array;
  readonly #destinations: Float64Array;
  readonly #capacities: Float64Array;
  readonly #tails: Uint8Array;
  readonly #padded: Uint8Array;
  readonly #busy: Uint8Array;
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
    const { slots } = rings.virtqueue;
    this.id = id;
    this.depth = depth;
    this.interrupt = interrupt;
    this.#interrupts = interrupts;
    this.#owner = owner;
    this.#release = release;
    this.#rings = rings;
    this.#local = new LocalCompletions(depth);
    this.#requestIds = new Int32Array(slots);
    this.#sourceLengths = new Float64Array(slots);
    this.#produced = new Float64Array(slots);
    this.#destinations = new Float64Array(slots);
    this.#capacities = new Float64Array(slots);
    this.#tails = new Uint8Array(slots);
    this.#padded = new Uint8Array(slots);
    this.#busy = new Uint8Array(slots);
  }

  /** Submitted, and not yet taken by `poll`. */
  get inFlight(): number {
    return this.#rings.virtqueue.inFlight + this.#local.count;
  }

  get usedIndex(): number {
    return this.#rings.virtqueue.usedIndex;
  }

  get outstanding(): number {
    return this.#rings.virtqueue.outstanding;
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
    return this.#local.count > 0 || this.#rings.virtqueue.ready;
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
        return this.#startCipher(submission);
      case OPCODE.noop:
        return this.#startNoop(submission);
      case OPCODE.sessionOpen:
        return this.#openSession(submission);
      case OPCODE.sessionClose:
        return this.#owner.sessions.close(submission.session);
      default:
        return STATUS.badOpcode;
    }
  }

  #openSession({ algorithm, level, flags, source, sourceLength }: Submission): number {
    const cipher = CIPHER_BY_ALGORITHM[algorithm];
    const isCipher = level === OPCODE.encrypt || level === OPCODE.decrypt;
    if (!cipher || !isCipher || (flags & SQE_FLAG.piece) !== 0) return STATUS.unsupported;
    if (sourceLength !== cipher.keyBytes) return STATUS.badKey;
    const address = this.#owner.memory.find(source, sourceLength);
    if (address === 0) return STATUS.badAddress;
    const { sessions } = this.#owner;
    const status = sessions.openAt(cipher, address, level === OPCODE.encrypt);
    this.#result = sessions.low;
    return status;
  }

  /** An empty request: the device enciphers one block that nobody wants, which shows that it works. */
  #startNoop({ requestId }: Submission): number {
    const { probe, sessions } = this.#owner;
    if (!probe) return STATUS.ok;
    const { cipher, source, destination } = probe;
    const status = sessions.use(probe.session, cipher, true);
    if (status !== STATUS.ok) return status;
    const slot = this.#take(requestId, 0, 0, destination, 0, 0, false);
    return this.#send(slot, cipher, true, source, BLOCK_BYTES, 0, destination);
  }

  #startCipher(submission: Submission): number {
    const { algorithm, flags, requestId, source, sourceLength, destination, capacity } = submission;
    const { memory, sessions } = this.#owner;
    const cipher = CIPHER_BY_ALGORITHM[algorithm];
    if (!cipher) return STATUS.unsupported;
    const { ivBytes, mode } = cipher;
    const unpadded = (flags & SQE_FLAG.unpadded) !== 0;
    if (sourceLength > LIMITS.maxTransfer) return STATUS.badLength;
    if (submission.param0 !== ivBytes || submission.auxLength !== ivBytes) return STATUS.badLength;
    if (submission.param1 !== 0 || (unpadded && mode !== 'block')) return STATUS.badField;
    const encrypts = submission.operation === OPCODE.encrypt;
    const padded = mode === 'block' && !unpadded;
    const rest = sourceLength % BLOCK_BYTES;
    let behind = 0;
    let tail = 0;
    if (padded && encrypts) {
      behind = BLOCK_BYTES - rest;
    } else if (padded) {
      // Data of no whole number of blocks is not what was once encrypted.
      if (rest !== 0 || sourceLength === 0) return STATUS.notAuthentic;
      tail = BLOCK_BYTES;
    } else if (mode === 'counter' && rest !== 0) {
      tail = behind = BLOCK_BYTES - rest;
    } else if (rest !== 0) {
      return mode === 'xts' && sourceLength > BLOCK_BYTES ? STATUS.unsupported : STATUS.badLength;
    } else if (mode === 'xts' && sourceLength === 0) {
      return STATUS.badLength;
    }
    const total = sourceLength + behind;
    const body = total - tail;
    if (body > capacity) return STATUS.noSpace;
    const overlaps = source < destination + body && destination < source + sourceLength;
    if (overlaps && source !== destination) return STATUS.badAddress;
    if (sourceLength > 0 && memory.find(source, sourceLength) === 0) return STATUS.badAddress;
    const ivAddress = ivBytes === 0 ? 0 : memory.find(submission.aux, ivBytes);
    // The end of a padded message is put there by this driver.
    const needed = padded && !encrypts ? Math.min(capacity, total) : body;
    const target = needed === 0 ? 0 : memory.find(destination, needed);
    if ((ivBytes > 0 && ivAddress === 0) || (needed > 0 && target === 0)) return STATUS.badAddress;
    const found = sessions.use(submission.session, cipher, encrypts);
    if (found !== STATUS.ok || total === 0) return found;
    const produced = mode === 'counter' ? sourceLength : total;
    const slot = this.#take(requestId, sourceLength, produced, target, capacity, tail, padded && !encrypts);
    const { table } = this.#rings;
    if (ivBytes > 0) copyMemory(table.ivAddress(slot), ivAddress, ivBytes);
    if (behind > 0) table.fillPad(slot, padded ? behind : 0);
    return this.#send(slot, cipher, encrypts, source, sourceLength, behind, destination);
  }

  #take(
    requestId: number,
    sourceLength: number,
    produced: number,
    target: number,
    capacity: number,
    tail: number,
    padded: boolean,
  ): number {
    const slot = this.#rings.virtqueue.take();
    this.#requestIds[slot] = requestId;
    this.#sourceLengths[slot] = sourceLength;
    this.#produced[slot] = produced;
    this.#destinations[slot] = target;
    this.#capacities[slot] = capacity;
    this.#tails[slot] = tail;
    this.#padded[slot] = padded ? 1 : 0;
    this.#busy[slot] = 1;
    return slot;
  }

  /** Describes a request whose session `Sessions.use` has found, and pushes it. */
  #send(
    slot: number,
    { number, ivBytes }: Cipher,
    encrypts: boolean,
    source: number,
    sourceLength: number,
    behind: number,
    destination: number,
  ): number {
    const { virtqueue, table } = this.#rings;
    const { low, high } = this.#owner.sessions;
    const tail = this.#tails[slot]!;
    const total = sourceLength + behind;
    const opcode = encrypts ? CRYPTO_OPCODE.encrypt : CRYPTO_OPCODE.decrypt;
    table.setHeader(slot, opcode, number, low, high, ivBytes, total);
    table.clearStatus(slot, tail);
    let buffers = 0;
    virtqueue.describe(slot, buffers++, table.header(slot), table.headerBytes + ivBytes, false);
    // A buffer of no bytes is an error to a device.
    if (sourceLength > 0) virtqueue.describe(slot, buffers++, source, sourceLength, false);
    if (behind > 0) virtqueue.describe(slot, buffers++, table.pad(slot), behind, false);
    if (total > tail) virtqueue.describe(slot, buffers++, destination, total - tail, true);
    virtqueue.describe(slot, buffers++, table.tail(slot), tail + 1, true);
    virtqueue.push(slot, buffers, total + 1);
    return SENT;
  }

  publish(): void {
    if (this.#owner.lost) return;
    const { virtqueue, ring } = this.#rings;
    if (virtqueue.publish()) ring();
  }

  poll(completion: Completion): boolean {
    if (this.#local.count > 0) {
      this.#local.take(completion);
      return true;
    }
    const { virtqueue } = this.#rings;
    const slot = virtqueue.poll();
    if (slot < 0) {
      if (virtqueue.failure !== undefined) this.#owner.distrust(virtqueue.failure);
      return false;
    }
    this.#busy[slot] = 0;
    this.completed++;
    const answer = this.#rings.table.status(slot, this.#tails[slot]!);
    let status = answer === CRYPTO_STATUS.ok ? STATUS.ok : statusOf(answer);
    let produced = this.#produced[slot]!;
    if (this.#padded[slot] === 1) {
      if (status === STATUS.ok) {
        const padding = this.#rings.table.padding(slot);
        produced -= padding;
        status = this.#endPadded(slot, padding, produced);
      }
      this.#rings.table.wipeTail(slot);
    }
    completion.requestId = this.#requestIds[slot]!;
    completion.status = status;
    completion.engine = HARDWARE_ENGINE;
    completion.thread = 0;
    completion.flags = 0;
    completion.produced = status === STATUS.ok ? produced : 0;
    completion.consumed = this.#sourceLengths[slot]!;
    completion.result = 0;
    completion.nanoseconds = 0;
    return true;
  }

  /** Puts the last bytes of a message whose padding has been taken off where they belong; nothing stays of any other. */
  #endPadded(slot: number, padding: number, produced: number): number {
    const target = this.#destinations[slot]!;
    const body = this.#produced[slot]! - BLOCK_BYTES;
    const fits = produced <= this.#capacities[slot]!;
    if (padding === 0 || !fits) {
      if (body > 0) fillMemory(target, 0, body);
      return padding === 0 ? STATUS.notAuthentic : STATUS.noSpace;
    }
    if (produced > body) copyMemory(target + body, this.#rings.table.tailAddress(slot), produced - body);
    return STATUS.ok;
  }

  arm(count: number): boolean {
    if (this.#local.count > 0 || !this.#interrupts) return false;
    return this.#rings.virtqueue.arm(count);
  }

  /** Goes on after a reset: what the device had has failed. */
  restart(rings: QueueRings): void {
    for (let slot = 0; slot < this.#busy.length; slot++) {
      if (this.#busy[slot] === 0) continue;
      this.#busy[slot] = 0;
      this.#local.add(this.#requestIds[slot]!, STATUS.engineFailed, 0);
    }
    this.#rings = rings;
  }

  /** Drops what was submitted and not published. */
  retract(): void {
    this.#rings.virtqueue.retract();
  }

  /** The memory of its rings is gone: nothing goes out, and nothing comes back. */
  detach(): void {
    const shape = { size: 2, chain: DATA_CHAIN, indirect: true, eventIndex: false };
    const virtqueue = new Virtqueue(new Uint8Array(virtqueueParts(shape).bytes), 0, shape);
    const table = new RequestTable(new Uint8Array(RequestTable.bytes(2)), 0, 0);
    this.#rings = { virtqueue, table, ring: () => {} };
  }

  release(): Promise<void> {
    return this.#release();
  }
}

/** No STATUS: the request is with the device. */
const SENT = -1;

function statusOf(answer: number): number {
  if (answer === CRYPTO_STATUS.unsupported) return STATUS.unsupported;
  if (answer === CRYPTO_STATUS.badSession) return STATUS.badSession;
  if (answer === CRYPTO_STATUS.noSpace) return STATUS.noResources;
  return STATUS.engineFailed;
}
