import { OPCODE } from '../abi/queue.js';
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
  /** Set when the device may write the output where it is wanted. */
  outputAddress = 0;
  /** Room for the output, in bytes. */
  capacity = 0;
  /** Parameters, or a second input; copied like the input. */
  aux: Uint8Array = NO_DATA;
  /** Set when the third range lies in device memory, with its length. */
  auxAddress = 0;
  auxLength = 0;
  param0 = 0;
  param1 = 0;
  param2 = 0;
  /** What must not be collected while the device uses it. */
  held: readonly Uint8Array[] | undefined;
  /** The input is a secret: no copy of it stays behind. */
  secret = false;
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
  /** The high half of a checksum of 64 bits. */
  resultHigh = 0;
  nanoseconds = 0;
  /** Offsets in the staging memory, or -1. A staged third range lies behind the input. */
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
    if (this.operation === OPCODE.checksum) this.resultHigh = completion.produced;
    this.nanoseconds = completion.nanoseconds;
  }
}
