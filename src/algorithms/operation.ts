import type { Completion } from '../driver/driver.js';

const NO_DATA = Buffer.alloc(0);

/** Where an operation stands. */
export type OperationState = 'new' | 'waiting' | 'in-flight' | 'done';

/**
 * One request on its way through an accelerator. Its input is copied into device memory when it is sent, so that the
 * caller may change, transfer or drop the buffer afterwards; an input that lies in device memory, and that of a
 * synchronous call, is read where it is.
 */
export class Operation {
  operation = 0;
  algorithm = 0;
  level = 0;
  flags = 0;
  session = 0;
  input: Uint8Array;
  /** The input's length when it was handed over: a buffer that has another one later was detached or resized. */
  readonly inputLength: number;
  /** Set when the device may read the input where it lies. */
  inputAddress = 0;
  /** Room for the output, in bytes. */
  capacity = 0;
  state: OperationState = 'new';
  /** Why it ended without a completion. */
  error: Error | undefined;
  status = 0;
  engine = 0;
  thread = 0;
  flagsOut = 0;
  produced = 0;
  consumed = 0;
  result = 0;
  nanoseconds = 0;
  /** Offsets in the staging memory, or -1. */
  stagedInput = -1;
  stagedOutput = -1;
  /** Nobody wants the outcome any more. */
  abandoned = false;
  /** A copy of the output, when the status is ok. */
  data: Buffer = NO_DATA;
  /** Called once, when the operation is done. */
  onDone: ((operation: Operation) => void) | undefined;
  /** Sent when this one is done, wanted or not. */
  next: Operation | undefined;

  constructor(input: Uint8Array) {
    this.input = input;
    this.inputLength = input.byteLength;
  }

  /** Takes over what the device reported. */
  complete(completion: Completion): void {
    this.status = completion.status;
    this.engine = completion.engine;
    this.thread = completion.thread;
    this.flagsOut = completion.flags;
    this.produced = completion.produced;
    this.consumed = completion.consumed;
    this.result = completion.result;
    this.nanoseconds = completion.nanoseconds;
  }
}
