import { isDeflate } from '../abi/algorithms.js';
import type { Accelerator } from '../accelerator/accelerator.js';
import { Failure } from './failure.js';
import type { FileCompression, FileCompressor } from './file-compressor.js';
import type { FileDecompressor } from './file-decompressor.js';

/** No file can be worked on, neither this one nor the next. */
export class Unavailable extends Failure {}

/** The accelerator, opened in the background, with what compresses and decompresses files on it, made once wanted. */
export class Machinery {
  readonly #opening: Promise<Accelerator>;
  #compressor: FileCompressor | undefined;
  #decompressor: FileDecompressor | undefined;

  /** @param opened by default, one of its own that is opened now */
  constructor(opened?: Accelerator) {
    this.#opening = opened
      ? Promise.resolve(opened)
      : import('../accelerator/open.js').then(({ open }) => open());
    // Whoever first wants it meets the error.
    this.#opening.catch(() => {});
  }

  /** @throws Unavailable where there is no accelerator */
  async accelerator(): Promise<Accelerator> {
    try {
      return await this.#opening;
    } catch (cause) {
      throw new Unavailable((cause as Error).message, { cause });
    }
  }

  /** @throws Unavailable also where the device has no such level */
  async compressor({ algorithm, level }: FileCompression): Promise<FileCompressor> {
    const [{ FileCompressor }, accelerator] = await Promise.all([
      import('./file-compressor.js'),
      this.accelerator(),
    ]);
    const levels = accelerator.devices()[0]!.formats[algorithm]?.levels;
    if (!levels) {
      throw new Unavailable(`no engine here compresses ${algorithm} ("warpdrive devices" lists them)`);
    }
    const { min, max } = levels;
    if (level < min || level > max) {
      const more = isDeflate(algorithm)
        ? '10 to 12 need libdeflate: apt-get install libdeflate0'
        : '"warpdrive devices" lists what is missing';
      throw new Unavailable(`there is no level ${level} here; there are ${min} to ${max} (${more})`);
    }
    this.#compressor ??= await FileCompressor.create(accelerator);
    return this.#compressor;
  }

  async decompressor(): Promise<FileDecompressor> {
    const [{ FileDecompressor }, accelerator] = await Promise.all([
      import('./file-decompressor.js'),
      this.accelerator(),
    ]);
    this.#decompressor ??= await FileDecompressor.create(accelerator);
    return this.#decompressor;
  }

  /** After an error nothing that was in use is used again: something of it may still be in flight. */
  async discard(): Promise<void> {
    const used = [this.#compressor, this.#decompressor];
    this.#compressor = undefined;
    this.#decompressor = undefined;
    for (const each of used) await each?.release().catch(() => {});
  }
}
