import { ALGORITHM } from '../../abi/algorithms.js';
import { LIMITS, OPCODE, STATUS } from '../../abi/queue.js';
import { viewMemory } from '../../sys/libc.js';
import { copyMemory, Mapping } from '../../sys/memory.js';
import type { Capability, Engine, EngineRequest, Outcome } from './engine.js';
import { bindAll, loadedPath } from './native.js';
import { unpackBlock } from './software-lz4.js';

/* LZ4 (liblz4.so.1): frames, which carry checksums, and raw blocks, which carry nothing but the data. */

const SONAME = 'liblz4.so.1';

interface Functions {
  LZ4_versionString(): string;
  LZ4_sizeofState(): number;
  LZ4_sizeofStateHC(): number;
  LZ4_compress_fast_extState(
    state: number,
    source: number,
    out: number,
    length: number,
    capacity: number,
    acceleration: number,
  ): number;
  LZ4_compress_HC_extStateHC(
    state: number,
    source: number,
    out: number,
    length: number,
    capacity: number,
    level: number,
  ): number;
  LZ4_decompress_safe(source: number, out: number, length: number, capacity: number): number;
  LZ4F_getVersion(): number;
  LZ4F_compressFrameBound(length: number, preferences: number): number;
  LZ4F_compressFrame(
    out: number,
    capacity: number,
    source: number,
    length: number,
    preferences: number,
  ): number;
  LZ4F_createDecompressionContext(made: BigUint64Array, version: number): number;
  LZ4F_freeDecompressionContext(context: number): number;
  LZ4F_resetDecompressionContext(context: number): void;
  LZ4F_decompress(
    context: number,
    out: number,
    written: BigUint64Array,
    source: number,
    read: BigUint64Array,
    options: number,
  ): number;
}

/** LZ4F_ERROR_allocation_failed of lz4frame.h; functions return its negative. */
const ALLOCATION_FAILED = 9;

/** Words of LZ4F_preferences_t, and its size in bytes. */
const PREFERENCES = { blockSize: 0, blockMode: 1, contentChecksum: 2, contentSize: 4, level: 8, bytes: 56 };
const BLOCK_4_MIB = 7;
const BLOCK_INDEPENDENT = 1;
/** The lowest level of LZ4HC; what lies below is the fast compressor. */
const FIRST_HC_LEVEL = 3;
/** Room for a frame of the largest request, with blocks that do not compress. */
const FRAME_BYTES = LIMITS.maxTransfer + 65536;

/** Finds LZ4 on this machine, or undefined. */
export function loadLz4(): Engine | undefined {
  // Results are declared as signed: errors are small negative numbers then, and no BigInts.
  const functions = bindAll<Functions>(SONAME, {
    LZ4_versionString: 'const char *LZ4_versionString()',
    LZ4_sizeofState: 'int LZ4_sizeofState()',
    LZ4_sizeofStateHC: 'int LZ4_sizeofStateHC()',
    LZ4_compress_fast_extState:
      'int LZ4_compress_fast_extState(uint64_t s, uint64_t in, uint64_t out, int in_n, int out_n, int acceleration)',
    LZ4_compress_HC_extStateHC:
      'int LZ4_compress_HC_extStateHC(uint64_t s, uint64_t in, uint64_t out, int in_n, int out_n, int level)',
    LZ4_decompress_safe: 'int LZ4_decompress_safe(uint64_t in, uint64_t out, int in_n, int out_n)',
    LZ4F_getVersion: 'uint32_t LZ4F_getVersion()',
    LZ4F_compressFrameBound: 'int64_t LZ4F_compressFrameBound(uint64_t n, uint64_t preferences)',
    LZ4F_compressFrame:
      'int64_t LZ4F_compressFrame(uint64_t out, uint64_t out_n, uint64_t in, uint64_t in_n, uint64_t preferences)',
    LZ4F_createDecompressionContext: 'int64_t LZ4F_createDecompressionContext(void *made, uint32_t version)',
    LZ4F_freeDecompressionContext: 'int64_t LZ4F_freeDecompressionContext(uint64_t d)',
    LZ4F_resetDecompressionContext: 'void LZ4F_resetDecompressionContext(uint64_t d)',
    LZ4F_decompress:
      'int64_t LZ4F_decompress(uint64_t d, uint64_t out, void *out_n, uint64_t in, void *in_n, uint64_t options)',
  });
  return functions && new Lz4Engine(functions, loadedPath(SONAME) ?? SONAME);
}

const COMMON = { algorithms: ['lz4', 'lz4-block'], rank: 10, fixedNs: 1000, rereads: true } as const;

class Lz4Engine implements Engine {
  readonly name = 'lz4';
  readonly library: string;
  readonly version: string;
  readonly capabilities: readonly Capability[] = [
    {
      ...COMMON,
      operations: ['compress'],
      levels: { min: 1, max: 12 },
      nsPerByte: [0, 2, 20, 20, 22, 25, 30, 35, 45, 60, 80, 120, 200],
    },
    { ...COMMON, operations: ['decompress'], nsPerByte: 0.5 },
    { ...COMMON, operations: ['decompress'], algorithms: ['lz4'], nsPerByte: 0.5, session: 'exclusive' },
  ];
  readonly #f: Functions;
  readonly #fast: Mapping;
  readonly #high: Mapping;
  readonly #preferences = Mapping.anonymous(4096);
  readonly #decompressor: number;
  /** A frame that may not fit: the library wants room for the worst case. */
  #frame: Mapping | undefined;
  readonly #sizes = new BigUint64Array(2);
  readonly #written = this.#sizes.subarray(0, 1);
  readonly #read = this.#sizes.subarray(1, 2);
  readonly #sizeWords = new Uint32Array(this.#sizes.buffer);

