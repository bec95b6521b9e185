import { AsyncResource } from 'node:async_hooks';
import { UnsupportedError } from '../../errors.js';
import { countNode, type Reason } from './counters.js';
import { constants } from './formats.js';
import type { NodeHandle, NodeStream, Step } from './node-handle.js';
import { stepCallback } from './node-handle.js';
import { Ready } from './ready.js';

const { Z_NO_FLUSH } = constants;
const NOTHING = Buffer.alloc(0);
/** Room for what node:zlib has to say again. */
const SCRATCH_BYTES = 64 * 1024;

/** Output of long streams comes in buffers of this size, unless a size was asked for. */
const LONG_CHUNK_BYTES = 128 * 1024;

/** A buffer that was transferred away has nothing more to give. */
export function dropDetached(step: Step): void {
  const [, input, at, length] = step;
  if (length === 0 || input!.byteLength >= at + length) return;
  step[1] = NOTHING;
  step[2] = 0;
  step[3] = 0;
}

/** What a stream has read, and how many bytes of its output have been handed on. */
export interface History {
  input: Uint8Array;
  handedOn: number;
}

/**
 * In place of the native handle of one of node:zlib's streams: the same steps, done by the accelerator. The native one is
 * kept, and costs next to nothing until it is used: a stream that turns out to be node:zlib's business is handed back to
 * it, with what it has read so far.
 */
export abstract class StreamHandle implements NodeHandle {
  declare onerror: NodeHandle['onerror'];
  declare buffer: Uint8Array | null;
  declare cb: () => void;
  declare inOff: number;
  declare availInBefore: number;
  declare availOutBefore: number;
  declare flushFlag: number;
  protected readonly stream: NodeStream;
  /** Output that there was no room for yet. */
  protected readonly ready = new Ready();
  protected closed = false;
  readonly #native: NodeHandle;
  /** The context that the stream was made in, which its events belong to. */
  readonly #context = new AsyncResource('ZLIB');
  #isNative = false;
  /** The step under way. */
  protected step: Step | undefined;

