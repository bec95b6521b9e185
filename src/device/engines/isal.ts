import { ALGORITHM, DEFLATE_ALGORITHMS } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import { viewMemory } from '../../sys/libc.js';
import { allocateState, freeState, Mapping } from '../../sys/memory.js';
import type { Capability, Engine, EngineRequest, Outcome } from './engine.js';
import { ISAL_CHECKSUMS, IsalChecksums } from './isal-checksum.js';
import { bindAll, loadedPath, setPointer } from './native.js';

/*
 * ISA-L's igzip (libisal.so.2). The structures below are those of igzip_lib.h 2.30 on LP64; other versions are
 * refused, and test/abi/headers.test.ts holds the offsets against the header.
 */

const SONAME = 'libisal.so.2';
const KNOWN_VERSION = /^2\.0\.(30|31)$/;

/** Byte offsets in struct isal_zstream. */
export const ISAL_ZSTREAM = {
  bytes: 82384,
  nextIn: 0,
  availIn: 8,
  nextOut: 16,
  availOut: 24,
  totalOut: 28,
  level: 40,
  levelBufSize: 44,
  levelBuf: 48,
  endOfStream: 56,
  flush: 58,
  gzipFlag: 60,
} as const;

/** Byte offsets in struct inflate_state. */
export const ISAL_INFLATE = {
  bytes: 87368,
  nextOut: 0,
  availOut: 8,
  nextIn: 16,
  readIn: 24,
  availIn: 32,
  readInLength: 36,
  blockState: 21160,
  crcFlag: 21172,
} as const;

/** ISAL_DEF_LVL3_DEFAULT, the largest working buffer of any level. */
const LEVEL_BUFFER_BYTES = 348160;
const SYNC_FLUSH = 1;
const BLOCK_FINISH = 5;
/** ISAL_NEED_DICT: a preset dictionary, which nobody here has. */
const NEED_DICTIONARY = 6;
/** IGZIP_DEFLATE, IGZIP_ZLIB and IGZIP_GZIP; ISAL_DEFLATE, ISAL_ZLIB and ISAL_GZIP have the same numbers. */
const FORMAT = new Uint8Array(4);
FORMAT[ALGORITHM['deflate-raw']] = 0;
FORMAT[ALGORITHM.deflate] = 3;
FORMAT[ALGORITHM.gzip] = 1;

/** Room for one structure and, behind it, a level's working buffer. */
const STATE_BYTES = 96 * 1024;

interface Functions {
  isal_deflate_init(stream: number): void;
  isal_deflate(stream: number): number;
  isal_inflate_init(state: number): void;
  isal_inflate(state: number): number;
}

/** Finds ISA-L on this machine, or undefined. */
export function loadIsal(): Engine | undefined {
  const functions = bindAll<Functions>(SONAME, {
    isal_deflate_init: 'void isal_deflate_init(uint64_t stream)',
    isal_deflate: 'int isal_deflate(uint64_t stream)',
    isal_inflate_init: 'void isal_inflate_init(uint64_t state)',
    isal_inflate: 'int isal_inflate(uint64_t state)',
  });
  const path = functions && loadedPath(SONAME);
  const version = path?.match(/\.so\.(\d+\.\d+\.\d+)$/)?.[1];
  if (!functions || !path || !version || !KNOWN_VERSION.test(version)) return undefined;
  return new IsalEngine(functions, path, `2.${version.split('.')[2]}`);
}

/** A stream's state was perhaps made by another thread, which is why it is viewed anew for each request. */
function viewState(state: number): Int32Array {
  return new Int32Array(viewMemory(state, STATE_BYTES));
}

/** Takes whole bytes back out of the bit buffer; returns how many. */
function unread(words: Int32Array): number {
  const bits = words[ISAL_INFLATE.readInLength >> 2]!;
  const rest = bits & 7;
  words[ISAL_INFLATE.readInLength >> 2] = rest;
  words[ISAL_INFLATE.readIn >> 2]! &= (1 << rest) - 1;
  words[(ISAL_INFLATE.readIn >> 2) + 1] = 0;
  return bits >> 3;
}

/** Levels 1 to 3: beyond them it has no ratio to offer (docs/benchmarks.md, "Levels"). */
const COMPRESS = {
  operations: ['compress'],
  algorithms: DEFLATE_ALGORITHMS,
  levels: { min: 1, max: 3 },
  nsPerByte: [0, 4, 5, 5],
  pieces: true,
} as const;
const DECOMPRESS = { operations: ['decompress'], algorithms: DEFLATE_ALGORITHMS, nsPerByte: 5 } as const;

