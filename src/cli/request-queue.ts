import { setTimeout as sleep } from 'node:timers/promises';
import { STATUS, statusName } from '../abi/queue.js';
import type { Accelerator } from '../accelerator/accelerator.js';
import type { AcceleratorQueue } from '../accelerator/raw-queue.js';
import { Completion, Submission } from '../driver/driver.js';
import { Failure } from './failure.js';

/** Device memory for one piece of a file. */
export interface Slot {
  buffer: Buffer;
  /** The address of its first byte, as requests name it. */
  address: number;
}

/** How a request ended. */
export type Outcome = Pick<Completion, 'flags' | 'produced' | 'consumed' | 'result'>;

interface Waiting {
  resolve: (outcome: Outcome) => void;
  reject: (error: Error) => void;
}

/** Requests in flight beyond which nobody is in a hurry, for each engine thread. */
const DEEP_PER_THREAD = 2;
/** Looks without any progress after which the queue itself does the waiting: it notices a device that failed. */
const MAX_LOOKS = 50;

/** A queue of the accelerator on which each request is a promise, with memory for what the requests work on. */
export class RequestQueue {
  readonly #queue: AcceleratorQueue;
  readonly #deep: number;
  readonly #waiting = new Map<number, Waiting>();
  readonly #submission = new Submission();
  readonly #completion = new Completion();
  #nextId = 0;
  #pumping = false;

  private constructor(queue: AcceleratorQueue, threads: number) {
    this.#queue = queue;
    this.#deep = DEEP_PER_THREAD * threads;
  }

  static async create(accelerator: Accelerator): Promise<RequestQueue> {
    const threads = accelerator.devices()[0]!.maxThreads;
    return new RequestQueue(await accelerator.requestQueue({ depth: 256 }), threads);
  }

  /** `count` slots of `bytes` each. */
  async reserve(count: number, bytes: number): Promise<Slot[]> {
    // Slots start on pages, so that no two of them share a cache line.
    const stride = Math.ceil(bytes / 4096) * 4096;
    const memory = await this.#queue.reserveMemory(count * stride);
    return Array.from({ length: count }, (_, index) => ({
      buffer: memory.buffer.subarray(index * stride, index * stride + bytes),
      address: memory.address + index * stride,
    }));
  }

  /** Sends a request. No more may be in flight than the queue is deep: callers are bounded by their slots. */
  run(request: Partial<Submission>): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId;
      this.#nextId = (id + 1) & 0x7fffffff;
      Object.assign(this.#submission, new Submission(), request, { requestId: id });
      if (!this.#queue.send(this.#submission)) {
        reject(new Failure('the queue is full'));
        return;
      }
      this.#waiting.set(id, { resolve, reject });
      if (!this.#pumping) void this.#pump();
    });
  }

  /** Settles requests while there are any in flight. */
  async #pump(): Promise<void> {
    this.#pumping = true;
    let looks = 0;
    try {
      for (;;) {
        if (this.#reap()) looks = 0;
        else looks++;
        // Whoever was just served sends the next request before anybody sleeps.
        await undefined;
        if (this.#waiting.size === 0) break;
        // With enough work queued for every engine thread, polling would only take a processor away from them.
        if (this.#waiting.size > this.#deep && looks < MAX_LOOKS) await sleep(1);
        else await this.#queue.wait();
      }
    } catch (error) {
      for (const { reject } of this.#waiting.values()) reject(error as Error);
      this.#waiting.clear();
    }
    this.#pumping = false;
  }

  #reap(): boolean {
    const completion = this.#completion;
    let any = false;
    while (this.#queue.recv(completion)) {
      any = true;
      const waiting = this.#waiting.get(completion.requestId);
      if (!waiting) continue;
      this.#waiting.delete(completion.requestId);
      const { status, flags, produced, consumed, result } = completion;
      if (status === STATUS.ok) waiting.resolve({ flags, produced, consumed, result });
      else waiting.reject(failure(status));
    }
    return any;
  }

  /** Gives the queue back, once what is in flight has ended. */
  async release(): Promise<void> {
    await this.#queue.release();
  }
}

/** What a status says to somebody at a terminal. */
function failure(status: number): Failure {
  switch (status) {
    case STATUS.corrupt:
      return new Failure('the compressed data is damaged');
    case STATUS.truncated:
      return new Failure('unexpected end of file');
    case STATUS.unsupported:
      return new Failure('no engine of the device can do this ("warpdrive devices" lists them)');
    case STATUS.noResources:
      return new Failure('the device has no memory left for this request');
    default:
      return new Failure(`the device refused or failed a request: ${statusName(status)}`);
  }
}
