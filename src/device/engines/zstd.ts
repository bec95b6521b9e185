import { OPCODE, STATUS } from '../../abi/queue.js';
import { Mapping } from '../../sys/memory.js';
import type { Capability, Engine, EngineRequest, Outcome } from './engine.js';
import { bindAll, loadedPath, setPointer } from './native.js';

/* Zstandard (the one in Node's own binary where it exports it, else libzstd.so.1): frames of RFC 8878. */

const SONAME = 'libzstd.so.1';

interface Functions {
  ZSTD_versionString(): string;
  ZSTD_createCCtx(): number;
  ZSTD_freeCCtx(context: number): number;
  ZSTD_CCtx_setParameter(context: number, parameter: number, value: number): number;
  ZSTD_compress2(context: number, out: number, capacity: number, source: number, length: number): number;
  ZSTD_createDCtx(): number;
  ZSTD_freeDCtx(context: number): number;
  ZSTD_DCtx_setParameter(context: number, parameter: number, value: number): number;
  ZSTD_DCtx_reset(context: number, directive: number): number;
  ZSTD_findFrameCompressedSize(source: number, length: number): number;
  ZSTD_decompressDCtx(context: number, out: number, capacity: number, source: number, length: number): number;
  ZSTD_decompressStream(context: number, out: number, input: number): number;
}

/** ZSTD_cParameter, ZSTD_dParameter and ZSTD_ResetDirective of zstd.h. */
const C_LEVEL = 100;
const C_CHECKSUM = 201;
const D_WINDOW_LOG_MAX = 100;
const RESET_SESSION_ONLY = 1;

/** ZSTD_ErrorCode of zstd_errors.h; a function returns its negative. */
const ERROR = {
  windowTooLarge: 16,
  memory: 64,
  destinationTooSmall: 70,
  sourceWrong: 72,
  noProgressDestinationFull: 80,
  noProgressInputEmpty: 82,
} as const;

/**
 * A stream that is decompressed keeps its window in the device's memory. 128 MiB is what the program zstd takes without
 * being told otherwise, and what its level 22 uses.
 */
const MAX_WINDOW_LOG = 27;

/** struct ZSTD_inBuffer and ZSTD_outBuffer: address, size, position; 24 bytes each on LP64. */
const OUT_WORD = 0;
const IN_WORD = 16;
const SIZE = 2;
const POSITION = 4;

/** Finds Zstandard on this machine, or undefined. */
export function loadZstd(): Engine | undefined {
  // Results are declared as signed: errors are small negative numbers then, and no BigInts.
  const prototypes: Record<keyof Functions, string> = {
    ZSTD_versionString: 'const char *ZSTD_versionString()',
    ZSTD_createCCtx: 'uint64_t ZSTD_createCCtx()',
    ZSTD_freeCCtx: 'int64_t ZSTD_freeCCtx(uint64_t c)',
    ZSTD_CCtx_setParameter: 'int64_t ZSTD_CCtx_setParameter(uint64_t c, int parameter, int value)',
    ZSTD_compress2:
      'int64_t ZSTD_compress2(uint64_t c, uint64_t out, uint64_t out_n, uint64_t in, uint64_t in_n)',
    ZSTD_createDCtx: 'uint64_t ZSTD_createDCtx()',
    ZSTD_freeDCtx: 'int64_t ZSTD_freeDCtx(uint64_t d)',
    ZSTD_DCtx_setParameter: 'int64_t ZSTD_DCtx_setParameter(uint64_t d, int parameter, int value)',
    ZSTD_DCtx_reset: 'int64_t ZSTD_DCtx_reset(uint64_t d, int directive)',
    ZSTD_findFrameCompressedSize: 'int64_t ZSTD_findFrameCompressedSize(uint64_t in, uint64_t in_n)',
    ZSTD_decompressDCtx:
      'int64_t ZSTD_decompressDCtx(uint64_t d, uint64_t out, uint64_t out_n, uint64_t in, uint64_t in_n)',
    ZSTD_decompressStream: 'int64_t ZSTD_decompressStream(uint64_t d, uint64_t out, uint64_t in)',
  };
  // Where Node exports a Zstandard of its own, the shared library's calls within itself would go there, from one version
  // into the structures of another: it must not even be tried.
  if (bindAll(null, { ZSTD_versionNumber: 'uint32_t ZSTD_versionNumber()' })) {
    const own = bindAll<Functions>(null, prototypes);
    return own && new ZstdEngine(own, "node's own");
  }
  const shared = bindAll<Functions>(SONAME, prototypes);
  return shared && new ZstdEngine(shared, loadedPath(SONAME) ?? SONAME);
}

const DECOMPRESS = {
  operations: ['decompress'],
  algorithms: ['zstd'],
  rank: 10,
  nsPerByte: 1.2,
  fixedNs: 1000,
  rereads: true,
} as const;

