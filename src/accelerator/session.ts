import {
  type Bytes,
  type CompressOptions,
  type CompressParameters,
  type DecompressOptions,
  type DecompressParameters,
  decompressParameters,
  type RequestOptions,
} from '../algorithms/options.js';
import { ClosedError } from '../errors.js';
import type { CompressionCalls } from './compression-calls.js';

export interface CompressSessionOptions extends CompressOptions, Omit<DecompressOptions, 'algorithm'> {}

/** Parameters of the class `compress`, checked once and used by many requests. */
export class CompressSession {
  readonly #calls: CompressionCalls;
  readonly #compress: CompressParameters;
  readonly #decompress: DecompressParameters;
  #closed = false;

  /** @internal Use `Accelerator.session`. */
  constructor(calls: CompressionCalls, options: CompressSessionOptions) {
    this.#calls = calls;
    this.#compress = calls.parameters(options);
    this.#decompress = decompressParameters(options);
  }

  async compress(input: Bytes, options: RequestOptions = {}): Promise<Buffer> {
    this.#check();
    return (await this.#calls.compress(input, this.#compress, options)) as Buffer;
  }

  compressSync(input: Bytes): Buffer {
    this.#check();
    return this.#calls.compressSync(input, this.#compress, false) as Buffer;
  }

  async decompress(input: Bytes, options: RequestOptions = {}): Promise<Buffer> {
    this.#check();
    return (await this.#calls.decompress(input, this.#decompress, options)) as Buffer;
  }

  decompressSync(input: Bytes): Buffer {
    this.#check();
    return this.#calls.decompressSync(input, this.#decompress, false) as Buffer;
  }

  /** Ends the session; requests under way are not affected. */
  close(): void {
    this.#closed = true;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #check(): void {
    if (this.#closed) throw new ClosedError('the session is closed');
  }
}
