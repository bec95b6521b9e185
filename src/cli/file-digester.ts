import { close, fstat, open } from 'node:fs';
import { promisify } from 'node:util';
import type { DigestAlgorithm } from '../abi/algorithms.js';
import type { Accelerator } from '../accelerator/accelerator.js';
import { Channel } from './channel.js';
import { Failure } from './failure.js';
import { STDIN_FD } from './input.js';
import { whileBlocking } from './interruption.js';
import { Source } from './source.js';
import { pathOf } from './sum-list.js';

/** Read at once: large enough that a request costs nothing beside it. */
const PART_BYTES = 1024 * 1024;
/** Files in work beyond the engine threads: one is being opened, or read for the first time. */
const LANES_BEYOND_THREADS = 1;
const MAX_LANES = 8;

/** A file on its way, for whoever shows how far it has come. */
export class DigestWork {
  /** As in a list: `-` is the standard input. */
  readonly name: string;
  source: Source | undefined;
  /** Bytes in all; 0 where nobody knows. */
  total = 0;

  constructor(name: string) {
    this.name = name;
  }

  done(): number {
    return this.source?.count ?? 0;
  }
}

/**
 * Digests of files of any size in bounded memory: while the device digests one part, the next is read. Several files may
 * be in work at once, each on a lane with memory of its own.
 */
export class FileDigester {
  readonly lanes: number;
  readonly #accelerator: Accelerator;
  readonly #algorithm: DigestAlgorithm;
  readonly #free: Channel<[Buffer, Buffer]>;
  /** Whoever reads the standard input next begins when the one before has ended. */
  #stdin: Promise<unknown> = Promise.resolve();

  private constructor(accelerator: Accelerator, algorithm: DigestAlgorithm, pairs: [Buffer, Buffer][]) {
    this.#accelerator = accelerator;
    this.#algorithm = algorithm;
    this.#free = new Channel(pairs);
    this.lanes = pairs.length;
  }

  static async create(accelerator: Accelerator, algorithm: DigestAlgorithm): Promise<FileDigester> {
    const lanes = Math.min(MAX_LANES, accelerator.devices()[0]!.maxThreads + LANES_BEYOND_THREADS);
    const pairs: [Buffer, Buffer][] = [];
    for (let lane = 0; lane < lanes; lane++) {
      const memory = await accelerator.alloc(2 * PART_BYTES);
      pairs.push([memory.subarray(0, PART_BYTES), memory.subarray(PART_BYTES)]);
    }
    return new FileDigester(accelerator, algorithm, pairs);
  }

  /** The digest of a file, as hexadecimal digits. Rejects with what went wrong. */
  digest(work: DigestWork): Promise<string> {
    if (work.name !== '-') return this.#digestPath(work);
    const result = this.#stdin.then(() => this.#digestOpen(work, STDIN_FD));
    this.#stdin = result.catch(() => {});
    return result;
  }

  async #digestPath(work: DigestWork): Promise<string> {
    // A pipe that has no writer yet holds up the thread that opens it.
    const fd = await whileBlocking(promisify(open)(pathOf(work.name), 'r'));
    try {
      return await this.#digestOpen(work, fd);
    } finally {
      await promisify(close)(fd);
    }
  }

  async #digestOpen(work: DigestWork, fd: number): Promise<string> {
    const stats = await promisify(fstat)(fd);
    if (stats.isDirectory()) throw new Failure('is a directory');
    const source = new Source(fd, !stats.isFile());
    work.source = source;
    work.total = stats.isFile() ? stats.size : 0;
    const pair = (await this.#free.take())!;
    try {
      return await this.#run(source, pair);
    } finally {
      await source.end();
      this.#free.put(pair);
    }
  }

  async #run(source: Source, pair: [Buffer, Buffer]): Promise<string> {
    using session = this.#accelerator.digestSession({ algorithm: this.#algorithm });
    let digesting: Promise<void> = Promise.resolve();
    try {
      for (let part = 0; ; part++) {
        const buffer = pair[part % 2]!;
        const length = await source.fill(buffer);
        await digesting;
        if (length > 0) digesting = session.update(buffer.subarray(0, length));
        // Its failure is met when the next part is there.
        digesting.catch(() => {});
        if (length < buffer.length) break;
      }
      await digesting;
      return (await session.digest()).toString('hex');
    } finally {
      // Nothing may be under way in memory that the next file is read into.
      await digesting.catch(() => {});
    }
  }
}