  constructor(stream: NodeStream) {
    this.stream = stream;
    this.#native = stream._handle!;
    // The stream itself, under a symbol, and what to call in case of an error.
    for (const key of Reflect.ownKeys(this.#native)) {
      Reflect.set(this, key, Reflect.get(this.#native, key));
    }
  }

  write(...step: Step): void {
    if (this.#isNative) {
      this.#writeNative(step);
      return;
    }
    this.step = step;
    this.begin(step);
  }

  /** Whoever reaches below a stream for single steps waits for each of them, which node:zlib does best. */
  writeSync(...step: Step): void {
    if (!this.#isNative && !this.handBack('synchronous stream')) {
      throw new UnsupportedError(
        'a stream that was written to in the background cannot go on synchronously',
        {
          hint: 'import it from node:zlib',
        },
      );
    }
    const [flush, input, at, length, output, outputAt, room] = step;
    const count = this.ready.copy(output, outputAt, room);
    if (count === room) this.#leave(0, length);
    else this.#native.writeSync(flush, input, at, length, output, outputAt + count, room - count);
  }

  params(level: number, strategy: number): void {
    if (this.#isNative) this.#native.params(level, strategy);
    else this.changeLevel(level);
  }

  reset(): void {
    this.ready.clear();
    if (this.#isNative) this.#native.reset();
    else this.restart();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.ready.clear();
    this.release();
    this.#native.close();
    // A step under way still ends, and finds the stream destroyed.
    if (this.step) process.nextTick(this.#callBack);
    this.step = undefined;
  }

  /** Begins a step; `done` or `failed` ends it. */
  protected abstract begin(step: Step): void;
  protected abstract changeLevel(level: number): void;
  /** Begins a new stream. */
  protected abstract restart(): void;
  /** Lets go of what the accelerator holds. */
  protected abstract release(): void;
  /** Undefined once there is more than is kept. */
  protected abstract history(): History | undefined;

  /**
   * The stream is a long one: where each chunk of output waits for the one before, fewer are better. The step under way
   * gets a larger buffer, and so do those that follow.
   */
  protected widen(step: Step): void {
    const { stream } = this;
    if (stream._chunkSize !== constants.Z_DEFAULT_CHUNK) return;
    stream._chunkSize = LONG_CHUNK_BYTES;
    stream._outBuffer = Buffer.allocUnsafeSlow(LONG_CHUNK_BYTES);
    stream._outOffset = 0;
    this.availOutBefore = LONG_CHUNK_BYTES;
    step[4] = stream._outBuffer;
    step[5] = 0;
    step[6] = LONG_CHUNK_BYTES;
  }

  /** Ends the step under way with so much input left; what is ready goes where there is room. */
  protected done(inputLeft: number): void {
    const [, , , , output, at, room] = this.step!;
    this.step = undefined;
    this.#leave(room - this.ready.copy(output, at, room), inputLeft);
    process.nextTick(this.#callBack);
  }

  /** Ends the step under way with an error of zlib's. */
  protected failed(message: string, errno: number, code: string): void {
    this.step = undefined;
    process.nextTick(() => this.#context.runInAsyncScope(this.onerror, this, message, errno, code));
  }

  /** Ends the stream: its device has gone, and part of its state with it. */
  protected lost(error: Error): void {
    this.step = undefined;
    process.nextTick(() => this.#context.runInAsyncScope(() => this.stream.destroy(error)));
  }

  readonly #callBack = (): void => {
    this.#context.runInAsyncScope(stepCallback!, this);
  };

  #leave(room: number, input: number): void {
    const { _writeState } = this.stream;
    _writeState[0] = room;
    _writeState[1] = input;
  }

  /**
   * From now on node:zlib does it: it reads again what has been read, and writes on from where output has got to. False
   * where that is more than is kept.
   */
  protected handBack(reason: Reason): boolean {
    const history = this.history();
    if (!history) return false;
    const { input, handedOn } = history;
    countNode('streams', reason);
    this.#isNative = true;
    this.ready.clear();
    this.release();
    if (input.length === 0 && handedOn === 0) return true;
    const scratch = Buffer.allocUnsafe(SCRATCH_BYTES);
    let skipped = 0;
    let at = 0;
    // An error that node:zlib finds here closes this handle.
    for (let room = 0; room === 0 && !this.closed; ) {
      // Output that has been handed on is read by itself, since what follows is kept.
      const wanted = skipped < handedOn ? Math.min(scratch.length, handedOn - skipped) : scratch.length;
      this.#native.writeSync(Z_NO_FLUSH, input, at, input.length - at, scratch, 0, wanted);
      room = this.stream._writeState[0]!;
      at = input.length - this.stream._writeState[1]!;
      if (skipped < handedOn) skipped += wanted - room;
      else if (wanted > room) this.ready.add(Buffer.from(scratch.subarray(0, wanted - room)));
    }
    return true;
  }

  /** Hands the stream back, and the step under way with it. */
  protected handBackStep(reason: Reason): boolean {
    const step = this.step!;
    // An error that is found on the way ends the step, too.
    this.step = undefined;
    if (this.handBack(reason)) {
      this.#writeNative(step);
      return true;
    }
    this.step = step;
    return false;
  }

  #writeNative(step: Step): void {
    if (this.closed) return;
    dropDetached(step);
    const [flush, input, at, length, output, outputAt, room] = step;
    const count = this.ready.copy(output, outputAt, room);
    if (count === room) {
      this.#leave(0, length);
      process.nextTick(this.#callBack);
      return;
    }
    const { buffer, cb, inOff, availInBefore, availOutBefore, flushFlag } = this;
    Object.assign(this.#native, { buffer, cb, inOff, availInBefore, availOutBefore, flushFlag });
    this.#native.write(flush, input ?? NOTHING, at, length, output, outputAt + count, room - count);
  }
}
