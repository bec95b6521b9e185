import { ALGORITHM, isCuttable, isDeflate } from '../abi/algorithms.js';
import { OPCODE, SQE_FLAG } from '../abi/queue.js';
import type { Accelerator } from '../accelerator/accelerator.js';
import { compressBound, PIECE_BYTES, WHOLE_INPUT_BYTES } from '../algorithms/compression.js';
import { type GzipHeader, StreamTrailer, streamHeader } from '../algorithms/framing.js';
import { Channel, together } from './channel.js';
import { Failure } from './failure.js';
import type { FileFormat } from './names.js';
import { type Outcome, RequestQueue, type Slot } from './request-queue.js';
import type { Sink } from './sink.js';
import type { Source } from './source.js';

/** Room for the worst case: stored blocks and a sync marker, or a frame. */
const OUTPUT_BYTES = PIECE_BYTES + PIECE_BYTES / 8 + 256;
/** Pieces for each engine thread: in work, queued behind it, being read, being written, and some for bursts. */
const SLOTS_PER_THREAD = 6;
const MIN_SLOTS = 8;
const MAX_SLOTS = 96;

/** The checksum that the trailer of each format wants. */
const CHECKSUM_FLAG = { gzip: SQE_FLAG.crc32, deflate: SQE_FLAG.adler32, 'deflate-raw': 0 } as const;

/** One piece on its way from the source to the sink. */
interface Piece {
  input: Slot;
  output: Slot;
  length: number;
  outcome: Promise<Outcome> | undefined;
}

export interface FileCompression {
  algorithm: FileFormat;
  level: number;
  header: GzipHeader;
}

/**
 * Compresses files of any size in bounded memory: reads pieces straight into device memory, has several in work at
 * once and writes their outputs, in order, from where the engines left them. Each file is one standard stream.
 */
export class FileCompressor {
  readonly #queue: RequestQueue;
  readonly #pieces: Piece[];
  /** Input and output of a file that is one request; made when one comes. */
  #whole: Slot[] | undefined;

  private constructor(queue: RequestQueue, pieces: Piece[]) {
    this.#queue = queue;
    this.#pieces = pieces;
  }

  static async create(accelerator: Accelerator): Promise<FileCompressor> {
    const queue = await RequestQueue.create(accelerator);
    const threads = accelerator.devices()[0]!.maxThreads;
    const count = Math.min(MAX_SLOTS, Math.max(MIN_SLOTS, SLOTS_PER_THREAD * threads));
    const inputs = await queue.reserve(count, PIECE_BYTES);
    const outputs = await queue.reserve(count, OUTPUT_BYTES);
    const pieces = inputs.map((input, index) => ({
      input,
      output: outputs[index]!,
      length: 0,
      outcome: undefined,
    }));
    return new FileCompressor(queue, pieces);
  }

  /** Compresses what the source has left. After an error the compressor cannot be used again. */
  async run(source: Source, sink: Sink, compression: FileCompression): Promise<void> {
    if (!isCuttable(compression.algorithm)) return this.#runWhole(source, sink, compression);
    const free = new Channel<Piece>(this.#pieces);
    const started = new Channel<Piece>();
    await together(
      [this.#read(source, compression, free, started), this.#write(sink, compression, started, free)],
      [free, started],
    );
  }

  /** A file of a format that cannot be cut: one request, which bounds its size. */
  async #runWhole(source: Source, sink: Sink, { algorithm, level }: FileCompression): Promise<void> {
    const capacity = compressBound(algorithm, WHOLE_INPUT_BYTES);
    // A byte more than there may be tells a file of that size from a larger one.
    this.#whole ??= [
      ...(await this.#queue.reserve(1, WHOLE_INPUT_BYTES + 1)),
      ...(await this.#queue.reserve(1, capacity)),
    ];
    const [input, output] = this.#whole as [Slot, Slot];
    const length = await source.fill(input.buffer);
    if (length > WHOLE_INPUT_BYTES) {
      throw new Failure(
        `too large for ${algorithm}: at most ${WHOLE_INPUT_BYTES} bytes (zstd has no such limit)`,
      );
    }
    const { produced } = await this.#queue.run({
      operation: OPCODE.compress,
      algorithm: ALGORITHM[algorithm],
      level,
      source: input.address,
      sourceLength: length,
      destination: output.address,
      capacity,
    });
    await sink.write([output.buffer.subarray(0, produced)]);
  }

  async #read(
    source: Source,
    compression: FileCompression,
    free: Channel<Piece>,
    started: Channel<Piece>,
  ): Promise<void> {
    // A piece is held back until it is known whether it is the last: that one ends the stream.
    let held: Piece | undefined;
    for (;;) {
      const piece = (await free.take())!;
      piece.length = await source.fill(piece.input.buffer);
      const isEnd = piece.length < PIECE_BYTES;
      if (held) {
        const isLast = isEnd && piece.length === 0;
        this.#start(held, compression, isLast, started);
        if (isLast) break;
      }
      if (isEnd) {
        this.#start(piece, compression, true, started);
        break;
      }
      held = piece;
    }
    started.close();
  }

  #start(piece: Piece, compression: FileCompression, last: boolean, started: Channel<Piece>): void {
    const { algorithm } = compression;
    piece.outcome = this.#queue.run({
      operation: OPCODE.compress,
      algorithm: ALGORITHM[isDeflate(algorithm) ? 'deflate-raw' : algorithm],
      level: compression.level,
      flags: isDeflate(algorithm) ? (last ? 0 : SQE_FLAG.piece) | CHECKSUM_FLAG[algorithm] : 0,
      source: piece.input.address,
      sourceLength: piece.length,
      destination: piece.output.address,
      capacity: OUTPUT_BYTES,
    });
    // Its failure is met when its turn comes; until then it is no unhandled one.
    piece.outcome.catch(() => {});
    started.put(piece);
  }

  async #write(
    sink: Sink,
    { algorithm, level, header }: FileCompression,
    started: Channel<Piece>,
    free: Channel<Piece>,
  ): Promise<void> {
    const trailer = new StreamTrailer(algorithm);
    let parts: Uint8Array[] = [streamHeader(algorithm, level, header)];
    let writing: Promise<void> = Promise.resolve();
    for (;;) {
      const piece = await started.take();
      if (!piece) break;
      const { produced, result } = await piece.outcome!;
      trailer.add(result, piece.length);
      parts.push(piece.output.buffer.subarray(0, produced));
      await writing;
      writing = sink.write(parts).then(() => free.put(piece));
      // Its failure is met when the next piece is there.
      writing.catch(() => {});
      parts = [];
    }
    await writing;
    await sink.write([...parts, trailer.bytes()]);
  }

  async release(): Promise<void> {
    await this.#queue.release();
  }
}
