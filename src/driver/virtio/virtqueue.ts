import {
  VIRTQ_DESCRIPTOR,
  VIRTQ_DESCRIPTOR_FLAG,
  VIRTQ_QUIET,
  VIRTQ_RING,
  VIRTQ_USED_ELEMENT,
} from '../../abi/virtio.js';

/** How a queue is laid out, as was agreed with the device. */
export interface VirtqueueShape {
  /** Descriptors in the ring: a power of two, at most 32768. */
  size: number;
  /** The most descriptors of one request. */
  chain: number;
  /** Each request has a table of descriptors of its own, and takes one of the ring's. */
  indirect: boolean;
  /** Both sides say at which index they want to hear from the other, instead of whether at all. */
  eventIndex: boolean;
}

/** Byte offsets of the parts. */
export interface VirtqueueParts {
  available: number;
  used: number;
  tables: number;
  bytes: number;
}

const INDEX_MASK = 0xffff;
const RING_ENTRIES = VIRTQ_RING.bytes >> 1;
const DESCRIPTOR_WORDS = VIRTQ_DESCRIPTOR.bytes >> 2;
const FLAGS_SHIFT = 16;
/** An index that completions reach only after a whole lap of 65536. */
const FAR = INDEX_MASK;

/** How many requests a queue has room for: descriptors are dealt out once, a chain's worth to each. */
export function virtqueueSlots({ size, chain, indirect }: VirtqueueShape): number {
  if (indirect) return size;
  return 2 ** Math.floor(Math.log2(size / chain));
}

/**
 * Where the parts of a queue lie in its memory: virtio 1.2, 2.7. Elements of the used ring lie on multiples of 8 bytes, so
 * that none lies across two pages: behind an IOMMU, QEMU writes the second half of such a one to another address.
 */
export function virtqueueParts(shape: VirtqueueShape): VirtqueueParts {
  const { size, chain, indirect } = shape;
  const available = size * VIRTQ_DESCRIPTOR.bytes;
  const availableEnd = available + VIRTQ_RING.bytes + 2 * size + 2;
  const used = Math.ceil((availableEnd + VIRTQ_RING.bytes) / 8) * 8 - VIRTQ_RING.bytes;
  const usedEnd = used + VIRTQ_RING.bytes + size * VIRTQ_USED_ELEMENT.bytes + 2;
  const tables = Math.ceil(usedEnd / 64) * 64;
  return { available, used, tables, bytes: tables + (indirect ? size * chain * VIRTQ_DESCRIPTOR.bytes : 0) };
}

/**
 * A split virtqueue (virtio 1.2, 2.7) in memory that the device reaches, as its driver sees it. A request takes a slot,
 * describes its buffers there, and gets the slot back when the device is done with it. Nothing here allocates, and
 * nothing makes a system call.
 *
 * The device writes the used ring, and is not trusted with it: an index further on than what it was given, a slot that
 * it does not have or more bytes than it may write make the queue fail for good, with `failure` saying why. Each of its
 * words is read once.
 *
 * Ordering: indexes are stored and loaded with Atomics, so that whatever was written before an index is seen with it,
 * and a doorbell or an interrupt is decided upon only after the index is out.
 */
export class Virtqueue {
  readonly slots: number;
  /** Bytes that the device says it has written for the slot of the last `poll`. */
  usedBytes = 0;
  /** Why the queue cannot be used any more. */
  failure: string | undefined;
  readonly #shape: VirtqueueShape;
  readonly #words: Int32Array;
  readonly #halves: Uint16Array;
  /** Where the parts begin, in halves or words of their memory. */
  readonly #availableAt: number;
  readonly #usedAt: number;
  readonly #usedElements: number;
  readonly #usedEvent: number;
  readonly #availableEvent: number;
  /** First word of a slot's descriptors, and what lies between those of two slots. */
  readonly #firstTable: number;
  readonly #tableWords: number;
  /** Slots that are free, as a stack. */
  readonly #free: Uint16Array;
  #freeCount: number;
  /** Bytes that the device may write for a slot, plus one; 0 where it does not have it. */
  readonly #mayWrite: Float64Array;
  /** Index of the next request, of the first that is not published, and of the next completion. */
  #next: number;
  #published: number;
  #taken: number;
  /** Where the device does not count: whether it interrupts. */
  #armed = false;

