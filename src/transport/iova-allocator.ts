import { ArgumentError, MemoryError } from '../errors.js';
import { PAGE_BYTES } from '../sys/memory.js';

/** Addresses that a device can use, from the first to the last. */
export interface IovaRange {
  start: number;
  last: number;
}

/**
 * Hands out addresses for a device, the lowest that fit. The page behind each range stays unused: a device that runs past
 * the end of one buffer meets the IOMMU, not the next buffer.
 */
export class IovaAllocator {
  /** Free ranges by address, `end` exclusive; neighbours are merged. */
  readonly #free: { start: number; end: number }[];
  readonly #taken = new Map<number, number>();

  /** @param usable what the IOMMU translates; addresses that it keeps for itself are left out */
  constructor(usable: readonly IovaRange[]) {
    this.#free = usable
      .map(({ start, last }) => ({
        // Address 0 is what a forgotten field holds: it must reach nothing.
        start: Math.max(PAGE_BYTES, Math.ceil(start / PAGE_BYTES) * PAGE_BYTES),
        end: Math.min(Number.MAX_SAFE_INTEGER + 1, Math.floor((last + 1) / PAGE_BYTES) * PAGE_BYTES),
      }))
      .filter(({ start, end }) => start < end)
      .sort((a, b) => a.start - b.start);
  }

  /** @throws MemoryError if no range has so much room */
  reserve(length: number): number {
    if (!Number.isSafeInteger(length) || length <= 0) {
      throw new ArgumentError(`a length in bytes is wanted, not ${length}`);
    }
    const bytes = (Math.ceil(length / PAGE_BYTES) + 1) * PAGE_BYTES;
    const index = this.#free.findIndex(({ start, end }) => end - start >= bytes);
    if (index < 0) {
      throw new MemoryError(`the IOMMU has no room for ${length} bytes more`, {
        hint: 'free memory of the device first',
      });
    }
    const range = this.#free[index]!;
    const { start } = range;
    range.start += bytes;
    if (range.start === range.end) this.#free.splice(index, 1);
    this.#taken.set(start, bytes);
    return start;
  }

  /** Gives back what `reserve` gave. */
  release(iova: number): void {
    const bytes = this.#taken.get(iova);
    if (bytes === undefined) throw new ArgumentError(`0x${iova.toString(16)} was not reserved`);
    this.#taken.delete(iova);
    const end = iova + bytes;
    const next = this.#free.findIndex(({ start }) => start >= end);
    const index = next < 0 ? this.#free.length : next;
    const before = this.#free[index - 1];
    const after = this.#free[index];
    const joinsBefore = before?.end === iova;
    const joinsAfter = after?.start === end;
    if (joinsBefore && joinsAfter) {
      before.end = after.end;
      this.#free.splice(index, 1);
    } else if (joinsBefore) before.end = end;
    else if (joinsAfter) after.start = iova;
    else this.#free.splice(index, 0, { start: iova, end });
  }
}