class ZstdEngine implements Engine {
  readonly name = 'zstd';
  readonly library: string;
  readonly version: string;
  readonly capabilities: readonly Capability[] = [
    {
      operations: ['compress'],
      algorithms: ['zstd'],
      rank: 10,
      levels: { min: 1, max: 19 },
      nsPerByte: [0, 3, 4, 6, 8, 12, 15, 18, 22, 28, 35, 45, 60, 90, 110, 140, 200, 250, 330, 400],
      fixedNs: 3000,
      rereads: true,
    },
    DECOMPRESS,
    { ...DECOMPRESS, session: 'exclusive' },
  ];
  readonly #f: Functions;
  readonly #compressor: number;
  readonly #decompressor: number;
  readonly #buffers = Mapping.anonymous(4096);

  constructor(functions: Functions, library: string) {
    this.#f = functions;
    this.library = library;
    this.version = functions.ZSTD_versionString();
    this.#compressor = functions.ZSTD_createCCtx();
    functions.ZSTD_CCtx_setParameter(this.#compressor, C_CHECKSUM, 1);
    this.#decompressor = functions.ZSTD_createDCtx();
  }

  run(request: EngineRequest): Outcome {
    if (request.operation === OPCODE.compress) return this.#compress(request);
    return request.context === 0
      ? this.#decompress(request)
      : this.#decompressStream(request.context, request);
  }

  #compress(request: EngineRequest): Outcome {
    this.#f.ZSTD_CCtx_setParameter(this.#compressor, C_LEVEL, request.level);
    request.consumed = request.sourceLength;
    const written = this.#f.ZSTD_compress2(
      this.#compressor,
      request.destination,
      request.capacity,
      request.source,
      request.sourceLength,
    );
    if (written < 0) {
      if (written === -ERROR.destinationTooSmall) return STATUS.noSpace;
      return written === -ERROR.memory ? STATUS.noResources : STATUS.engineFailed;
    }
    request.produced = written;
    return STATUS.ok;
  }

  /** One frame, also one that is to be skipped. The library's own call would go on into those that follow. */
  #decompress(request: EngineRequest): Outcome {
    const { source, sourceLength, destination, capacity } = request;
    const frame =
      sourceLength === 0 ? -ERROR.sourceWrong : this.#f.ZSTD_findFrameCompressedSize(source, sourceLength);
    if (frame < 0) {
      request.consumed = sourceLength;
      return frame === -ERROR.sourceWrong ? STATUS.truncated : STATUS.corrupt;
    }
    request.consumed = frame;
    const written = this.#f.ZSTD_decompressDCtx(this.#decompressor, destination, capacity, source, frame);
    if (written < 0) {
      if (written === -ERROR.destinationTooSmall) return STATUS.noSpace;
      return written === -ERROR.memory ? STATUS.noResources : STATUS.corrupt;
    }
    request.produced = written;
    request.streamEnd = true;
    return STATUS.ok;
  }

  openContext(): number {
    const context = this.#f.ZSTD_createDCtx();
    if (context !== 0) this.#f.ZSTD_DCtx_setParameter(context, D_WINDOW_LOG_MAX, MAX_WINDOW_LOG);
    return context;
  }

  #decompressStream(context: number, request: EngineRequest): Outcome {
    const { words, address } = this.#buffers;
    setPointer(words, OUT_WORD, request.destination);
    words[OUT_WORD + SIZE] = request.capacity;
    words[OUT_WORD + POSITION] = 0;
    setPointer(words, IN_WORD, request.source);
    words[IN_WORD + SIZE] = request.sourceLength;
    words[IN_WORD + POSITION] = 0;
    const left = this.#f.ZSTD_decompressStream(context, address + OUT_WORD * 4, address + IN_WORD * 4);
    request.produced = words[OUT_WORD + POSITION]!;
    request.consumed = words[IN_WORD + POSITION]!;
    request.streamEnd = left === 0;
    if (left >= 0) return STATUS.ok;
    // It counts calls that bring nothing and take nothing; whoever makes them may.
    if (left === -ERROR.noProgressDestinationFull || left === -ERROR.noProgressInputEmpty) return STATUS.ok;
    this.#f.ZSTD_DCtx_reset(context, RESET_SESSION_ONLY);
    return left === -ERROR.memory || left === -ERROR.windowTooLarge ? STATUS.noResources : STATUS.corrupt;
  }

  closeContext(context: number): void {
    this.#f.ZSTD_freeDCtx(context);
  }

  close(): void {
    this.#f.ZSTD_freeCCtx(this.#compressor);
    this.#f.ZSTD_freeDCtx(this.#decompressor);
    this.#buffers.unmap();
  }
}
