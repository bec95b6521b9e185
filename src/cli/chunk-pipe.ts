import type { Accelerator } from '../accelerator/accelerator.js';
import { Channel, together } from './channel.js';
import type { Sink } from './sink.js';
import type { Source } from './source.js';

/** Chunks that are read, worked on and written together. */
const CHUNKS_PER_BATCH = 16;
/** Batches: in work, being read, being written, and one for bursts. */
const BATCHES = 4;

/**
 * Works on the chunks of a batch, of which the first has this number in the file.
 * @param endsFile whether the last of them is the last of the file
 */
export type ChunkWork = (chunks: Uint8Array[], first: number, endsFile: boolean) => Promise<Uint8Array[]>;

interface Batch {
  memory: Buffer;
  length: number;
  result: Promise<Uint8Array[]>;
}

/**
 * Takes a file through work on its chunks, in bounded memory: the next ones are read, and those before written,
 * meanwhile. What is written is in order, and each batch is written only once all of its chunks are done.
 */
export class ChunkPipe {
  readonly #batches: Batch[];

  private constructor(batches: Batch[]) {
    this.#batches = batches;
  }

  /** @param maxChunkBytes the longest chunk that will be read */
  static async create(accelerator: Accelerator, maxChunkBytes: number): Promise<ChunkPipe> {
    const batches: Batch[] = [];
    for (let index = 0; index < BATCHES; index++) {
      const memory = await accelerator.alloc(CHUNKS_PER_BATCH * maxChunkBytes);
      batches.push({ memory, length: 0, result: Promise.resolve([]) });
    }
    return new ChunkPipe(batches);
  }

  /**
   * Takes what the source has left, cut into chunks; an empty source is one empty chunk. After an error the pipe cannot
   * be used again.
   */
  async run(source: Source, sink: Sink, chunkBytes: number, work: ChunkWork): Promise<void> {
    const free = new Channel<Batch>(this.#batches);
    const started = new Channel<Batch>();
    try {
      await together(
        [read(source, chunkBytes, work, free, started), write(sink, started, free)],
        [free, started],
      );
    } finally {
      // Another source of the same descriptor must not find it being read, nor another file of the same number.
      await source.end();
      // The key of what is under way is about to be closed.
      for (const { result } of this.#batches) await result.catch(() => {});
    }
  }
}

async function read(
  source: Source,
  chunkBytes: number,
  work: ChunkWork,
  free: Channel<Batch>,
  started: Channel<Batch>,
): Promise<void> {
  let chunks = 0;
  const start = (batch: Batch, endsFile: boolean): void => {
    const parts = cut(batch.memory.subarray(0, batch.length), chunkBytes);
    batch.result = work(parts, chunks, endsFile);
    // Its failure is met when its turn comes; until then it is no unhandled one.
    batch.result.catch(() => {});
    chunks += parts.length;
    started.put(batch);
  };
  // A batch is held back until it is known whether it is the last: its last chunk is marked then.
  let held: Batch | undefined;
  for (;;) {
    const batch = (await free.take())!;
    const room = batch.memory.subarray(0, CHUNKS_PER_BATCH * chunkBytes);
    batch.length = await source.fill(room);
    const isLast = batch.length < room.length;
    const isNothing = batch.length === 0 && held !== undefined;
    if (held) start(held, isNothing);
    if (isLast && !isNothing) start(batch, true);
    if (isLast) break;
    held = batch;
  }
  started.close();
}

function cut(bytes: Uint8Array, chunkBytes: number): Uint8Array[] {
  const parts: Uint8Array[] = [bytes.subarray(0, chunkBytes)];
  for (let at = chunkBytes; at < bytes.length; at += chunkBytes) {
    parts.push(bytes.subarray(at, at + chunkBytes));
  }
  return parts;
}

async function write(sink: Sink, started: Channel<Batch>, free: Channel<Batch>): Promise<void> {
  for (;;) {
    const batch = await started.take();
    if (!batch) return;
    const parts = await batch.result;
    free.put(batch);
    await sink.write(parts);
  }
}
