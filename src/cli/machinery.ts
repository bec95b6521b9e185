import type { Accelerator } from '../accelerator/accelerator.js';
import type { FileCompressor } from './file-compressor.js';
import type { FileDecompressor } from './file-decompressor.js';

/** The accelerator, opened in the background, with what compresses and decompresses files on it, made once wanted. */
export class Machinery {
  readonly #opening: Promise<Accelerator>;
  #compressor: Promise<FileCompressor> | undefined;
  #decompressor: Promise<FileDecompressor> | undefined;

  constructor() {
    this.#opening = import('../accelerator/open.js').then(({ open }) => open());
    // Whoever first wants it meets the error.
    this.#opening.catch(() => {});
  }

  accelerator(): Promise<Accelerator> {
    return this.#opening;
  }

  compressor(): Promise<FileCompressor> {
    this.#compressor ??= this.#make(() => import('./file-compressor.js'), 'FileCompressor');
    return this.#compressor;
  }

  decompressor(): Promise<FileDecompressor> {
    this.#decompressor ??= this.#make(() => import('./file-decompressor.js'), 'FileDecompressor');
    return this.#decompressor;
  }

  async #make<K extends string, T>(
    load: () => Promise<Record<K, { create(accelerator: Accelerator): Promise<T> }>>,
    name: K,
  ): Promise<T> {
    const [module, accelerator] = await Promise.all([load(), this.#opening]);
    return module[name].create(accelerator);
  }

  /** After an error nothing that was in use is used again: something of it may still be in flight. */
  async discard(): Promise<void> {
    const used = [this.#compressor, this.#decompressor];
    this.#compressor = undefined;
    this.#decompressor = undefined;
    for (const each of used) await (await each?.catch(() => undefined))?.release().catch(() => {});
  }
}
