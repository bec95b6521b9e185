import { ALGORITHM, DEFLATE_ALGORITHMS } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import { viewMemory } from '../../sys/libc.js';
import { allocateState, freeState, Mapping } from '../../sys/memory.js';
import { type ChecksumPair, runChecksumPair } from './checksum-request.js';
import type { Capability, Engine, EngineRequest, Outcome } from './engine.js';
import { setPointer } from './native.js';
import { bindZlib, bindZlibChecksums, WINDOW_BITS, Z, Z_STREAM, type ZlibFunctions } from './zlib-binding.js';

/* Node's own zlib, called without Node: no thread pool, no context made per request. */

const STREAM_BYTES = 4096;

const BITS: number[] = [];
BITS[ALGORITHM['deflate-raw']] = WINDOW_BITS.raw;
BITS[ALGORITHM.deflate] = WINDOW_BITS.zlib;
BITS[ALGORITHM.gzip] = WINDOW_BITS.gzip;

/** Finds Node's zlib, or undefined. */
export function loadZlib(): Engine | undefined {
  const functions = bindZlib();
  return functions && new ZlibEngine(functions);
}

const DECOMPRESS = { operations: ['decompress'], algorithms: DEFLATE_ALGORITHMS, nsPerByte: 5 } as const;

const CHECKSUM = {
  operations: ['checksum'],
  algorithms: ['crc32', 'adler32'],
  rank: 20,
  nsPerByte: 0.2,
  fixedNs: 200,
} as const;

class ZlibEngine implements Engine {
  readonly name = 'zlib';
  readonly library = "node's own";
  readonly version: string;
  readonly #checksums: ChecksumPair | undefined = bindZlibChecksums();
  readonly capabilities: readonly Capability[] = [
    {
      operations: ['compress'],
      algorithms: DEFLATE_ALGORITHMS,
      rank: 30,
      levels: { min: 0, max: 9 },
      nsPerByte: [0.5, 13, 13, 15, 17, 22, 27, 30, 45, 50],
      pieces: true,
    },
    { ...DECOMPRESS, rank: 30 },
    { ...DECOMPRESS, rank: 30, session: 'exclusive' },
    ...(this.#checksums ? [CHECKSUM] : []),
  ];
  readonly #f: ZlibFunctions;
  /** One deflate context for each algorithm and level that was asked for, kept between requests. */
  readonly #deflate = new Map<number, Mapping>();
  readonly #inflate: Mapping;

  constructor(functions: ZlibFunctions) {
    this.#f = functions;
    this.version = functions.zlibVersion();
    this.#inflate = Mapping.anonymous(STREAM_BYTES);
    functions.inflateInit2_(this.#inflate.address, WINDOW_BITS.raw, this.version, Z_STREAM.bytes);
  }

  run(request: EngineRequest): Outcome {
    if (request.operation === OPCODE.compress) return this.#compress(request);
    if (request.operation === OPCODE.checksum) return runChecksumPair(request, this.#checksums!);
    return request.context === 0
      ? this.#decompress(request)
      : this.#decompressStream(request.context, request);
  }

  #compress(request: EngineRequest): Outcome {
    const stream = this.#deflateContext(request.algorithm, request.level);
    if (!stream) return STATUS.noResources;
    const words = stream.words;
    setBuffers(words, request);
    const code = this.#f.deflate(stream.address, request.piece ? Z.syncFlush : Z.finish);
    measure(words, request);
    if (request.piece) {
      if (code !== Z.ok) return code === Z.bufferError ? STATUS.noSpace : STATUS.engineFailed;
      return words[Z_STREAM.availOut >> 2] === 0 ? STATUS.noSpace : STATUS.ok;
    }
    if (code === Z.streamEnd) return STATUS.ok;
    return code === Z.ok || code === Z.bufferError ? STATUS.noSpace : STATUS.engineFailed;
  }

  #deflateContext(algorithm: number, level: number): Mapping | undefined {
    const key = algorithm * 16 + level;
    const known = this.#deflate.get(key);
    if (known) {
      this.#f.deflateReset(known.address);
      return known;
    }
    const made = Mapping.anonymous(STREAM_BYTES);
    const bits = BITS[algorithm]!;
    const code = this.#f.deflateInit2_(
      made.address,
      level,
      Z.deflated,
      bits,
      Z.memLevel,
      0,
      this.version,
      Z_STREAM.bytes,
    );
    if (code !== Z.ok) {
      made.unmap();
      return undefined;
    }
    this.#deflate.set(key, made);
    return made;
  }

  #decompress(request: EngineRequest): Outcome {
    this.#f.inflateReset2(this.#inflate.address, BITS[request.algorithm]!);
    const outcome = this.#step(this.#inflate.address, this.#inflate.words, request);
    if (outcome !== STATUS.ok || request.streamEnd) return outcome;
    return request.produced === request.capacity ? STATUS.noSpace : STATUS.truncated;
  }

  openContext({ algorithm }: EngineRequest): number {
    const state = allocateState(STREAM_BYTES);
    const code = this.#f.inflateInit2_(state, BITS[algorithm]!, this.version, Z_STREAM.bytes);
    if (code === Z.ok) return state;
    freeState(state, STREAM_BYTES);
    return 0;
  }

  #decompressStream(state: number, request: EngineRequest): Outcome {
    const words = new Int32Array(viewMemory(state, STREAM_BYTES));
    const outcome = this.#step(state, words, request);
    if (request.streamEnd) this.#f.inflateReset2(state, BITS[request.algorithm]!);
    return outcome;
  }

  closeContext(state: number): void {
    this.#f.inflateEnd(state);
    freeState(state, STREAM_BYTES);
  }

  close(): void {
    for (const stream of this.#deflate.values()) {
      this.#f.deflateEnd(stream.address);
      stream.unmap();
    }
    this.#f.inflateEnd(this.#inflate.address);
    this.#inflate.unmap();
  }

  #step(stream: number, words: Int32Array, request: EngineRequest): Outcome {
    setBuffers(words, request);
    const code = this.#f.inflate(stream, Z.noFlush);
    measure(words, request);
    request.streamEnd = code === Z.streamEnd;
    if (code === Z.memoryError) return STATUS.noResources;
    return code === Z.dataError || code === Z.needDictionary ? STATUS.corrupt : STATUS.ok;
  }
}

function setBuffers(words: Int32Array, request: EngineRequest): void {
  setPointer(words, Z_STREAM.nextIn >> 2, request.source);
  words[Z_STREAM.availIn >> 2] = request.sourceLength;
  setPointer(words, Z_STREAM.nextOut >> 2, request.destination);
  words[Z_STREAM.availOut >> 2] = request.capacity;
}

function measure(words: Int32Array, request: EngineRequest): void {
  request.consumed = request.sourceLength - words[Z_STREAM.availIn >> 2]!;
  request.produced = request.capacity - words[Z_STREAM.availOut >> 2]!;
}
