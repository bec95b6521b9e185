import { ALGORITHM } from '../abi/algorithms.js';
import { CQE_FLAG, OPCODE } from '../abi/queue.js';
import type { Accelerator } from '../accelerator/accelerator.js';
import type { DeviceListing } from '../accelerator/device-listing.js';
import { startsPart } from '../algorithms/framing.js';
import { Channel, together } from './channel.js';
import { Failure } from './failure.js';
import type { FileFormat } from './names.js';
import { type Outcome, RequestQueue, type Slot } from './request-queue.js';
import type { Sink } from './sink.js';
import type { Source } from './source.js';

const INPUT_BYTES = 512 * 1024;
const OUTPUT_BYTES = 1024 * 1024;
const SLOTS = 8;
/** An output slot with less room than this is written rather than filled further. */
const LITTLE_ROOM = 64 * 1024;
/** Room before each chunk, for bytes of the one before that may begin a magic number, which has four. */
const LEAD_BYTES = 3;
/** Formats that tell themselves. */
const WITH_MAGIC = ['gzip', 'zstd', 'lz4'] as const;

type Formats = DeviceListing['formats'];

/** Compressed bytes, from `start` to `end` of a slot. */
interface Chunk {
  slot: Slot;
  start: number;
  end: number;
}

interface Filled {
  slot: Slot;
  length: number;
}

/** What followed the compressed stream: nothing (or zeros, which tapes and disks pad with), or something else. */
export type Trailing = 'nothing' | 'garbage';

export interface FileDecompression {
  /** Undefined for what the input's magic number says it is. */
  algorithm: FileFormat | undefined;
  /** What its name says, which decides where no magic number does. */
  byName: FileFormat | undefined;
  /** Input that is not compressed is copied, as `gzip -dcf` does, instead of being an error. */
  passThrough: boolean;
}

/**
 * Decompresses files of any size in bounded memory: reading, the engine and writing go on at the same time. The state
 * of the stream stays on the device, so requests of one file follow each other; all members of a gzip file are read.
 */
export class FileDecompressor {
  readonly #queue: RequestQueue;
  readonly #inputs: Slot[];
  readonly #outputs: Slot[];
  readonly #formats: Formats;

  private constructor(queue: RequestQueue, inputs: Slot[], outputs: Slot[], formats: Formats) {
    this.#queue = queue;
    this.#formats = formats;
    this.#inputs = inputs;
    this.#outputs = outputs;
  }

  static async create(accelerator: Accelerator): Promise<FileDecompressor> {
    const queue = await RequestQueue.create(accelerator);
    const inputs = await queue.reserve(SLOTS, LEAD_BYTES + INPUT_BYTES);
    const { formats } = accelerator.devices()[0]!;
    return new FileDecompressor(queue, inputs, await queue.reserve(SLOTS, OUTPUT_BYTES), formats);
  }