  constructor(functions: Functions, library: string) {
    this.#f = functions;
    this.library = library;
    this.version = functions.LZ4_versionString();
    this.#fast = Mapping.anonymous(functions.LZ4_sizeofState());
    this.#high = Mapping.anonymous(functions.LZ4_sizeofStateHC());
    this.#decompressor = this.openContext();
    const { words } = this.#preferences;
    words[PREFERENCES.blockSize] = BLOCK_4_MIB;
    words[PREFERENCES.blockMode] = BLOCK_INDEPENDENT;
    words[PREFERENCES.contentChecksum] = 1;
  }

  run(request: EngineRequest): Outcome {
    const isFrame = request.algorithm === ALGORITHM.lz4;
    if (request.operation === OPCODE.compress) {
      return isFrame ? this.#compressFrame(request) : this.#compressBlock(request);
    }
    if (request.context !== 0) return this.#step(request.context, request);
    return isFrame ? this.#decompressFrame(request) : this.#decompressBlock(request);
  }

  #compressBlock(request: EngineRequest): Outcome {
    const { source, sourceLength, destination, capacity, level } = request;
    // An empty block is read nowhere, but its address must not be null.
    const from = sourceLength === 0 ? destination : source;
    const written =
      level === 1
        ? this.#f.LZ4_compress_fast_extState(this.#fast.address, from, destination, sourceLength, capacity, 1)
        : this.#f.LZ4_compress_HC_extStateHC(
            this.#high.address,
            from,
            destination,
            sourceLength,
            capacity,
            Math.max(level, FIRST_HC_LEVEL),
          );
    request.consumed = sourceLength;
    if (written <= 0) return STATUS.noSpace;
    request.produced = written;
    return STATUS.ok;
  }

  #compressFrame(request: EngineRequest): Outcome {
    const { source, sourceLength, destination, capacity, level } = request;
    const { words, address } = this.#preferences;
    words[PREFERENCES.level] = level === 1 ? 0 : Math.max(level, FIRST_HC_LEVEL);
    words[PREFERENCES.contentSize] = sourceLength;
    const bound = this.#f.LZ4F_compressFrameBound(sourceLength, address);
    const fits = bound <= capacity;
    if (!fits) this.#frame ??= Mapping.anonymous(FRAME_BYTES);
    const out = fits ? destination : this.#frame!.address;
    const from = sourceLength === 0 ? destination : source;
    const written = this.#f.LZ4F_compressFrame(
      out,
      fits ? capacity : FRAME_BYTES,
      from,
      sourceLength,
      address,
    );
    request.consumed = sourceLength;
    if (written < 0) return written === -ALLOCATION_FAILED ? STATUS.noResources : STATUS.engineFailed;
    if (written > capacity) return STATUS.noSpace;
    if (!fits) copyMemory(destination, out, written);
    request.produced = written;
    return STATUS.ok;
  }

  #decompressBlock(request: EngineRequest): Outcome {
    const { source, sourceLength, destination, capacity } = request;
    request.consumed = sourceLength;
    if (sourceLength === 0) return STATUS.truncated;
    const written = this.#f.LZ4_decompress_safe(source, destination, sourceLength, capacity);
    if (written >= 0) {
      request.produced = written;
      request.streamEnd = true;
      return STATUS.ok;
    }
    // The library calls everything malformed, also what has too little room: walking through the block tells.
    const size = unpackBlock(new Uint8Array(viewMemory(source, sourceLength)), undefined, 0);
    if (typeof size !== 'number') return STATUS[size];
    return size > capacity ? STATUS.noSpace : STATUS.corrupt;
  }

  #decompressFrame(request: EngineRequest): Outcome {
    this.#f.LZ4F_resetDecompressionContext(this.#decompressor);
    const outcome = this.#step(this.#decompressor, request);
    if (outcome !== STATUS.ok || request.streamEnd) return outcome;
    return request.produced === request.capacity ? STATUS.noSpace : STATUS.truncated;
  }

  openContext(): number {
    const made = new BigUint64Array(1);
    const code = this.#f.LZ4F_createDecompressionContext(made, this.#f.LZ4F_getVersion());
    return code < 0 ? 0 : Number(made[0]);
  }

  closeContext(context: number): void {
    this.#f.LZ4F_freeDecompressionContext(context);
  }

  close(): void {
    this.#f.LZ4F_freeDecompressionContext(this.#decompressor);
    this.#fast.unmap();
    this.#high.unmap();
    this.#preferences.unmap();
    this.#frame?.unmap();
  }

  /** As much as source and destination allow, up to the end of a frame. */
  #step(context: number, request: EngineRequest): Outcome {
    const { source, sourceLength, destination, capacity } = request;
    for (;;) {
      this.#sizeWords[0] = capacity - request.produced;
      this.#sizeWords[2] = sourceLength - request.consumed;
      const code = this.#f.LZ4F_decompress(
        context,
        destination + request.produced,
        this.#written,
        source + request.consumed,
        this.#read,
        0,
      );
      if (code < 0) {
        this.#f.LZ4F_resetDecompressionContext(context);
        return code === -ALLOCATION_FAILED ? STATUS.noResources : STATUS.corrupt;
      }
      const written = this.#sizeWords[0]!;
      const read = this.#sizeWords[2]!;
      request.produced += written;
      request.consumed += read;
      if (code === 0) {
        request.streamEnd = true;
        return STATUS.ok;
      }
      // Data may lie decoded in the library for want of room, so a step without progress is what ends it.
      if (written === 0 && read === 0) return STATUS.ok;
    }
  }
}
