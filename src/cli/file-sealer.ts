import { randomBytes } from 'node:crypto';
import type { Accelerator } from '../accelerator/accelerator.js';
import { AuthenticationError } from '../errors.js';
import { ChunkPipe, type ChunkWork } from './chunk-pipe.js';
import { Unavailable } from './machinery.js';
import {
  CHUNK_BYTES,
  chunkNonce,
  HEADER_BYTES,
  PREFIX_BYTES,
  refused,
  SALT_BYTES,
  type ScryptCost,
  type SealAlgorithm,
  type SealedHeader,
  TAG_BYTES,
} from './sealed-format.js';
import { fileKey, newFileKey } from './sealed-key.js';
import type { Secrets } from './secret.js';
import type { Sink } from './sink.js';
import type { Source } from './source.js';

const SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES;

export interface Sealing {
  algorithm: SealAlgorithm;
  /** Used where the secret is a passphrase. */
  scrypt: ScryptCost;
}

/** Encrypts and decrypts files of any size in bounded memory. */
export class FileSealer {
  readonly #accelerator: Accelerator;
  readonly #secrets: Secrets;
  #pipe: ChunkPipe | undefined;

  constructor(accelerator: Accelerator, secrets: Secrets) {
    this.#accelerator = accelerator;
    this.#secrets = secrets;
  }

  /** Encrypts what the source has left. */
  async seal(source: Source, sink: Sink, { algorithm, scrypt }: Sealing): Promise<void> {
    const { kind } = this.#secrets;
    const header: SealedHeader = {
      algorithm,
      scrypt: kind === 'passphrase' ? scrypt : undefined,
      salt: randomBytes(SALT_BYTES),
      prefix: randomBytes(PREFIX_BYTES),
    };
    this.#check(algorithm);
    const made = await newFileKey(header, await this.#secrets.get(kind));
    using session = this.#session(algorithm, made.key);
    await sink.write([made.header]);
    await this.#run(source, sink, CHUNK_BYTES, (chunks, first, endsFile) =>
      session.encryptMany(messages(header, chunks, first, endsFile)),
    );
  }

  /**
   * Decrypts what the source has left; no chunk is written before it is known to be authentic.
   * @param rehearsal gives the source a second time, from where the chunks begin, to verify all of it before the first
   * chunk is written; nothing where it cannot be read twice
   * @throws (as a rejection) the one Failure for encrypted files
   */
  async open(
    source: Source,
    sink: Sink,
    rehearsal: () => { source: Source; sink: Sink } | undefined,
  ): Promise<void> {
    const bytes = Buffer.alloc(HEADER_BYTES);
    if ((await source.fill(bytes)) < HEADER_BYTES) throw refused();
    const { header, key } = await fileKey(bytes, (kind) => this.#secrets.get(kind));
    this.#check(header.algorithm);
    using session = this.#session(header.algorithm, key);
    const work: ChunkWork = async (chunks, first, endsFile) => {
      const last = chunks.at(-1)!;
      // Only an empty file has an empty chunk: else there would be two encryptions of the same file's chunks.
      const isEmpty = last.length === TAG_BYTES && first + chunks.length > 1;
      if (last.length < TAG_BYTES || isEmpty) throw refused();
      try {
        return await session.decryptMany(messages(header, chunks, first, endsFile));
      } catch (error) {
        throw error instanceof AuthenticationError ? refused() : error;
      }
    };
    const before = rehearsal();
    if (before) await this.#run(before.source, before.sink, SEALED_CHUNK_BYTES, work);
    await this.#run(source, sink, SEALED_CHUNK_BYTES, work);
  }

  async #run(source: Source, sink: Sink, chunkBytes: number, work: ChunkWork): Promise<void> {
    const pipe = this.#pipe ?? (await ChunkPipe.create(this.#accelerator, SEALED_CHUNK_BYTES));
    this.#pipe = undefined;
    await pipe.run(source, sink, chunkBytes, work);
    // After an error something may still be read into its memory: it is not used again then.
    this.#pipe = pipe;
  }

  /** A session with the key, which is overwritten here. */
  #session(algorithm: SealAlgorithm, key: Buffer) {
    const session = this.#accelerator.cipherSession({ algorithm, key });
    key.fill(0);
    return session;
  }

  #check(algorithm: SealAlgorithm): void {
    if (this.#accelerator.supports('aead', algorithm)) return;
    throw new Unavailable(`no engine here has ${algorithm} ("warpdrive devices" lists them)`);
  }
}

function messages(
  { prefix }: SealedHeader,
  chunks: Uint8Array[],
  first: number,
  endsFile: boolean,
): { data: Uint8Array; iv: Buffer }[] {
  const last = endsFile ? chunks.length - 1 : -1;
  return chunks.map((data, index) => ({ data, iv: chunkNonce(prefix, first + index, index === last) }));
}
