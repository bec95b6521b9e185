import { OPCODE, STATUS } from '../../abi/queue.js';
import { bind, viewMemory } from '../../sys/libc.js';
import { Mapping } from '../../sys/memory.js';
import type { Capability, Engine, EngineRequest, Outcome } from './engine.js';
import { bindAll, setPointer } from './native.js';

/* Brotli (RFC 7932): the one in Node's own binary, which exports it. */

interface Functions {
  BrotliEncoderVersion(): number;
  BrotliEncoderCompress(
    quality: number,
    windowBits: number,
    mode: number,
    length: number,
    source: number,
    written: BigUint64Array,
    out: number,
  ): number;
  BrotliDecoderCreateInstance(allocate: number, free: number, opaque: number): number;
  BrotliDecoderDestroyInstance(state: number): void;
  BrotliDecoderDecompressStream(
    state: number,
    availableIn: number,
    nextIn: number,
    availableOut: number,
    nextOut: number,
    total: number,
  ): number;
  BrotliDecoderGetErrorCode(state: number): number;
}

/** BROTLI_DEFAULT_WINDOW and BROTLI_MODE_GENERIC of encode.h; what node:zlib takes, too. */
const WINDOW_BITS = 22;
const MODE_GENERIC = 0;
/** BrotliDecoderResult of decode.h. */
const RESULT = { error: 0, success: 1, needsMoreInput: 2, needsMoreOutput: 3 } as const;
/** The range of BrotliDecoderErrorCode that is about memory. */
const ALLOCATION_ERRORS = { first: -21, last: -31 } as const;

/** Words of the call's arguments: two sizes and two addresses of 64 bits each. */
const AVAILABLE_IN = 0;
const NEXT_IN = 2;
const AVAILABLE_OUT = 4;
const NEXT_OUT = 6;

/** A stream's context is a cell with the address of its decoder, which is made anew when a stream has ended. */
const CELL_BYTES = 8;

/** Binds Node's own Brotli, or undefined where this build does not export it. */
export function loadBrotli(): Engine | undefined {
  const functions = bindAll<Functions>(null, {
    BrotliEncoderVersion: 'uint32_t BrotliEncoderVersion()',
    BrotliEncoderCompress:
      'int BrotliEncoderCompress(int quality, int lgwin, int mode, uint64_t in_n, uint64_t in, void *out_n, uint64_t out)',
    BrotliDecoderCreateInstance:
      'uint64_t BrotliDecoderCreateInstance(uint64_t alloc, uint64_t free, uint64_t opaque)',
    BrotliDecoderDestroyInstance: 'void BrotliDecoderDestroyInstance(uint64_t s)',
    BrotliDecoderDecompressStream:
      'int BrotliDecoderDecompressStream(uint64_t s, uint64_t in_n, uint64_t in, uint64_t out_n, uint64_t out, uint64_t total)',
    BrotliDecoderGetErrorCode: 'int BrotliDecoderGetErrorCode(uint64_t s)',
  });
  return functions && new BrotliEngine(functions);
}

const DECOMPRESS = {
  operations: ['decompress'],
  algorithms: ['br'],
  rank: 10,
  nsPerByte: 4,
  fixedNs: 3000,
  rereads: true,
} as const;