  /** Decompresses what the source has left. After an error the decompressor cannot be used again. */
  async run(source: Source, sink: Sink, options: FileDecompression): Promise<Trailing> {
    const freeInputs = new Channel<Slot>(this.#inputs);
    const freeOutputs = new Channel<Slot>(this.#outputs);
    const chunks = new Channel<Chunk>();
    const filled = new Channel<Filled>();
    const output = new Output(freeOutputs, filled);
    const inflation = new Inflation(this.#queue, options, output, this.#formats);
    const inflate = async (): Promise<void> => {
      try {
        for (;;) {
          // Nothing to go on with for now: what there is should not wait for it.
          if (chunks.size === 0) output.flush();
          const chunk = await chunks.take();
          if (!chunk) break;
          await inflation.add(chunk);
          freeInputs.put(chunk.slot);
          if (inflation.trailing === 'garbage') break;
        }
        await inflation.finish();
      } finally {
        await inflation.close();
        output.flush();
        filled.close();
        // Ends the reader, where it would go on behind trailing garbage.
        freeInputs.close();
      }
    };
    await together(
      [readChunks(source, freeInputs, chunks), inflate(), writeFilled(sink, filled, freeOutputs)],
      [freeInputs, freeOutputs, chunks, filled],
    );
    return inflation.trailing;
  }

  async release(): Promise<void> {
    await this.#queue.release();
  }
}

async function readChunks(source: Source, free: Channel<Slot>, chunks: Channel<Chunk>): Promise<void> {
  for (;;) {
    const slot = await free.take();
    if (!slot) return;
    const length = await source.read(slot.buffer.subarray(LEAD_BYTES));
    if (length === 0) break;
    chunks.put({ slot, start: LEAD_BYTES, end: LEAD_BYTES + length });
  }
  chunks.close();
}

async function writeFilled(sink: Sink, filled: Channel<Filled>, free: Channel<Slot>): Promise<void> {
  for (;;) {
    const next = await filled.take();
    if (!next) return;
    await sink.write([next.slot.buffer.subarray(0, next.length)]);
    free.put(next.slot);
  }
}

/** The slot that output goes to, filled by several requests if need be. */
class Output {
  readonly #free: Channel<Slot>;
  readonly #filled: Channel<Filled>;
  #slot: Slot | undefined;
  #length = 0;

  constructor(free: Channel<Slot>, filled: Channel<Filled>) {
    this.#free = free;
    this.#filled = filled;
  }

  /** Where the next bytes go, and how many of them may. */
  async room(): Promise<{ address: number; bytes: Buffer }> {
    if (this.#slot && this.#slot.buffer.length - this.#length < LITTLE_ROOM) this.flush();
    this.#slot ??= (await this.#free.take())!;
    return { address: this.#slot.address + this.#length, bytes: this.#slot.buffer.subarray(this.#length) };
  }

  /** So many bytes have been put there. */
  advance(produced: number): void {
    this.#length += produced;
  }

  /** Hands over what there is to be written. */
  flush(): void {
    if (!this.#slot || this.#length === 0) return;
    this.#filled.put({ slot: this.#slot, length: this.#length });
    this.#slot = undefined;
    this.#length = 0;
  }
}

/** One file's stream, or its members or frames, as its chunks come. */
class Inflation {
  trailing: Trailing = 'nothing';
  readonly #queue: RequestQueue;
  readonly #options: FileDecompression;
  readonly #output: Output;
  #session = 0;
  #members = 0;
  #between = true;
  #padding = false;
  #copying = false;
  /** Last bytes that may begin a member or frame, or not: the next chunk tells. */
  #held: Uint8Array | undefined;
  readonly #formats: Formats;
  #algorithm: FileFormat | undefined;

  constructor(queue: RequestQueue, options: FileDecompression, output: Output, formats: Formats) {
    this.#formats = formats;
    this.#algorithm = options.algorithm;
    this.#queue = queue;
    this.#options = options;
    this.#output = output;
  }

  async add({ slot, start, end }: Chunk): Promise<void> {
    let at = start;
    if (this.#held) {
      at -= this.#held.length;
      slot.buffer.set(this.#held, at);
      this.#held = undefined;
    }
    while (at < end || !this.#between) {
      if (this.#copying) return this.#copy(slot.buffer.subarray(at, end));
      if (this.#between && !this.#starts(slot.buffer.subarray(at, end))) {
        if (this.#copying) continue;
        return;
      }
      const { bytes, address } = await this.#output.room();
      const outcome = await this.#step(slot.address + at, end - at, address, bytes.length);
      at += outcome.consumed;
      this.#output.advance(outcome.produced);
      const isFull = outcome.produced === bytes.length;
      if ((outcome.flags & CQE_FLAG.streamEnd) !== 0) {
        this.#between = true;
        this.#members++;
      } else if (!isFull) {
        if (at === end) return;
        if (outcome.consumed === 0 && outcome.produced === 0) {
          throw new Failure('the compressed data is damaged');
        }
      }
    }
  }

  /** Whether these bytes begin the stream, or another member or frame. */
  #starts(bytes: Uint8Array): boolean {
    if (this.#members > 0 && (this.#padding || bytes[0] === 0)) {
      this.#padding = true;
      if (bytes.some((byte) => byte !== 0)) this.trailing = 'garbage';
      return false;
    }
    const algorithm = this.#algorithm ?? this.#recognise(bytes);
    const starts = WITH_MAGIC.some((each) => each === algorithm)
      ? startsPart(algorithm, bytes, 0)
      : this.#members === 0
        ? 'yes'
        : 'no';
    if (starts === 'perhaps') {
      this.#held = Uint8Array.from(bytes);
      return false;
    }
    this.#algorithm = algorithm;
    this.#between = starts === 'no';
    if (!this.#between) return true;
    if (this.#members > 0) this.trailing = 'garbage';
    else if (this.#options.passThrough) this.#copying = true;
    else
      throw new Failure(
        `not in ${algorithm} format${(this.#options.algorithm ?? this.#options.byName) ? '' : ', nor in another that is known'}`,
      );
    return false;
  }

  /** What input is that nobody has named: what its magic number says, else what its name says. */
  #recognise(bytes: Uint8Array): FileFormat {
    const { byName } = this.#options;
    const named = WITH_MAGIC.find((each) => each === byName);
    if (byName !== undefined && named === undefined) return byName;
    const candidates = named === undefined ? WITH_MAGIC : [named, ...WITH_MAGIC];
    const find = (answer: 'yes' | 'perhaps'): FileFormat | undefined =>
      candidates.find((each) => startsPart(each, bytes, 0) === answer);
    return find('yes') ?? find('perhaps') ?? named ?? 'gzip';
  }

  async #copy(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const room = await this.#output.room();
      const part = bytes.subarray(at, at + room.bytes.length);
      room.bytes.set(part);
      this.#output.advance(part.length);
      at += part.length;
    }
  }

  async #step(source: number, sourceLength: number, destination: number, capacity: number): Promise<Outcome> {
    const name = this.#algorithm!;
    const algorithm = ALGORITHM[name];
    if (this.#session === 0) {
      if (!this.#formats[name]?.streams) {
        throw new Failure(`no engine here decompresses streams of ${name} (is one that does turned off?)`);
      }
      this.#session = (await this.#queue.run({ operation: OPCODE.sessionOpen, algorithm })).result;
    }
    const session = this.#session;
    const operation = OPCODE.decompress;
    return this.#queue.run({ operation, algorithm, session, source, sourceLength, destination, capacity });
  }

  /** The input has ended. */
  async finish(): Promise<void> {
    if (this.#copying) return;
    // Too short for a magic number, so not compressed.
    if (this.#held && this.#members === 0 && this.#options.passThrough) return this.#copy(this.#held);
    if (this.#held && this.#members > 0) this.trailing = 'garbage';
    else if (this.#held || !this.#between || this.#members === 0) throw new Failure('unexpected end of file');
  }

  /** Frees the state on the device. */
  async close(): Promise<void> {
    if (this.#session === 0) return;
    // A device that has failed holds no state any more, and whatever came before is the error to tell.
    await this.#queue.run({ operation: OPCODE.sessionClose, session: this.#session }).catch(() => {});
  }
}
