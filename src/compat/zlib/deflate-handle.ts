import { DEFAULT_LEVEL, type DeflateAlgorithm } from '../../abi/algorithms.js';
import type { Accelerator } from '../../accelerator/accelerator.js';
import { PIECE_BYTES, pieceOperation, takePiece } from '../../algorithms/compression.js';
import { StreamTrailer, streamHeader } from '../../algorithms/framing.js';
import type { Operation } from '../../algorithms/operation.js';
import type { Runner } from '../../algorithms/runner.js';
import { nodeZlib } from '../../sys/node-zlib.js';
import { callerRunner } from '../caller-runner.js';
import { shared } from '../shared-accelerator.js';
import { countAccelerated, countNode } from './counters.js';
import { constants } from './formats.js';
import type { NodeStream, Step } from './node-handle.js';
import { checksumOf } from './piece-checksum.js';
import { givePieceBuffer, takePieceBuffer } from './piece-pool.js';
import { dropDetached, type History, StreamHandle } from './stream-handle.js';

const { Z_BUF_ERROR, Z_STREAM_ERROR, Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH } = constants;

/** With nothing else to do, the accelerator gets pieces of this size: what follows is gathered meanwhile. */
const EARLY_BYTES = 128 * 1024;
/** Pieces of one stream that are compressed at a time; a stream that has more to write waits. */
const MAX_PIECES = 4;
/** Output that waits to be handed on: a stream with more takes no more input. */
const MAX_READY_BYTES = 1024 * 1024;
/** A stream whose first flush comes before so many bytes is made of messages, which need what was in those before. */
const MESSAGE_BYTES = 64 * 1024;
/**
 * A whole stream that takes no longer than this is compressed where it is written: to send it would cost this thread as
 * much. What takes longer leaves the thread free for other streams; a server of 20 KiB answers gains half as many again.
 */
const SHORT_NS = 20_000;

/** What an empty piece is: an empty stored block, or as the last one an empty block of fixed codes (RFC 1951). */
const EMPTY_PIECE = Buffer.from([0, 0, 0, 0xff, 0xff]);
const EMPTY_END = Buffer.from([3, 0]);
const NOTHING = Buffer.alloc(0);

/** How far each flush goes: one that does not go further than the last, with nothing in between, does nothing (zlib). */
const RANK = [0, 2, 4, 6, 8, 1];

/** A piece on its way. */
interface Piece {
  /** Once it is done: adds its checksum to the stream's and gives its bytes, or throws. */
  take: (() => Buffer) | undefined;
  cancel: () => void;
}

/** Steps of deflate(): input is gathered into pieces, which the accelerator compresses side by side. */
export class DeflateHandle extends StreamHandle {
  readonly #algorithm: DeflateAlgorithm;
  #level: number;
  #held: Buffer = NOTHING;
  #heldLength = 0;
  #pieces: Piece[] = [];
  #trailer: StreamTrailer;
  /** Handed on with the first piece: by itself it would cost whoever reads the stream as much as a piece does. */
  #header: Buffer = NOTHING;
  #begun = false;
  #cut = false;
  #finished = false;
  #lastFlush = Z_NO_FLUSH;

  constructor(stream: NodeStream, algorithm: DeflateAlgorithm, level: number) {
    super(stream);
    this.#algorithm = algorithm;
    this.#level = level;
    this.#trailer = new StreamTrailer(algorithm);
  }

  protected begin([flush, , , length]: Step): void {
    if (this.#finished && flush !== Z_FINISH) {
      this.failed('stream error', Z_STREAM_ERROR, 'Z_STREAM_ERROR');
      return;
    }
    const isMessage = flush !== Z_NO_FLUSH && flush !== Z_FINISH;
    if (isMessage && !this.#cut && this.#heldLength + length < MESSAGE_BYTES) {
      this.handBackStep('small flushes');
      return;
    }
    if (!this.#begun) {
      this.#begun = true;
      this.#header = streamHeader(this.#algorithm, this.#level);
      // Opening takes as long as some pieces do on node:zlib: better begin now.
      void shared.current;
    }
    this.#advance();
  }

  /** Goes on with the step under way as far as is possible now. */
  readonly #advance = (): void => {
    const { step } = this;
    if (!step || this.closed) return;
    try {
      // Pieces that are done make room for others.
      this.#collect();
      this.#take(step);
      // What an empty piece is, is known at once.
      this.#collect();
    } catch (error) {
      this.lost(error as Error);
      return;
    }
    const [flush, , , left, , , room] = step;
    const isIdle = flush === Z_NO_FLUSH ? this.#pieces.length < MAX_PIECES : this.#pieces.length === 0;
    if (this.ready.length >= room || (left === 0 && isIdle)) this.done(left);
    else if (this.#finished && isIdle) this.failed('buffer error', Z_BUF_ERROR, 'Z_BUF_ERROR');
  };