class BrotliEngine implements Engine {
  readonly name = 'brotli';
  readonly library = "node's own";
  readonly version: string;
  readonly capabilities: readonly Capability[] = [
    {
      operations: ['compress'],
      algorithms: ['br'],
      rank: 10,
      levels: { min: 0, max: 11 },
      nsPerByte: [3, 5, 10, 13, 18, 30, 40, 60, 80, 120, 500, 1500],
      fixedNs: 10_000,
      rereads: true,
    },
    DECOMPRESS,
    { ...DECOMPRESS, session: 'exclusive' },
  ];
  readonly #f: Functions;
  readonly #arguments = Mapping.anonymous(4096);
  readonly #written = new BigUint64Array(1);
  readonly #writtenWords = new Uint32Array(this.#written.buffer);
  readonly #calloc = bind<(count: number, bytes: number) => number>(
    'uint64_t calloc(uint64_t count, uint64_t n)',
  );
  readonly #free = bind<(address: number) => void>('void free(uint64_t address)');

  constructor(functions: Functions) {
    this.#f = functions;
    const number = functions.BrotliEncoderVersion();
    this.version = [number >>> 24, (number >>> 12) & 0xfff, number & 0xfff].join('.');
  }

  run(request: EngineRequest): Outcome {
    if (request.operation === OPCODE.compress) return this.#compress(request);
    return request.context === 0
      ? this.#decompress(request)
      : this.#decompressStream(request.context, request);
  }

  #compress(request: EngineRequest): Outcome {
    const { level, sourceLength, source, destination, capacity } = request;
    this.#writtenWords[0] = capacity;
    this.#writtenWords[1] = 0;
    request.consumed = sourceLength;
    const done = this.#f.BrotliEncoderCompress(
      level,
      WINDOW_BITS,
      MODE_GENERIC,
      sourceLength,
      source,
      this.#written,
      destination,
    );
    // It does not say why it failed, and want of room is what it fails of.
    if (done === 0) return STATUS.noSpace;
    request.produced = this.#writtenWords[0]!;
    return STATUS.ok;
  }

  #decompress(request: EngineRequest): Outcome {
    const state = this.#f.BrotliDecoderCreateInstance(0, 0, 0);
    if (state === 0) return STATUS.noResources;
    const outcome = this.#step(state, request);
    this.#f.BrotliDecoderDestroyInstance(state);
    if (outcome !== STATUS.ok || request.streamEnd) return outcome;
    return request.produced === request.capacity ? STATUS.noSpace : STATUS.truncated;
  }

  openContext(): number {
    const cell = this.#calloc(1, CELL_BYTES);
    if (cell === 0) return 0;
    const state = this.#f.BrotliDecoderCreateInstance(0, 0, 0);
    if (state === 0) {
      this.#free(cell);
      return 0;
    }
    setPointer(cellWords(cell), 0, state);
    return cell;
  }

  #decompressStream(cell: number, request: EngineRequest): Outcome {
    const words = cellWords(cell);
    const state = stateIn(words);
    const outcome = this.#step(state, request);
    if (outcome === STATUS.ok && !request.streamEnd) return outcome;
    const next = this.#f.BrotliDecoderCreateInstance(0, 0, 0);
    if (next === 0) return outcome === STATUS.ok ? STATUS.noResources : outcome;
    this.#f.BrotliDecoderDestroyInstance(state);
    setPointer(words, 0, next);
    return outcome;
  }

  closeContext(cell: number): void {
    this.#f.BrotliDecoderDestroyInstance(stateIn(cellWords(cell)));
    this.#free(cell);
  }

  close(): void {
    this.#arguments.unmap();
  }

  #step(state: number, request: EngineRequest): Outcome {
    const { words, address } = this.#arguments;
    words[AVAILABLE_IN] = request.sourceLength;
    setPointer(words, NEXT_IN, request.source);
    words[AVAILABLE_OUT] = request.capacity;
    setPointer(words, NEXT_OUT, request.destination);
    const result = this.#f.BrotliDecoderDecompressStream(
      state,
      address + AVAILABLE_IN * 4,
      address + NEXT_IN * 4,
      address + AVAILABLE_OUT * 4,
      address + NEXT_OUT * 4,
      0,
    );
    request.consumed = request.sourceLength - words[AVAILABLE_IN]!;
    request.produced = request.capacity - words[AVAILABLE_OUT]!;
    request.streamEnd = result === RESULT.success;
    if (result !== RESULT.error) return STATUS.ok;
    const code = this.#f.BrotliDecoderGetErrorCode(state);
    const isMemory = code <= ALLOCATION_ERRORS.first && code >= ALLOCATION_ERRORS.last;
    return isMemory ? STATUS.noResources : STATUS.corrupt;
  }
}

/** A cell was perhaps made by another thread, which is why it is viewed anew for each request. */
function cellWords(cell: number): Int32Array {
  return new Int32Array(viewMemory(cell, CELL_BYTES));
}

function stateIn(words: Int32Array): number {
  return (words[0]! >>> 0) + (words[1]! >>> 0) * 4294967296;
}