class IsalEngine implements Engine {
  readonly name = 'isa-l';
  readonly library: string;
  readonly version: string;
  readonly #checksums = IsalChecksums.bind();
  readonly capabilities: readonly Capability[] = [
    // Below this size its block headers cost more bytes than its speed is worth.
    { ...COMPRESS, rank: 10, minBytes: 512 },
    { ...COMPRESS, rank: 90 },
    { ...DECOMPRESS, rank: 20 },
    { ...DECOMPRESS, rank: 10, session: 'exclusive' },
    ...(this.#checksums ? [ISAL_CHECKSUMS] : []),
  ];
  readonly #f: Functions;
  readonly #deflate: Mapping;
  readonly #inflate: Mapping;

  constructor(functions: Functions, library: string, version: string) {
    this.#f = functions;
    this.library = library;
    this.version = version;
    this.#deflate = Mapping.anonymous(STATE_BYTES + LEVEL_BUFFER_BYTES);
    this.#inflate = Mapping.anonymous(STATE_BYTES);
  }

  run(request: EngineRequest): Outcome {
    if (request.operation === OPCODE.compress) return this.#compress(request);
    if (request.operation === OPCODE.checksum) return this.#checksums!.run(request);
    return request.context === 0
      ? this.#decompress(request)
      : this.#decompressStream(request.context, request);
  }

  #compress(request: EngineRequest): Outcome {
    const stream = this.#deflate.address;
    const words = this.#deflate.words;
    this.#f.isal_deflate_init(stream);
    setPointer(words, ISAL_ZSTREAM.nextIn >> 2, request.source);
    words[ISAL_ZSTREAM.availIn >> 2] = request.sourceLength;
    setPointer(words, ISAL_ZSTREAM.nextOut >> 2, request.destination);
    words[ISAL_ZSTREAM.availOut >> 2] = request.capacity;
    // Level 1 keeps zlib's ratio at level 1; levels 2 and 3 need ISA-L's best (docs/benchmarks.md, "Levels").
    words[ISAL_ZSTREAM.level >> 2] = request.level === 1 ? 1 : 3;
    words[ISAL_ZSTREAM.levelBufSize >> 2] = LEVEL_BUFFER_BYTES;
    setPointer(words, ISAL_ZSTREAM.levelBuf >> 2, stream + STATE_BYTES);
    // Two 16-bit fields a word: end_of_stream with flush, gzip_flag with hist_bits.
    words[ISAL_ZSTREAM.endOfStream >> 2] = request.piece ? SYNC_FLUSH << 16 : 1;
    words[ISAL_ZSTREAM.gzipFlag >> 2] = FORMAT[request.algorithm]!;
    const code = this.#f.isal_deflate(stream);
    const availOut = words[ISAL_ZSTREAM.availOut >> 2]!;
    request.consumed = request.sourceLength - words[ISAL_ZSTREAM.availIn >> 2]!;
    request.produced = request.capacity - availOut;
    if (code !== 0) return STATUS.engineFailed;
    // With room left the stream is complete; without, there is no telling.
    return availOut === 0 ? STATUS.noSpace : STATUS.ok;
  }

  #decompress(request: EngineRequest): Outcome {
    this.#start(this.#inflate.address, this.#inflate.words, request.algorithm);
    const outcome = this.#step(this.#inflate.address, this.#inflate.words, request);
    if (outcome !== STATUS.ok || request.streamEnd) return outcome;
    return request.produced === request.capacity ? STATUS.noSpace : STATUS.truncated;
  }

  openContext({ algorithm }: EngineRequest): number {
    const state = allocateState(STATE_BYTES);
    this.#start(state, viewState(state), algorithm);
    return state;
  }

  #decompressStream(state: number, request: EngineRequest): Outcome {
    const words = viewState(state);
    const outcome = this.#step(state, words, request);
    if (request.streamEnd) this.#start(state, words, request.algorithm);
    return outcome;
  }

  closeContext(state: number): void {
    freeState(state, STATE_BYTES);
  }

  close(): void {
    this.#deflate.unmap();
    this.#inflate.unmap();
  }

  #start(address: number, words: Int32Array, algorithm: number): void {
    this.#f.isal_inflate_init(address);
    words[ISAL_INFLATE.crcFlag >> 2] = FORMAT[algorithm]!;
  }

  #step(address: number, words: Int32Array, request: EngineRequest): Outcome {
    setPointer(words, ISAL_INFLATE.nextIn >> 2, request.source);
    words[ISAL_INFLATE.availIn >> 2] = request.sourceLength;
    setPointer(words, ISAL_INFLATE.nextOut >> 2, request.destination);
    words[ISAL_INFLATE.availOut >> 2] = request.capacity;
    const code = this.#f.isal_inflate(address);
    request.produced = request.capacity - words[ISAL_INFLATE.availOut >> 2]!;
    request.consumed = request.sourceLength - words[ISAL_INFLATE.availIn >> 2]!;
    request.streamEnd = words[ISAL_INFLATE.blockState >> 2] === BLOCK_FINISH;
    // Whole bytes in the bit buffer were read ahead. They belong to whatever follows: the stream's end may come in a later
    // request, which could not give back what it was not given.
    if (request.streamEnd || request.produced === request.capacity) request.consumed -= unread(words);
    return code < 0 || code === NEED_DICTIONARY ? STATUS.corrupt : STATUS.ok;
  }
}
