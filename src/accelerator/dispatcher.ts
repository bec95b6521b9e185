import { OPCODE, STATUS } from '../abi/queue.js';
import { Operation } from '../algorithms/operation.js';
import { Completion, type DeviceQueue, Submission } from '../driver/driver.js';
import { ClosedError, DetachedError, DeviceLostError, MemoryError } from '../errors.js';
import { ResultPool } from './result-pool.js';
import { Spin } from './spin.js';
import type { Staging } from './staging.js';
import { Waiter } from './waiter.js';

/** Polls for an empty request before it is treated like any other. */
const QUICK_POLLS = 2000;
/** The waiting list is shortened once this many of its entries are spent. */
const COMPACT = 1024;

/**
 * Sends operations through one queue and settles them. What the queue or the staging memory has no room for waits in
 * order, as a reference to its input and nothing more.
 */
export class Dispatcher {
  #queue: DeviceQueue;
  #staging: Staging;
  readonly #device: string;
  #inFlight: (Operation | undefined)[] = [];
  #ids = new Int32Array(0);
  #idCount = 0;
  #waiting: Operation[] = [];
  #waitingHead = 0;
  readonly #submission = new Submission();
  readonly #completion = new Completion();
  #waiter: Waiter;
  #spin: Spin;
  readonly #results = new ResultPool();
  readonly #noopSubmission = new Submission();
  readonly #noop = new Operation(new Uint8Array(0));
  #lost: DeviceLostError | ClosedError | undefined;
  /** The device has gone, and another one is looked for. */
  #suspended: DeviceLostError | undefined;
  readonly #onLost: (reason: string) => void;
  #drained: (() => void) | undefined;
  /** The device has completed what it was not given, or more than it was given: nothing it says is believed any more. */
  #distrusted = false;

  /** @param onLost called when a synchronous wait finds out that the device has gone */
  constructor(queue: DeviceQueue, staging: Staging, device: string, onLost: (reason: string) => void) {
    this.#device = device;
    this.#onLost = onLost;
    this.#queue = queue;
    this.#staging = staging;
    this.#spin = new Spin(queue);
    this.#waiter = new Waiter(queue, () => this.reap());
    this.#resetIds();
  }