  /**
   * @param memory zeroed, on a multiple of 16 bytes, and of `virtqueueParts(shape).bytes` at least
   * @param iova the address of its first byte, as the device knows it
   * @param startIndex where the indexes start: 0 for every device that there is
   */
  constructor(memory: Uint8Array, iova: number, shape: VirtqueueShape, startIndex = 0) {
    const { buffer, byteOffset } = memory;
    const parts = virtqueueParts(shape);
    this.#shape = shape;
    this.#words = new Int32Array(buffer, byteOffset, parts.bytes >> 2);
    this.#halves = new Uint16Array(buffer, byteOffset, parts.bytes >> 1);
    this.slots = virtqueueSlots(shape);
    this.#availableAt = parts.available >> 1;
    this.#usedAt = parts.used >> 1;
    this.#usedElements = (parts.used + VIRTQ_RING.bytes) >> 2;
    this.#usedEvent = this.#availableAt + RING_ENTRIES + shape.size;
    this.#availableEvent = this.#usedAt + RING_ENTRIES + ((shape.size * VIRTQ_USED_ELEMENT.bytes) >> 1);
    this.#firstTable = shape.indirect ? parts.tables >> 2 : 0;
    this.#tableWords = shape.chain * DESCRIPTOR_WORDS;
    this.#free = Uint16Array.from({ length: this.slots }, (_, index) => this.slots - 1 - index);
    this.#freeCount = this.slots;
    this.#mayWrite = new Float64Array(this.slots);
    this.#next = this.#published = this.#taken = startIndex;
    if (shape.indirect) {
      for (let slot = 0; slot < shape.size; slot++) {
        const table = iova + parts.tables + slot * shape.chain * VIRTQ_DESCRIPTOR.bytes;
        this.#write(slot * DESCRIPTOR_WORDS, table, 0, VIRTQ_DESCRIPTOR_FLAG.indirect, 0);
      }
    }
    this.#quiet();
  }

  /** Slots that are taken. */
  get inFlight(): number {
    return this.slots - this.#freeCount;
  }

