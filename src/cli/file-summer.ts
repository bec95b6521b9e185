import { ALGORITHM, type ChecksumAlgorithm, factsOf } from '../abi/algorithms.js';
import { LIMITS, OPCODE } from '../abi/queue.js';
import type { Accelerator } from '../accelerator/accelerator.js';
import { Failure } from './failure.js';
import { type Outcome, RequestQueue, type Slot } from './request-queue.js';
import type { Source } from './source.js';

const CHUNK_BYTES = 1024 * 1024;
/** An Adler-32 that is 0, named so that it is not taken for the beginning (docs/device-spec.md, "Operations"). */
const ADLER_ZERO = 0xfff1;

/** Checksums of files of any size, in bounded memory: the next part is read while the engine is at one. */
export class FileSummer {
  readonly algorithm: ChecksumAlgorithm;
  readonly #queue: RequestQueue;
  readonly #slots: Slot[];

  private constructor(queue: RequestQueue, slots: Slot[], algorithm: ChecksumAlgorithm) {
    this.#queue = queue;
    this.#slots = slots;
    this.algorithm = algorithm;
  }

  /** @throws Failure where no engine of the device has the checksum */
  static async create(accelerator: Accelerator, algorithm: ChecksumAlgorithm): Promise<FileSummer> {
    if (!accelerator.devices()[0]!.algorithms['checksum']?.includes(algorithm)) {
      const hint = algorithm.startsWith('xxh') ? ' (apt-get install libxxhash0)' : '';
      throw new Failure(`no engine here has the checksum ${algorithm}${hint}`);
    }
    const queue = await RequestQueue.create(accelerator);
    // xxHash cannot go on from a value: a file is one request, and a byte more tells that it is not.
    const slots = isWhole(algorithm)
      ? await queue.reserve(1, LIMITS.maxTransfer + 1)
      : await queue.reserve(2, CHUNK_BYTES);
    return new FileSummer(queue, slots, algorithm);
  }

  /** The checksum of what a source has left, as hex digits. */
  async run(source: Source): Promise<string> {
    const { low, high } = isWhole(this.algorithm) ? await this.#whole(source) : await this.#inParts(source);
    const hex = (half: number): string => (half >>> 0).toString(16).padStart(8, '0');
    return factsOf(this.algorithm).outputBytes === 8 ? hex(high) + hex(low) : hex(low);
  }

  async #whole(source: Source): Promise<{ low: number; high: number }> {
    const [slot] = this.#slots as [Slot];
    const length = await source.fill(slot.buffer);
    if (length > LIMITS.maxTransfer) {
      throw new Failure(
        `too large for ${this.algorithm}, which takes ${LIMITS.maxTransfer} bytes at most (crc64-ecma has no such limit)`,
      );
    }
    const { result, produced } = await this.#request(slot, length, 0, 0);
    return { low: result, high: produced };
  }

  async #inParts(source: Source): Promise<{ low: number; high: number }> {
    let low = 0;
    let high = 0;
    let running: Promise<Outcome> | undefined;
    for (let part = 0; ; part++) {
      const slot = this.#slots[part % this.#slots.length]!;
      try {
        // Nothing at all is a request of its own, which gives what the checksum begins with.
        const length = await source.fill(slot.buffer);
        if (running) ({ result: low, produced: high } = await running);
        if (length === 0 && part > 0) return { low, high };
        running = this.#request(slot, length, this.#onward(low, part), high);
        // Its failure is met when the next part is there.
        running.catch(() => {});
      } catch (error) {
        // Nothing may be under way in a slot that the next file is read into.
        await running?.catch(() => {});
        throw error;
      }
    }
  }

  #onward(low: number, part: number): number {
    return this.algorithm === 'adler32' && low === 0 && part > 0 ? ADLER_ZERO : low;
  }

  #request(slot: Slot, sourceLength: number, param0: number, param1: number): Promise<Outcome> {
    return this.#queue.run({
      operation: OPCODE.checksum,
      algorithm: ALGORITHM[this.algorithm],
      source: slot.address,
      sourceLength,
      param0,
      param1,
    });
  }
}

function isWhole(algorithm: ChecksumAlgorithm): boolean {
  return algorithm === 'xxh64' || algorithm === 'xxh3';
}
