import { OPCODE } from '../abi/queue.js';
import type { Completion, DeviceQueue, QueueCounters, Submission } from '../driver/driver.js';
import { ArgumentError, ClosedError, DeviceLostError, UnsupportedError } from '../errors.js';
import type { DmaBuffer, DmaMemory } from './dma-memory.js';
import { Spin } from './spin.js';

/** How long `wait` polls before it sleeps, and how long it sleeps before the device's state is looked at. */
const SPIN_MS = 0.2;
const BLOCK_MS = 100;

export interface RawQueueParts {
  queue: DeviceQueue;
  memory: DmaMemory;
  device: string;
  counters: () => Promise<QueueCounters>;
  onRelease: () => void;
}

/**
 * A queue of the accelerator in the application's own hands: write a request, ring, poll for the completion. Sending
 * and receiving allocate nothing and make no system call. Buffers come from `reserveMemory`, and a request that names
 * any other memory is refused.
 */
export class AcceleratorQueue {
  readonly #parts: RawQueueParts;
  readonly #queue: DeviceQueue;
  readonly #memory: DmaMemory;
  readonly #spin: Spin;
  /** Keeps reserved memory mapped while requests may name it, whatever the application has dropped. */
  readonly #reserved: DmaBuffer[] = [];
  #listening = false;
  #onInterrupt: () => void = () => {};
  #released: Promise<void> | undefined;

  constructor(parts: RawQueueParts) {
    this.#parts = parts;
    this.#queue = parts.queue;
    this.#memory = parts.memory;
    this.#spin = new Spin(parts.queue);
  }

  get id(): number {
    return this.#queue.id;
  }

  /** The most requests that can be in flight. */
  get depth(): number {
    return this.#queue.depth;
  }

  get inFlight(): number {
    return this.#queue.inFlight;
  }

  /** Device memory for requests, kept until the queue is released: a Buffer, and the address to name in a submission. */
  async reserveMemory(length: number): Promise<DmaBuffer> {
    if (this.#released) throw this.#closed();
    const reserved = await this.#memory.allocate(length);
    this.#reserved.push(reserved);
    return reserved;
  }

  /**
   * Sends a request; false when the queue is full. With `more` set the doorbell is left to a later `send` or to
   * `flush`, so that one ring publishes a whole batch. The submission is copied and may be used again at once.
   * @throws ArgumentError for memory that is not the queue's, ClosedError after release.
   */
  send(submission: Submission, more = false): boolean {
    if (this.#released) throw this.#closed();
    if (submission.operation !== OPCODE.noop) this.#checkMemory(submission);
    const sent = this.#queue.submit(submission);
    if (!more || !sent) this.#queue.publish();
    return sent;
  }

  #checkMemory(submission: Submission): void {
    const { source, sourceLength, destination, capacity, aux, auxLength } = submission;
    if (sourceLength !== 0 && !this.#memory.holds(source, sourceLength)) {
      throw new ArgumentError('the source is not in memory reserved from this queue');
    }
    if (capacity !== 0 && !this.#memory.holds(destination, capacity)) {
      throw new ArgumentError('the destination is not in memory reserved from this queue');
    }
    if (auxLength !== 0 && !this.#memory.holds(aux, auxLength)) {
      throw new ArgumentError('the third range is not in memory reserved from this queue');
    }
    if (submission.operation === OPCODE.chain) {
      throw new UnsupportedError('a chain cannot be sent by hand', { hint: 'use the chain method' });
    }
  }

  /** Rings the doorbell for what was sent with `more`. */
  flush(): void {
    if (this.#released) throw this.#closed();
    this.#queue.publish();
  }

  /** Takes the next completion; false when there is none. */
  recv(completion: Completion): boolean {
    if (this.#released) throw this.#closed();
    return this.#queue.poll(completion);
  }

  /**
   * Takes the next completion, and waits for it: spins first, then blocks this thread. False if none came within
   * `timeoutMs`, or if nothing is in flight.
   * @throws DeviceLostError if the device has failed.
   */
  recvSync(completion: Completion, timeoutMs = Number.POSITIVE_INFINITY): boolean {
    this.#spin.start();
    for (;;) {
      if (this.recv(completion)) return true;
      if (this.#queue.inFlight === 0) return false;
      const waitedMs = this.#spin.rest(timeoutMs);
      if (waitedMs < 0) continue;
      this.#checkDevice();
      if (waitedMs >= timeoutMs) return false;
    }
  }

  /** Resolves when a completion is there, or nothing is in flight: polls each turn, then sleeps on the interrupt. */
  async wait(): Promise<void> {
    const since = performance.now();
    while (!this.#released && !this.#queue.ready && this.#queue.inFlight > 0) {
      this.#checkDevice();
      if (performance.now() - since > SPIN_MS && this.#queue.arm(1)) await this.#interrupt();
      else await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #interrupt(): Promise<void> {
    const { interrupt } = this.#queue;
    if (!this.#listening) interrupt.listen(() => this.#onInterrupt());
    this.#listening = true;
    interrupt.ref();
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        interrupt.unref();
        resolve();
      };
      // A device that dies interrupts nobody: its state is looked at again after a while.
      const timer = setTimeout(end, BLOCK_MS);
      this.#onInterrupt = end;
    });
  }

  #checkDevice(): void {
    if (!this.#queue.failed) return;
    throw new DeviceLostError('the device failed', { device: this.#parts.device, queue: this.id });
  }

  #closed(): ClosedError {
    return new ClosedError('the queue was released', { device: this.#parts.device, queue: this.id });
  }

  /** What the device has counted on this queue. */
  counters(): Promise<QueueCounters> {
    return this.#parts.counters();
  }

  /** Gives the queue back. What the device has taken runs to its end; what it has not is never executed. */
  release(): Promise<void> {
    this.#released ??= this.#queue.release().finally(() => {
      this.#reserved.length = 0;
      this.#parts.onRelease();
    });
    return this.#released;
  }
}