  /** How far the device says that it has come: moves on with each completion. */
  get usedIndex(): number {
    return Atomics.load(this.#halves, this.#usedAt + 1);
  }

  /** Requests that the device has: published, and not completed. */
  get outstanding(): number {
    return (this.#published - this.usedIndex) & INDEX_MASK;
  }

  /** A free slot, or -1. */
  take(): number {
    if (this.#freeCount === 0) return -1;
    return this.#free[--this.#freeCount]!;
  }

  /** Gives back a slot that was taken and not pushed. */
  giveBack(slot: number): void {
    this.#free[this.#freeCount++] = slot;
  }

  /**
   * Describes a buffer of a request. Those that the device writes to come after those that it reads.
   * @param index of the buffer in the request; @param length at least 1
   */
  describe(slot: number, index: number, address: number, length: number, writable: boolean): void {
    const inChain = this.#shape.indirect ? index : slot * this.#shape.chain + index;
    const flags = VIRTQ_DESCRIPTOR_FLAG.next | (writable ? VIRTQ_DESCRIPTOR_FLAG.write : 0);
    this.#write(
      this.#firstTable + slot * this.#tableWords + index * DESCRIPTOR_WORDS,
      address,
      length,
      flags,
      inChain + 1,
    );
  }

  #write(at: number, address: number, length: number, flags: number, next: number): void {
    const words = this.#words;
    words[at] = address | 0;
    words[at + 1] = (address / 4294967296) | 0;
    words[at + 2] = length;
    words[at + 3] = flags | (next << FLAGS_SHIFT);
  }

  /**
   * Puts a request behind those that go to the device with the next `publish`.
   * @param buffers how many were described; @param writableBytes how much the device may write in all
   */
  push(slot: number, buffers: number, writableBytes: number): void {
    const { size, chain, indirect } = this.#shape;
    const words = this.#words;
    const last = this.#firstTable + slot * this.#tableWords + (buffers - 1) * DESCRIPTOR_WORDS;
    words[last + 3] = words[last + 3]! & VIRTQ_DESCRIPTOR_FLAG.write;
    if (indirect) words[slot * DESCRIPTOR_WORDS + 2] = buffers * VIRTQ_DESCRIPTOR.bytes;
    this.#mayWrite[slot] = writableBytes + 1;
    const entry = this.#availableAt + RING_ENTRIES + (this.#next & (size - 1));
    this.#halves[entry] = indirect ? slot : slot * chain;
    this.#next = (this.#next + 1) & INDEX_MASK;
  }

  /** Lets the device have what was pushed; true if its doorbell has to be rung. */
  publish(): boolean {
    const before = this.#published;
    const next = this.#next;
    if (before === next) return false;
    this.#published = next;
    Atomics.store(this.#halves, this.#availableAt + 1, next);
    if (!this.#shape.eventIndex) return (Atomics.load(this.#halves, this.#usedAt) & VIRTQ_QUIET) === 0;
    const event = Atomics.load(this.#halves, this.#availableEvent);
    return ((next - event - 1) & INDEX_MASK) < ((next - before) & INDEX_MASK);
  }

  /** Takes back what was pushed and not published, when nothing else is in flight: a later `publish` must not send it. */
  retract(): void {
    this.#next = this.#published;
    this.#mayWrite.forEach((mayWrite, slot) => {
      if (mayWrite === 0) return;
      this.#mayWrite[slot] = 0;
      this.giveBack(slot);
    });
  }

  /** Whether the device has completed something. */
  get ready(): boolean {
    return this.usedIndex !== this.#taken && this.failure === undefined;
  }

  /** The slot of the next request that the device has completed, which is free again; -1 if there is none. */
  poll(): number {
    if (this.failure !== undefined) return -1;
    const { size, chain, indirect } = this.#shape;
    const taken = this.#taken;
    const done = (this.usedIndex - taken) & INDEX_MASK;
    if (done === 0) return -1;
    if (done > this.inFlight) return this.#distrust('has completed more than it was given');
    const at = this.#usedElements + ((taken & (size - 1)) << 1);
    const id = this.#words[at]!;
    const length = this.#words[at + 1]! >>> 0;
    const slot = indirect ? id : id / chain;
    // A fraction, or a number out of range, finds nothing there.
    const mayWrite = this.#mayWrite[slot];
    if (mayWrite === undefined || mayWrite === 0) {
      return this.#distrust(`has completed request ${id >>> 0}, which it was not given`);
    }
    if (length >= mayWrite) return this.#distrust(`has written ${length} bytes where ${mayWrite - 1} fit`);
    this.#mayWrite[slot] = 0;
    this.#free[this.#freeCount++] = slot;
    this.#taken = (taken + 1) & INDEX_MASK;
    this.usedBytes = length;
    if (this.#armed && this.#freeCount === this.slots) this.#quiet();
    return slot;
  }

  #distrust(what: string): -1 {
    this.failure = `the device ${what}`;
    return -1;
  }

  /**
   * Asks for an interrupt after `count` more completions, or after each where the device does not count; false if they
   * are there already. Whoever sleeps is woken, even if somebody else takes the completions meanwhile: where the device
   * counts, it is asked once and passes that index once; where it does not, it is asked until nothing is in flight.
   */
  arm(count: number): boolean {
    const { eventIndex } = this.#shape;
    const wanted = eventIndex ? count : 1;
    if (eventIndex) {
      Atomics.store(this.#halves, this.#usedEvent, (this.#taken + wanted - 1) & INDEX_MASK);
    } else {
      this.#armed = true;
      Atomics.store(this.#halves, this.#availableAt, 0);
    }
    const done = (this.usedIndex - this.#taken) & INDEX_MASK;
    return done < wanted;
  }

  /** No interrupts: whoever waits polls. */
  #quiet(): void {
    this.#armed = false;
    if (this.#shape.eventIndex) {
      Atomics.store(this.#halves, this.#usedEvent, (this.#taken + FAR) & INDEX_MASK);
    } else {
      Atomics.store(this.#halves, this.#availableAt, VIRTQ_QUIET);
    }
  }
}
