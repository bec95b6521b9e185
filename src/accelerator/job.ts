import { SQE_FLAG, STATUS, statusName } from '../abi/queue.js';
import { dataError } from '../algorithms/data-errors.js';
import type { Operation } from '../algorithms/operation.js';
import type { Runner } from '../algorithms/runner.js';
import { engineName } from '../device/engines/engine.js';
import { DeviceError, MemoryError, UnsupportedError } from '../errors.js';
import type { Dispatcher } from './dispatcher.js';

/** Where a result came from. */
export interface OperationInfo {
  /** Name of the device, as `devices()` lists it. */
  device: string;
  /** Queue of the device that carried it. */
  queue: number;
  /** Engine that ran it, and the engine thread. */
  engine: string;
  thread: number;
  /** Time in the engine, over all requests. */
  nanoseconds: number;
  /** Requests that it took. */
  requests: number;
  /** Where it ran: on the device, through its queue, or in the calling thread. */
  ran: 'queue' | 'caller';
  /** Why it did not run on the device. */
  why?: RanBecause;
}

/** Why a request ran in the calling thread. */
export type RanBecause =
  | 'small'
  | 'synchronous'
  | 'the queue is full'
  | 'too large for a request'
  | 'not on the device'
  | 'not in memory of the device'
  | 'the device has gone';

/** One call of the application: its requests, however many, and what they tell. */
export class Job implements Runner {
  readonly window: number;
  readonly #dispatcher: Dispatcher;
  readonly #device: string;
  readonly #timed: boolean;
  /** Set for a synchronous call: the address of an input that lies still meanwhile. */
  readonly #address: ((input: Uint8Array) => number) | undefined;
  readonly info: OperationInfo;

  constructor(
    dispatcher: Dispatcher,
    device: string,
    window: number,
    timed: boolean,
    address?: (input: Uint8Array) => number,
  ) {
    this.#dispatcher = dispatcher;
    this.#device = device;
    this.window = window;
    this.#timed = timed;
    this.#address = address;
    this.info = {
      device,
      queue: dispatcher.queue.id,
      engine: 'none',
      thread: 0,
      nanoseconds: 0,
      requests: 0,
      ran: 'queue',
    };
  }

  start(operation: Operation): void {
    this.prepare(operation);
    this.#dispatcher.submit(operation);
  }

  /** Makes an operation ready to be sent. */
  prepare(operation: Operation): void {
    if (this.#timed) operation.flags |= SQE_FLAG.timed;
    if (this.#address && operation.inputLength > 0) operation.inputAddress = this.#address(operation.input);
  }

  startAfter(operation: Operation, other: Operation | undefined): void {
    if (other && (other.state === 'in-flight' || other.state === 'waiting')) other.next = operation;
    else this.#dispatcher.submit(operation);
  }

  wait(operation: Operation): Promise<void> {
    if (operation.state === 'done') return Promise.resolve();
    return new Promise((resolve) => {
      operation.onDone = () => resolve();
    });
  }

  check(operation: Operation): void {
    this.note(operation);
    const error = this.error(operation);
    if (error) throw error;
  }

  /** Adds what a completed request tells to the job's. */
  note(operation: Operation): void {
    const { info } = this;
    info.requests++;
    info.nanoseconds += operation.nanoseconds;
    info.thread = operation.thread;
    info.engine = engineName(operation.engine) ?? info.engine;
  }

  /** Why a request failed, or undefined. */
  error(operation: Operation): Error | undefined {
    return operation.error ?? operationError(operation, this.#device, this.info.queue);
  }

  drop(operation: Operation): void {
    if (operation.state === 'waiting' || operation.state === 'in-flight') this.#dispatcher.abandon(operation);
  }
}

/** The error that a status stands for, or undefined when all is well. */
export function operationError(operation: Operation, device: string, queue: number): Error | undefined {
  const { status } = operation;
  if (status === STATUS.ok) return undefined;
  const engine = engineName(operation.engine);
  const context = { device, queue, ...(engine ? { engine } : {}) };
  const blamesData = dataError(operation, context);
  if (blamesData) return blamesData;
  if (status === STATUS.unsupported) {
    return new UnsupportedError(`${device} has no engine for this request`, context);
  }
  if (status === STATUS.noResources) {
    return new MemoryError(`${device} has no memory or session left for this request`, context);
  }
  return new DeviceError(`${device} refused or failed a request: ${statusName(status)}`, status, context);
}
