import { ALGORITHM, DEFLATE_ALGORITHMS } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import { PieceMaker } from './block-walk.js';
import { bindLibdeflateChecksums } from './checksum.js';
import { type ChecksumPair, runChecksumPair } from './checksum-request.js';
import { type Capability, type Engine, type EngineRequest, NO_SESSIONS, type Outcome } from './engine.js';
import { bindAll, loadedPath } from './native.js';
import { bindZlib } from './zlib-binding.js';

/* libdeflate (libdeflate.so.0): whole buffers, the best ratio at every level from 4 up. */

const SONAME = 'libdeflate.so.0';

type Compress = (
  compressor: number,
  source: number,
  length: number,
  destination: number,
  capacity: number,
) => number;
type Decompress = (
  decompressor: number,
  source: number,
  length: number,
  destination: number,
  capacity: number,
  read: BigUint64Array,
  written: BigUint64Array,
) => number;

interface Functions {
  libdeflate_alloc_compressor(level: number): number;
  libdeflate_alloc_decompressor(): number;
  libdeflate_free_compressor(compressor: number): void;
  libdeflate_free_decompressor(decompressor: number): void;
  libdeflate_deflate_compress: Compress;
  libdeflate_zlib_compress: Compress;
  libdeflate_gzip_compress: Compress;
  libdeflate_deflate_decompress_ex: Decompress;
  libdeflate_zlib_decompress_ex: Decompress;
  libdeflate_gzip_decompress_ex: Decompress;
}

const compressPrototype = (name: string): string =>
  `uint64_t libdeflate_${name}_compress(uint64_t c, uint64_t in, uint64_t in_n, uint64_t out, uint64_t out_n)`;
const decompressPrototype = (name: string): string =>
  `int libdeflate_${name}_decompress_ex(uint64_t d, uint64_t in, uint64_t in_n, uint64_t out, uint64_t out_n, void *a, void *b)`;

/** enum libdeflate_result of libdeflate.h. */
const RESULT = { success: 0, badData: 1, shortOutput: 2, insufficientSpace: 3 } as const;

/** Finds libdeflate on this machine, or undefined. */
export function loadLibdeflate(): Engine | undefined {
  const functions = bindAll<Functions>(SONAME, {
    libdeflate_alloc_compressor: 'uint64_t libdeflate_alloc_compressor(int level)',
    libdeflate_alloc_decompressor: 'uint64_t libdeflate_alloc_decompressor()',
    libdeflate_free_compressor: 'void libdeflate_free_compressor(uint64_t c)',
    libdeflate_free_decompressor: 'void libdeflate_free_decompressor(uint64_t d)',
    libdeflate_deflate_compress: compressPrototype('deflate'),
    libdeflate_zlib_compress: compressPrototype('zlib'),
    libdeflate_gzip_compress: compressPrototype('gzip'),
    libdeflate_deflate_decompress_ex: decompressPrototype('deflate'),
    libdeflate_zlib_decompress_ex: decompressPrototype('zlib'),
    libdeflate_gzip_decompress_ex: decompressPrototype('gzip'),
  });
  return functions && new LibdeflateEngine(functions, loadedPath(SONAME) ?? SONAME);
}

const CHECKSUM = {
  operations: ['checksum'],
  algorithms: ['crc32', 'adler32'],
  rank: 10,
  nsPerByte: 0.05,
  fixedNs: 200,
} as const;

class LibdeflateEngine implements Engine {
  readonly name = 'libdeflate';
  readonly library: string;
  readonly version = 'ABI 0';
  readonly capabilities: readonly Capability[];
  readonly openContext = NO_SESSIONS.openContext;
  readonly closeContext = NO_SESSIONS.closeContext;
  readonly #f: Functions;
  readonly #compressBy: Compress[] = [];
  readonly #decompressBy: Decompress[] = [];
  readonly #compressors = new Float64Array(16);
  readonly #decompressor: number;
  readonly #pieces: PieceMaker | undefined;
  readonly #checksums: ChecksumPair | undefined = bindLibdeflateChecksums();
  readonly #read = new BigUint64Array(1);
  readonly #written = new BigUint64Array(1);
  readonly #readLow = new Uint32Array(this.#read.buffer);
  readonly #writtenLow = new Uint32Array(this.#written.buffer);

  constructor(functions: Functions, library: string) {
    this.#f = functions;
    this.library = library;
    this.#compressBy[ALGORITHM['deflate-raw']] = functions.libdeflate_deflate_compress;
    this.#compressBy[ALGORITHM.deflate] = functions.libdeflate_zlib_compress;
    this.#compressBy[ALGORITHM.gzip] = functions.libdeflate_gzip_compress;
    this.#decompressBy[ALGORITHM['deflate-raw']] = functions.libdeflate_deflate_decompress_ex;
    this.#decompressBy[ALGORITHM.deflate] = functions.libdeflate_zlib_decompress_ex;
    this.#decompressBy[ALGORITHM.gzip] = functions.libdeflate_gzip_decompress_ex;
    this.#decompressor = functions.libdeflate_alloc_decompressor();
    const zlib = bindZlib();
    this.#pieces = zlib && new PieceMaker(zlib);
    this.capabilities = [
      {
        operations: ['compress'],
        algorithms: DEFLATE_ALGORITHMS,
        rank: 20,
        levels: { min: 0, max: 12 },
        nsPerByte: [0.5, 8, 10, 10, 11, 13, 16, 22, 40, 50, 150, 200, 250],
        pieces: this.#pieces !== undefined,
        rereads: true,
      },
      { operations: ['decompress'], algorithms: DEFLATE_ALGORITHMS, rank: 10, nsPerByte: 5 },
      ...(this.#checksums ? [CHECKSUM] : []),
    ];
  }

  run(request: EngineRequest): Outcome {
    if (request.operation === OPCODE.checksum) return runChecksumPair(request, this.#checksums!);
    return request.operation === OPCODE.compress ? this.#compress(request) : this.#decompress(request);
  }

  #compress(request: EngineRequest): Outcome {
    const { level, source, sourceLength, destination, capacity } = request;
    let compressor = this.#compressors[level]!;
    if (compressor === 0) {
      compressor = this.#f.libdeflate_alloc_compressor(level);
      if (compressor === 0) return STATUS.noResources;
      this.#compressors[level] = compressor;
    }
    const written = this.#compressBy[request.algorithm]!(
      compressor,
      source,
      sourceLength,
      destination,
      capacity,
    );
    request.consumed = sourceLength;
    request.produced = written;
    if (written === 0) return STATUS.noSpace;
    return request.piece ? this.#pieces!.openEnd(request) : STATUS.ok;
  }

  close(): void {
    for (const compressor of this.#compressors) {
      if (compressor !== 0) this.#f.libdeflate_free_compressor(compressor);
    }
    this.#f.libdeflate_free_decompressor(this.#decompressor);
    this.#pieces?.close();
  }

  #decompress(request: EngineRequest): Outcome {
    const code = this.#decompressBy[request.algorithm]!(
      this.#decompressor,
      request.source,
      request.sourceLength,
      request.destination,
      request.capacity,
      this.#read,
      this.#written,
    );
    if (code === RESULT.success) {
      request.consumed = this.#readLow[0]!;
      request.produced = this.#writtenLow[0]!;
      request.streamEnd = true;
      return STATUS.ok;
    }
    // The library does not tell damaged input from input that ends early; the executor finds out.
    return code === RESULT.insufficientSpace ? STATUS.noSpace : STATUS.corrupt;
  }
}