  /** Takes input as long as there may be more pieces, and sends what is to be flushed. */
  #take(step: Step): void {
    dropDetached(step);
    // Nothing comes after the end.
    if (this.#finished) return;
    const [flush, input, , , , , room] = step;
    const most = Math.max(MAX_READY_BYTES, room);
    while (step[3] > 0 && this.#pieces.length < MAX_PIECES && this.ready.length < most) {
      const taken = this.#gather(input!, step[2], step[3]);
      step[2] += taken;
      step[3] -= taken;
      this.#lastFlush = Z_NO_FLUSH;
      const isEnd = flush === Z_FINISH && step[3] === 0;
      if (this.#heldLength < PIECE_BYTES || isEnd) continue;
      this.widen(step);
      this.#send(Z_NO_FLUSH);
    }
    if (step[3] > 0) return;
    if (flush !== Z_NO_FLUSH) this.#flush(flush);
    else if (this.#pieces.length === 0 && this.#heldLength >= EARLY_BYTES) this.#send(Z_NO_FLUSH);
  }

  /** Takes input into the piece under way; returns how much. */
  #gather(input: Uint8Array, at: number, length: number): number {
    const wanted = Math.min(length, PIECE_BYTES - this.#heldLength);
    const needed = this.#heldLength + wanted;
    if (needed > this.#held.length) {
      const grown = takePieceBuffer(needed);
      grown.set(this.#held.subarray(0, this.#heldLength));
      givePieceBuffer(this.#held);
      this.#held = grown;
    }
    this.#held.set(input.subarray(at, at + wanted), this.#heldLength);
    this.#heldLength = needed;
    return wanted;
  }

  #flush(flush: number): void {
    const isNew = RANK[flush]! > RANK[this.#lastFlush]!;
    if (this.#heldLength > 0 || isNew || flush === Z_FINISH) this.#send(flush);
    this.#lastFlush = flush;
    this.#finished = flush === Z_FINISH;
  }

  /** Sends what has been gathered: as the last piece of the stream, or as one that ends on a byte. */
  #send(flush: number): void {
    const isLast = flush === Z_FINISH;
    const held = this.#held;
    const input = held.subarray(0, this.#heldLength);
    this.#held = NOTHING;
    this.#heldLength = 0;
    if (!this.#cut) countAccelerated('streams');
    const piece: Piece = { take: undefined, cancel: () => {} };
    this.#pieces.push(piece);
    const accelerator = shared.current;
    if (input.length === 0) piece.take = () => (isLast ? EMPTY_END : EMPTY_PIECE);
    else if (accelerator) this.#run(piece, accelerator, input, isLast, held);
    else this.#runOnNode(piece, input, isLast);
    this.#cut = true;
  }

  #run(piece: Piece, accelerator: Accelerator, input: Uint8Array, isLast: boolean, held: Buffer): void {
    const parameters = { algorithm: this.#algorithm, level: this.#level };
    const operation = pieceOperation(input, parameters, isLast);
    const isWhole = isLast && !this.#cut;
    const isShort = isWhole && callerRunner.nanoseconds(operation) <= SHORT_NS;
    const runner = isShort ? callerRunner : accelerator.runner();
    runner.start(operation);
    piece.cancel = () => runner.drop(operation);
    // What is in flight has been copied, and nobody reads what is done; but a whole stream can begin again.
    if (!isWhole && operation.state !== 'waiting') givePieceBuffer(held);
    void runner.wait(operation).then(() => {
      const error = errorOf(runner, operation);
      if (error) shared.noteError(accelerator, error);
      if (isWhole && this.#pieces.includes(piece)) {
        if (error) {
          countNode('streams', 'failure');
          this.#runOnNode(piece, input, isLast);
          return;
        }
        givePieceBuffer(held);
      }
      piece.take = () => {
        if (error) throw error;
        return takePiece(runner, operation, this.#trailer);
      };
      this.#advance();
    });
  }

  /** While there is no accelerator yet, a piece is a call of node:zlib. */
  #runOnNode(piece: Piece, input: Uint8Array, isLast: boolean): void {
    const options = { level: this.#level, finishFlush: isLast ? Z_FINISH : Z_SYNC_FLUSH };
    nodeZlib.deflateRaw(input, options, (error, bytes) => {
      piece.take = () => {
        if (error) throw error;
        this.#trailer.add(checksumOf(this.#algorithm, input), input.length);
        return bytes;
      };
      this.#advance();
    });
  }

  /** Takes the results that are next in order. */
  #collect(): void {
    while (this.#pieces[0]?.take) {
      this.ready.add(this.#header);
      this.#header = NOTHING;
      this.ready.add(this.#pieces.shift()!.take!());
      if (this.#finished && this.#pieces.length === 0) this.ready.add(this.#trailer.bytes());
    }
  }

  protected changeLevel(level: number): void {
    this.#level = level === constants.Z_DEFAULT_COMPRESSION ? DEFAULT_LEVEL : level;
  }

  protected restart(): void {
    this.release();
    this.#trailer = new StreamTrailer(this.#algorithm);
    this.#begun = false;
    this.#cut = false;
    this.#finished = false;
    this.#header = NOTHING;
    this.#lastFlush = Z_NO_FLUSH;
  }

  protected release(): void {
    for (const piece of this.#pieces.splice(0)) piece.cancel();
    givePieceBuffer(this.#held);
    this.#held = NOTHING;
    this.#heldLength = 0;
  }

  protected history(): History | undefined {
    if (this.#cut) return undefined;
    const input = this.#held.subarray(0, this.#heldLength);
    return { input, handedOn: 0 };
  }
}

function errorOf(runner: Runner, operation: Operation): unknown {
  try {
    runner.check(operation);
    return undefined;
  } catch (error) {
    return error;
  }
}
