import { ALGORITHM, type DeflateAlgorithm } from '../../abi/algorithms.js';
import { CQE_FLAG, OPCODE, STATUS } from '../../abi/queue.js';
import type { Accelerator } from '../../accelerator/accelerator.js';
import { Operation } from '../../algorithms/operation.js';
import type { Runner } from '../../algorithms/runner.js';
import { shared } from '../shared-accelerator.js';
import { countAccelerated } from './counters.js';
import { algorithmOf, constants } from './formats.js';
import type { NodeStream, Step } from './node-handle.js';
import { dropDetached, type History, StreamHandle } from './stream-handle.js';

const { Z_BUF_ERROR, Z_DATA_ERROR, Z_FINISH, Z_NO_FLUSH } = constants;

/** Input and output of one request. */
const INPUT_BYTES = 256 * 1024;
const OUTPUT_BYTES = 1024 * 1024;
const MIN_OUTPUT_BYTES = 64 * 1024;
/** Input that is kept, so that node:zlib can read it again and say what is wrong with it. */
const KEPT_BYTES = 256 * 1024;
/** Nothing is kept of what has become more than this: to read it again would hold the event loop up. */
const KEPT_OUTPUT_BYTES = 4 * 1024 * 1024;
/** With less to begin with, a stream does not wait for the accelerator to be opened. */
const WORTH_WAITING_BYTES = 32 * 1024;

/** ID1, ID2, CM and the reserved flags of a member of gzip (RFC 1952, section 2.3.1). */
const GZIP_START = 0x1f;
const GZIP_SECOND = 0x8b;
const METHOD_DEFLATE = 8;
const RESERVED_FLAGS = 0xe0;

const NOTHING = Buffer.alloc(0);

/** Steps of inflate(): the stream's state is a session on the device, which decompresses ahead of what is asked for. */
export class InflateHandle extends StreamHandle {
  readonly #given: DeflateAlgorithm | undefined;
  readonly #isStrict: boolean;
  #algorithm: DeflateAlgorithm | undefined;
  /** The one that has the session. */
  #accelerator: Accelerator | undefined;
  #runner: Runner | undefined;
  #session = 0;
  #current: Operation | undefined;
  /** The device may have more output of what it has read. */
  #more = false;
  #ended = false;
  /** Input that was taken before it has been read. */
  #ahead: Buffer | undefined;
  #produced = 0;
  #kept: Buffer[] | undefined = [];
  #keptLength = 0;

  /** @param algorithm undefined where the first bytes say it; @param isStrict nothing may follow, not even a member */
  constructor(stream: NodeStream, algorithm: DeflateAlgorithm | undefined, isStrict: boolean) {
    super(stream);
    this.#given = algorithm;
    this.#isStrict = isStrict;
    // Opening takes longer than the first input: better begin now.
    void shared.current;
  }

