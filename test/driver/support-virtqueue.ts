import assert from 'node:assert/strict';
import { type VirtqueueShape, virtqueueParts } from '../../src/driver/virtio/virtqueue.js';

/** A buffer of a request, as a device finds it. */
export interface FoundBuffer {
  address: number;
  length: number;
  writable: boolean;
}

/** A request that a device has taken from the available ring. */
export interface FoundRequest {
  head: number;
  buffers: FoundBuffer[];
}

/** Where these tests say that a queue's memory lies: an address beyond 32 bits, so that the high half counts. */
export const IOVA = 0x12_3456_0000;

/** The other side of a split virtqueue, by the letter of virtio 1.2, 2.7: it reads and writes the same memory. */
export class RingDevice {
  readonly memory: Uint8Array;
  readonly #view: DataView;
  readonly #shape: VirtqueueShape;
  readonly #parts;
  /** Indexes of the next available request, and of the next completion. */
  #seen: number;
  #used: number;
  #signalled: number;

  constructor(shape: VirtqueueShape, startIndex = 0) {
    this.#shape = shape;
    this.#parts = virtqueueParts(shape);
    this.memory = new Uint8Array(this.#parts.bytes);
    this.#view = new DataView(this.memory.buffer);
    this.#seen = this.#used = this.#signalled = startIndex;
    this.setUsedIndex(startIndex);
    if (shape.eventIndex) this.setAvailableEvent(startIndex);
  }

  get #availableIndex(): number {
    return this.#view.getUint16(this.#parts.available + 2, true);
  }

  /** Takes the next request, or gives undefined. Says with it that it wants to hear of the one after. */
  take(): FoundRequest | undefined {
    if (this.#availableIndex === this.#seen) return undefined;
    const entry = this.#parts.available + 4 + (this.#seen % this.#shape.size) * 2;
    const head = this.#view.getUint16(entry, true);
    this.#seen = (this.#seen + 1) & 0xffff;
    if (this.#shape.eventIndex) this.setAvailableEvent(this.#seen);
    return { head, buffers: this.#walk(head) };
  }

  #walk(head: number): FoundBuffer[] {
    const first = this.#descriptor(head * 16);
    if ((first.flags & 4) === 0) return this.#chain(0, head, this.#shape.size);
    assert.equal(first.flags, 4, 'a descriptor of a table has no other flag');
    assert.equal(first.length % 16, 0);
    return this.#chain(first.address - IOVA, 0, first.length / 16);
  }

  #chain(table: number, start: number, count: number): FoundBuffer[] {
    const buffers: FoundBuffer[] = [];
    for (let at = start; ; ) {
      assert.ok(at < count, 'a chain stays within its table');
      const { address, length, flags, next } = this.#descriptor(table + at * 16);
      assert.ok(length > 0, 'no buffer is empty');
      const writable = (flags & 2) !== 0;
      assert.ok(writable || !buffers.at(-1)?.writable, 'what is read comes before what is written');
      buffers.push({ address, length, writable });
      assert.ok(buffers.length <= count, 'a chain ends');
      if ((flags & 1) === 0) return buffers;
      at = next;
    }
  }

  #descriptor(at: number): { address: number; length: number; flags: number; next: number } {
    return {
      address: Number(this.#view.getBigUint64(at, true)),
      length: this.#view.getUint32(at + 8, true),
      flags: this.#view.getUint16(at + 12, true),
      next: this.#view.getUint16(at + 14, true),
    };
  }

  /** Completes a request. */
  complete(head: number, length: number): void {
    this.writeUsed(head, length);
    this.setUsedIndex(this.#used);
  }

  /** Writes an element of the used ring, and not the index. */
  writeUsed(head: number, length: number): void {
    const at = this.#parts.used + 4 + (this.#used % this.#shape.size) * 8;
    this.#view.setUint32(at, head, true);
    this.#view.setUint32(at + 4, length, true);
    this.#used = (this.#used + 1) & 0xffff;
  }

  setUsedIndex(index: number): void {
    this.#view.setUint16(this.#parts.used + 2, index & 0xffff, true);
  }

  setNoNotify(quiet: boolean): void {
    this.#view.setUint16(this.#parts.used, quiet ? 1 : 0, true);
  }

  setAvailableEvent(index: number): void {
    this.#view.setUint16(this.#parts.used + 4 + this.#shape.size * 8, index & 0xffff, true);
  }

  /** Whether the driver wants an interrupt for what was completed since this was asked last. */
  interrupts(): boolean {
    const before = this.#signalled;
    this.#signalled = this.#used;
    if (!this.#shape.eventIndex) {
      return before !== this.#used && this.#view.getUint16(this.#parts.available, true) === 0;
    }
    const event = this.#view.getUint16(this.#parts.available + 4 + this.#shape.size * 2, true);
    return ((this.#used - event - 1) & 0xffff) < ((this.#used - before) & 0xffff);
  }
}