  #resetIds(): void {
    const { depth } = this.queue;
    this.#inFlight = new Array(depth).fill(undefined);
    this.#ids = Int32Array.from({ length: depth }, (_, index) => depth - 1 - index);
    this.#idCount = depth;
  }

  get queue(): DeviceQueue {
    return this.#queue;
  }

  get staging(): Staging {
    return this.#staging;
  }

  /** Operations sent or waiting. */
  get pending(): number {
    return this.queue.depth - this.#idCount + this.#waiting.length - this.#waitingHead;
  }

  /** Sends an operation, now or as soon as there is room. It is settled through `onDone`. */
  submit(operation: Operation): void {
    this.enqueue(operation);
    this.flush();
  }

  /** Like `submit`, but rings no doorbell yet: `flush` does, once for all. */
  enqueue(operation: Operation): void {
    if (this.#lost) {
      this.#finish(operation, this.#lost);
    } else if (this.#suspended && isStateful(operation)) {
      this.#finish(operation, this.#suspended);
    } else if (this.#waitingHead < this.#waiting.length || !this.#start(operation)) {
      operation.state = 'waiting';
      this.#waiting.push(operation);
    }
  }

  flush(): void {
    if (this.#suspended) return;
    this.queue.publish();
    if (this.queue.inFlight > 0) this.#waiter.start();
  }

  /** Sends an operation and takes completions until it is done; the event loop stands still meanwhile. */
  runSync(operation: Operation): void {
    if (this.#suspended) {
      this.#finish(operation, this.#suspended);
      return;
    }
    this.enqueue(operation);
    this.queue.publish();
    this.waitSync(operation);
  }

  /** One empty request, waited for; nothing is allocated. With nothing else in flight its completion is the next. */
  noopSync(): void {
    const operation = this.#noop;
    operation.state = 'new';
    if (this.#lost || this.#suspended || this.pending > 0) {
      this.runSync(operation);
    } else {
      const completion = this.#completion;
      const id = this.#ids[this.#idCount - 1]!;
      this.#noopSubmission.requestId = id;
      this.queue.submit(this.#noopSubmission);
      this.queue.publish();
      for (let polls = 0; polls < QUICK_POLLS; polls++) {
        if (!this.queue.poll(completion)) continue;
        if (completion.requestId === id) return;
        this.#distrust();
        throw this.#lost ?? this.#suspended!;
      }
      this.#idCount--;
      this.#inFlight[id] = operation;
      operation.state = 'in-flight';
      this.waitSync(operation);
    }
    if (operation.error) throw operation.error;
  }

  /** Takes completions until an operation that was submitted is done. */
  waitSync(operation: Operation): void {
    this.#spin.start();
    while (operation.state !== 'done') {
      if (this.reap() > 0 || this.#spin.rest(Number.POSITIVE_INFINITY) < 0) continue;
      if (!this.queue.failed && !this.#distrusted) continue;
      this.#onLost('the device failed while a request waited for it');
      // Another device is found on the event loop, which stands still here.
      this.#withdraw(operation);
    }
    if (!this.#suspended) this.#waiter.resume();
  }

  /** Takes all completions that are there, settles their operations and sends what waited. Returns how many. */
  reap(): number {
    const completion = this.#completion;
    let count = 0;
    while (!this.#distrusted && this.queue.poll(completion)) {
      const id = completion.requestId;
      const operation = this.#inFlight[id];
      if (!operation || !isPossible(completion, operation)) {
        this.#distrust();
        break;
      }
      count++;
      this.#inFlight[id] = undefined;
      this.#ids[this.#idCount++] = id;
      operation.complete(completion);
      this.#finish(operation, undefined);
    }
    if (count > 0) {
      if (!this.#suspended) {
        this.#startWaiting();
        this.queue.publish();
      }
      if (this.#drained && this.pending === 0) this.#drained();
    }
    return count;
  }

  /** Called for a completion that no device gives that keeps to the protocol. */
  #distrust(): void {
    this.#distrusted = true;
    this.#onLost('the device completed a request that it was not given, or beyond its buffers');
  }

  #startWaiting(): void {
    while (this.#waitingHead < this.#waiting.length) {
      const next = this.#waiting[this.#waitingHead]!;
      if (next.state === 'waiting' && !this.#start(next)) break;
      // Lost meanwhile: nothing waits any more.
      if (this.#lost) return;
      this.#waitingHead++;
    }
    if (this.#waitingHead === this.#waiting.length) {
      this.#waiting.length = 0;
      this.#waitingHead = 0;
    } else if (this.#waitingHead > COMPACT) {
      this.#waiting.splice(0, this.#waitingHead);
      this.#waitingHead = 0;
    }
  }

  /** Puts an operation into the queue; false when there is no room. One that cannot be sent at all is finished. */
  #start(operation: Operation): boolean {
    if (this.#idCount === 0 || this.#suspended) return false;
    const { input, inputAddress, capacity } = operation;
    const length = operation.inputLength;
    if (inputAddress === 0 && input.byteLength !== length) {
      this.#finish(
        operation,
        new DetachedError('the buffer was detached or resized while the request waited'),
      );
      return true;
    }
    const { staging } = this;
    const { aux } = operation;
    // The third range begins on a multiple of 8 bytes behind the input, if that is copied at all.
    const auxAt = inputAddress === 0 ? (length + 7) & ~7 : 0;
    const staged = aux.byteLength > 0 ? auxAt + aux.byteLength : inputAddress === 0 ? length : 0;
    if (staged > staging.capacity || capacity > staging.capacity) {
      this.#finish(operation, new MemoryError('the request is larger than memoryBytes allows'));
      return true;
    }
    if (capacity > 0 && operation.outputAddress === 0) {
      operation.stagedOutput = staging.take(capacity);
      if (operation.stagedOutput < 0) return this.#hopeless(operation);
    }
    if (staged > 0) {
      operation.stagedInput = staging.take(staged);
      if (operation.stagedInput < 0) {
        this.#giveOutput(operation);
        return this.#hopeless(operation);
      }
      const view = staging.viewTo(operation.stagedInput + staged);
      if (inputAddress === 0) view.set(input, operation.stagedInput);
      if (aux.byteLength > 0) view.set(aux, operation.stagedInput + auxAt);
    }
    const id = this.#ids[--this.#idCount]!;
    const submission = this.#submission;
    submission.operation = operation.operation;
    submission.algorithm = operation.algorithm;
    submission.level = operation.level;
    submission.flags = operation.flags;
    submission.session = operation.session;
    submission.requestId = id;
    submission.source =
      operation.stagedInput >= 0 && inputAddress === 0
        ? staging.address(operation.stagedInput)
        : inputAddress;
    submission.sourceLength = length;
    submission.destination =
      operation.stagedOutput >= 0 ? staging.address(operation.stagedOutput) : operation.outputAddress;
    submission.capacity = capacity;
    submission.aux =
      aux.byteLength > 0 ? staging.address(operation.stagedInput + auxAt) : operation.auxAddress;
    submission.auxLength = aux.byteLength > 0 ? aux.byteLength : operation.auxLength;
    submission.param0 = operation.param0;
    submission.param1 = operation.param1;
    submission.param2 = operation.param2;
    // Known before it is sent: the device may be found to be lost just then, which fails all that is in flight.
    this.#inFlight[id] = operation;
    operation.state = 'in-flight';
    this.queue.submit(submission);
    return true;
  }

  /** Both buffers do not fit although nothing else is in flight: they never will. */
  #hopeless(operation: Operation): boolean {
    if (this.queue.inFlight > 0) return false;
    this.#finish(operation, new MemoryError('the request is larger than memoryBytes allows'));
    return true;
  }

  #finish(operation: Operation, error: Error | undefined): void {
    operation.state = 'done';
    operation.error = error;
    if (!operation.abandoned) {
      if (!error && operation.status === STATUS.ok && operation.stagedOutput >= 0) {
        const { stagedOutput, produced } = operation;
        const view = this.staging.viewTo(stagedOutput + produced);
        operation.data = this.#results.copy(view, stagedOutput, produced);
      }
      operation.onDone?.(operation);
    }
    if (operation.stagedInput >= 0) {
      if (operation.secret) {
        const { stagedInput, inputLength } = operation;
        const end = stagedInput + inputLength;
        this.staging.viewTo(end).fill(0, stagedInput, end);
      }
      this.staging.give(operation.stagedInput);
      operation.stagedInput = -1;
    }
    this.#giveOutput(operation);
    if (operation.next) this.submit(operation.next);
  }

  #giveOutput(operation: Operation): void {
    if (operation.stagedOutput < 0) return;
    this.staging.give(operation.stagedOutput);
    operation.stagedOutput = -1;
  }

  /** Nobody wants the outcome any more. What is in flight runs to its end, since the device holds its memory. */
  abandon(operation: Operation): void {
    operation.abandoned = true;
    if (operation.state === 'waiting') operation.state = 'done';
  }

  /** The device is gone: everything fails, at once. */
  fail(reason: string): void {
    if (this.#lost instanceof DeviceLostError) return;
    this.#suspended = undefined;
    this.#lost = new DeviceLostError(reason, {
      device: this.#device,
      queue: this.queue.id,
      hint: 'open a new accelerator',
    });
    // What was completed before the device failed is done.
    this.reap();
    const failed = [...this.#inFlight, ...this.#waiting.slice(this.#waitingHead)];
    this.#waiting = [];
    this.#waitingHead = 0;
    this.#resetIds();
    for (const operation of failed) {
      if (operation && operation.state !== 'done') this.#finish(operation, this.#lost);
    }
    this.#waiter.close();
    this.#drained?.();
  }

  /** @throws what every operation fails with by now, if they do */
  checkUsable(): void {
    if (this.#lost) throw this.#lost;
  }

  /**
   * The device is gone, and another one is looked for: what it had not completed waits for that one. Operations that
   * belong to a stream kept on the device fail.
   */
  suspend(reason: string): void {
    if (this.#lost instanceof DeviceLostError || this.#suspended) return;
    this.#suspended = new DeviceLostError(reason, {
      device: this.#device,
      queue: this.queue.id,
      hint: 'it was on the device that went away: start again, once another one is found',
    });
    // What was completed before the device went away is done.
    this.reap();
    this.#waiter.close();
    for (const operation of [...this.#inFlight, ...this.#waiting.slice(this.#waitingHead)]) {
      if (operation && isStateful(operation)) this.#withdraw(operation);
    }
  }

  /** Fails one operation that is not done, while the device is gone. */
  #withdraw(operation: Operation): void {
    if (operation.state === 'done') return;
    const id = this.#inFlight.indexOf(operation);
    if (id >= 0) {
      this.#inFlight[id] = undefined;
      this.#ids[this.#idCount++] = id;
    }
    this.#finish(operation, this.#suspended ?? this.#lost);
  }

  /** Goes on with another device: sends again what the one before had not completed, then what waited. */
  resume(queue: DeviceQueue, staging: Staging): void {
    const before = this.#staging;
    const again = this.#inFlight.filter((operation) => operation !== undefined);
    const waiting = this.#waiting.slice(this.#waitingHead);
    this.#suspended = undefined;
    this.#distrusted = false;
    this.#queue = queue;
    this.#staging = staging;
    this.#spin = new Spin(queue);
    this.#waiter = new Waiter(queue, () => this.reap());
    this.#waiting = [];
    this.#waitingHead = 0;
    this.#resetIds();
    for (const operation of again) {
      // The caller may have changed its buffer since: what was sent is what is sent again.
      if (operation.stagedInput >= 0 && operation.inputAddress === 0) {
        const { stagedInput, inputLength } = operation;
        const end = stagedInput + inputLength;
        operation.input = Buffer.from(before.viewTo(end).subarray(stagedInput, end));
      }
      operation.stagedInput = -1;
      operation.stagedOutput = -1;
    }
    for (const operation of [...again, ...waiting]) {
      if (operation.abandoned) this.#finish(operation, undefined);
      else if (operation.state !== 'done') this.enqueue(operation);
    }
    this.flush();
    if (this.#drained && this.pending === 0) this.#drained();
  }

  /** Resolves when nothing is in flight or waiting. */
  async #drain(): Promise<void> {
    if (this.pending === 0) return;
    await new Promise<void>((resolve) => {
      this.#drained = resolve;
    });
  }

  /** Refuses what comes from now on; resolves when what was sent before is settled. */
  async close(): Promise<void> {
    this.#lost ??= new ClosedError('the accelerator is closed', {
      device: this.#device,
      hint: 'open another',
    });
    await this.#drain();
    this.#waiter.close();
  }
}

/** Whether a completion stays within the buffers of what it completes. */
function isPossible({ status, produced, consumed }: Completion, operation: Operation): boolean {
  if (status !== STATUS.ok) return true;
  // A checksum of 64 bits has its high half there.
  const fits = operation.operation === OPCODE.checksum || (produced >= 0 && produced <= operation.capacity);
  return fits && consumed >= 0 && consumed <= operation.inputLength;
}

/** Whether an operation needs state that is kept on the device. */
function isStateful(operation: Operation): boolean {
  return operation.session !== 0 || operation.operation === OPCODE.sessionOpen;
}
