import { HARDWARE_ENGINE } from '../../abi/queue.js';
import type { Completion } from '../driver.js';

/** Completions that do not come from the device, in the order in which they were made. */
export class LocalCompletions {
  count = 0;
  #head = 0;
  readonly #requestIds: Int32Array;
  readonly #statuses: Uint8Array;
  readonly #results: Int32Array;

  /** @param depth the most that can be there at once */
  constructor(depth: number) {
    this.#requestIds = new Int32Array(depth);
    this.#statuses = new Uint8Array(depth);
    this.#results = new Int32Array(depth);
  }

  add(requestId: number, status: number, result: number): void {
    const at = (this.#head + this.count++) % this.#requestIds.length;
    this.#requestIds[at] = requestId;
    this.#statuses[at] = status;
    this.#results[at] = result;
  }

  /** Takes the first of them. */
  take(completion: Completion): void {
    const at = this.#head;
    this.#head = (at + 1) % this.#requestIds.length;
    this.count--;
    completion.requestId = this.#requestIds[at]!;
    completion.status = this.#statuses[at]!;
    completion.result = this.#results[at]!;
    completion.engine = HARDWARE_ENGINE;
    completion.thread = 0;
    completion.flags = 0;
    completion.produced = 0;
    completion.consumed = 0;
    completion.nanoseconds = 0;
  }
}