  protected begin(step: Step): void {
    if (this.#runner) {
      this.#advance();
      return;
    }
    const [flush, input, at, length] = step;
    if (length === 0) {
      this.#rest(step);
      return;
    }
    const algorithm = algorithmOf(this.#given, input!.subarray(at, at + length));
    if (algorithm === undefined) {
      this.handBackStep('format');
      return;
    }
    this.#algorithm = algorithm as DeflateAlgorithm;
    if (shared.current) this.#open();
    else if (!shared.isOpening) this.handBackStep('no accelerator');
    else if (flush === Z_FINISH || length < WORTH_WAITING_BYTES) this.handBackStep('starting');
    else void shared.decided().then(() => this.#openLate());
  }

  #openLate(): void {
    if (!this.step) return;
    if (shared.current) this.#open();
    else this.handBackStep('no accelerator');
  }

  #open(): void {
    countAccelerated('streams');
    this.#accelerator = shared.current!;
    this.#runner = this.#accelerator.runner();
    const operation = new Operation(NOTHING);
    operation.operation = OPCODE.sessionOpen;
    operation.algorithm = ALGORITHM[this.#algorithm!];
    this.#start(operation, () => {
      this.#session = operation.result;
      this.#advance();
    });
  }

  #closeSession(runner: Runner, session: number, after: Operation | undefined): void {
    const operation = new Operation(NOTHING);
    operation.operation = OPCODE.sessionClose;
    operation.session = session;
    runner.startAfter(operation, after);
  }

  /** Sends a request, and goes on when it has succeeded. */
  #start(operation: Operation, onSuccess: () => void): void {
    const runner = this.#runner!;
    const isOpening = operation.operation === OPCODE.sessionOpen;
    this.#current = operation;
    runner.start(operation);
    void runner.wait(operation).then(() => {
      if (this.#current !== operation) {
        // Given up while its session was being opened.
        if (isOpening && !operation.error && operation.status === STATUS.ok) {
          this.#closeSession(runner, operation.result, undefined);
        }
        return;
      }
      this.#current = undefined;
      try {
        runner.check(operation);
      } catch (error) {
        this.#fail(operation, error as Error);
        return;
      }
      onSuccess();
    });
  }

  /** Node:zlib finds the error again, and says what it is; beyond what is kept, what kind it is must do. */
  #fail(operation: Operation, error: Error): void {
    const isOfData = !operation.error && operation.status === STATUS.corrupt;
    const isOfDevice = operation.error !== undefined;
    if (!isOfDevice && this.handBackStep('failure')) return;
    if (isOfData) this.failed('incorrect data check', Z_DATA_ERROR, 'Z_DATA_ERROR');
    else {
      shared.noteError(this.#accelerator!, error);
      this.lost(error);
    }
  }

  /** Goes on with what was read ahead, and with the step under way. */
  #advance(): void {
    if (this.closed) return;
    if (this.#ahead && !this.#current) this.#readAhead(this.#ahead);
    const { step } = this;
    if (!step) return;
    if (this.#ahead && this.#ended && !this.#current) {
      // The stream has ended within what was taken: the step has the rest again.
      step[2] -= this.#ahead.length;
      step[3] += this.#ahead.length;
      this.#ahead = undefined;
    }
    dropDetached(step);
    if (!this.#ahead && this.#mayReadAhead(step)) {
      this.#takeAhead(step);
      return;
    }
    const [, input, at, length, , , room] = step;
    if (this.ready.length >= room) {
      this.done(length);
      return;
    }
    // A step ends with its input read and its output handed on: whoever wrote it may wait for that before writing more.
    if (this.#current) return;
    const mayFollow = this.#algorithm === 'gzip' && !this.#isStrict;
    if (this.#ended && length > 0 && mayFollow && input![at] !== 0) {
      // Another member, or something else, of which node:zlib says what it is.
      if (!this.#isMember(input!, at, length)) return;
      this.#ended = false;
    }
    if (this.#ended || (length === 0 && !this.#more)) {
      this.#rest(step);
      return;
    }
    const part = length === 0 ? NOTHING : input!.subarray(at, at + Math.min(length, INPUT_BYTES));
    const copy = this.#copyToKeep(part);
    this.#decompress(part, (consumed) => {
      if (copy) this.#keep(copy.subarray(0, consumed));
      step[2] += consumed;
      step[3] -= consumed;
    });
  }

  /** Sends one request of the stream, and goes on when it is done. */
  #decompress(part: Uint8Array, onRead: (consumed: number) => void): void {
    const operation = new Operation(part);
    operation.operation = OPCODE.decompress;
    operation.algorithm = ALGORITHM[this.#algorithm!];
    operation.session = this.#session;
    operation.capacity = Math.min(OUTPUT_BYTES, Math.max(MIN_OUTPUT_BYTES, part.byteLength * 8));
    this.#start(operation, () => {
      const { consumed, produced } = operation;
      this.#produced += produced;
      if (this.#produced > KEPT_OUTPUT_BYTES) this.#kept = undefined;
      this.#ended = (operation.flagsOut & CQE_FLAG.streamEnd) !== 0;
      this.#more = !this.#ended && produced === operation.capacity;
      this.ready.add(operation.data);
      onRead(consumed);
      this.#advance();
    });
  }

  /**
   * A long stream reads ahead: its input is taken before it has been read, so that reading goes on while output is handed
   * on. In the beginning, where node:zlib can still say what is wrong, and near the end, each step waits.
   */
  #mayReadAhead([flush, , , length]: Step): boolean {
    const isLong = this.#kept === undefined && !this.#ended && this.#current === undefined;
    // Whether something follows must be known before it is taken.
    return (
      isLong && !this.#isStrict && flush === Z_NO_FLUSH && length > 0 && this.ready.length <= OUTPUT_BYTES
    );
  }

  #takeAhead(step: Step): void {
    this.widen(step);
    const [, input, at, length] = step;
    const taken = Math.min(length, INPUT_BYTES);
    this.#ahead = Buffer.from(input!.subarray(at, at + taken));
    step[2] += taken;
    step[3] -= taken;
    this.#advance();
  }

  /** Reads on in what was taken, unless there is much output already. */
  #readAhead(bytes: Buffer): void {
    if (this.#ended && bytes.length > 0) return;
    if (bytes.length === 0 && !this.#more) this.#ahead = undefined;
    else if (this.ready.length < Math.max(2 * OUTPUT_BYTES, this.step?.[6] ?? 0)) {
      this.#decompress(bytes, (consumed) => {
        this.#ahead = bytes.subarray(consumed);
      });
    }
  }

  /** Whether a member of gzip begins here; where not, the step is somebody else's. */
  #isMember(input: Uint8Array, at: number, length: number): boolean {
    const member = input.subarray(at, at + length);
    const wrong = wrongHeader(member);
    if (wrong === undefined && algorithmOf('gzip', member) !== undefined) return true;
    if (this.handBackStep('format')) return false;
    if (wrong === undefined) return true;
    this.failed(wrong, Z_DATA_ERROR, 'Z_DATA_ERROR');
    return false;
  }

  /** Ends a step that has nothing more to read, or no more room. */
  #rest([flush, , , length, , , room]: Step): void {
    const isShort = length === 0 && !this.#ended && !this.#more && this.ready.length < room;
    if (isShort && this.stream.writableEnded && flush !== Z_NO_FLUSH) {
      // The very last bits may hold another byte, which node:zlib finds; with Z_FINISH they are an error, and what this
      // step had room for is lost.
      if (this.handBackStep('failure')) return;
      if (flush === Z_FINISH) {
        this.failed('unexpected end of file', Z_BUF_ERROR, 'Z_BUF_ERROR');
        return;
      }
    }
    this.done(length);
  }

  /** A copy of input that may be kept: the buffer is the caller's again before it has been read. */
  #copyToKeep(part: Uint8Array): Buffer | undefined {
    if (this.#kept && this.#keptLength + part.byteLength > KEPT_BYTES) this.#kept = undefined;
    return this.#kept && Buffer.from(part);
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    this.#kept?.push(part);
    this.#keptLength += part.length;
  }

  protected changeLevel(): void {}

  protected restart(): void {
    this.release();
    this.#runner = undefined;
    this.#ended = false;
    this.#more = false;
    this.#produced = 0;
    this.#kept = [];
    this.#keptLength = 0;
  }

  protected release(): void {
    const runner = this.#runner;
    const current = this.#current;
    this.#current = undefined;
    this.#ahead = undefined;
    // The session that is being opened is closed as soon as it is there.
    if (!runner || this.#session === 0) return;
    if (current) runner.drop(current);
    this.#closeSession(runner, this.#session, current);
    this.#session = 0;
  }

  protected history(): History | undefined {
    if (!this.#kept) return undefined;
    return { input: Buffer.concat(this.#kept), handedOn: this.#produced - this.ready.length };
  }
}

/** What zlib says of the first bytes of a member of gzip, two by two as it reads them; undefined if nothing is wrong so far. */
function wrongHeader(bytes: Uint8Array): string | undefined {
  if (bytes.length > 1 && (bytes[0] !== GZIP_START || bytes[1] !== GZIP_SECOND))
    return 'incorrect header check';
  if (bytes.length > 3 && bytes[2] !== METHOD_DEFLATE) return 'unknown compression method';
  return bytes.length > 3 && (bytes[3]! & RESERVED_FLAGS) !== 0 ? 'unknown header flags set' : undefined;
}
