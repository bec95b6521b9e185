import type { ZlibOptions } from 'node:zlib';
import { ALGORITHM, DEFLATE_ALGORITHMS } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import { viewMemory } from '../../sys/libc.js';
import { nodeZlib as zlib } from '../../sys/node-zlib.js';
import { loadChecksums } from './checksum.js';
import { type Capability, type Engine, EngineRequest, NO_SESSIONS, type Outcome } from './engine.js';
import { zstdFrameLength } from './zstd-frame.js';

/* node:zlib itself: always there, and the last resort. */

type Run = (source: Uint8Array, options: ZlibOptions) => Buffer;

const { constants } = zlib;
/** Zstandard is in newer versions of Node alone; the published types of the oldest leave it out. */
const { zstdCompressSync, zstdDecompressSync } = zlib as { zstdCompressSync?: Run; zstdDecompressSync?: Run };
const zstdConstants = constants as { ZSTD_c_compressionLevel?: number; ZSTD_c_checksumFlag?: number };

const COMPRESS: Run[] = [];
COMPRESS[ALGORITHM['deflate-raw']] = zlib.deflateRawSync;
COMPRESS[ALGORITHM.deflate] = zlib.deflateSync;
COMPRESS[ALGORITHM.gzip] = zlib.gzipSync;
COMPRESS[ALGORITHM.br] = (source, { level }) =>
  zlib.brotliCompressSync(source, { params: { [constants.BROTLI_PARAM_QUALITY]: level! } });
if (zstdCompressSync) {
  COMPRESS[ALGORITHM.zstd] = (source, { level }) => {
    const { ZSTD_c_compressionLevel, ZSTD_c_checksumFlag } = zstdConstants;
    const params = { [ZSTD_c_compressionLevel!]: level!, [ZSTD_c_checksumFlag!]: 1 };
    return zstdCompressSync(source, { params } as ZlibOptions);
  };
}
/** Header flags of RFC 1952, 2.3.1. */
const FHCRC = 2;
const FEXTRA = 4;
const FNAME = 8;
const FCOMMENT = 16;
const GZIP_TRAILER_BYTES = 8;

const DECOMPRESS: Run[] = [];
DECOMPRESS[ALGORITHM['deflate-raw']] = zlib.inflateRawSync;
DECOMPRESS[ALGORITHM.deflate] = zlib.inflateSync;
DECOMPRESS[ALGORITHM.br] = zlib.brotliDecompressSync;
if (zstdDecompressSync) {
  // Some versions of Node read on into the frame that follows.
  DECOMPRESS[ALGORITHM.zstd] = (source, options) =>
    zstdDecompressSync(source.subarray(0, zstdFrameLength(source)), options);
}

const BROTLI: readonly Capability[] = [
  {
    operations: ['compress'],
    algorithms: ['br'],
    rank: 80,
    levels: { min: 0, max: 11 },
    nsPerByte: [3, 5, 10, 13, 18, 30, 40, 60, 80, 120, 500, 1500],
    fixedNs: 50_000,
    rereads: true,
  },
  {
    operations: ['decompress'],
    algorithms: ['br'],
    rank: 80,
    nsPerByte: 5,
    fixedNs: 50_000,
    rereads: true,
  },
];
const ZSTD: readonly Capability[] = [
  {
    operations: ['compress'],
    algorithms: ['zstd'],
    rank: 80,
    levels: { min: 1, max: 19 },
    nsPerByte: [0, 3, 4, 6, 8, 12, 15, 18, 22, 28, 35, 45, 60, 90, 110, 140, 200, 250, 330, 400],
    fixedNs: 50_000,
    rereads: true,
  },
  {
    operations: ['decompress'],
    algorithms: ['zstd'],
    rank: 80,
    nsPerByte: 2,
    fixedNs: 50_000,
    rereads: true,
  },
];

/** node:zlib needs no library and never fails to load. */
export function loadNode(): Engine {
  return new NodeEngine();
}

class NodeEngine implements Engine {
  readonly name = 'node';
  readonly library = 'node:zlib';
  readonly version = process.versions.zlib ?? '';
  readonly capabilities: readonly Capability[] = [
    {
      operations: ['compress'],
      algorithms: DEFLATE_ALGORITHMS,
      rank: 80,
      levels: { min: 0, max: 9 },
      nsPerByte: [0.5, 13, 13, 15, 17, 22, 27, 30, 45, 50],
      pieces: true,
    },
    { operations: ['decompress'], algorithms: DEFLATE_ALGORITHMS, rank: 80, nsPerByte: 5 },
    ...BROTLI,
    ...(zstdCompressSync && zstdDecompressSync ? ZSTD : []),
  ];
  readonly #checksums = loadChecksums(new Set());
  readonly openContext = NO_SESSIONS.openContext;
  readonly closeContext = NO_SESSIONS.closeContext;

  run(request: EngineRequest): Outcome {
    return request.operation === OPCODE.compress ? this.#compress(request) : this.#decompress(request);
  }

  #compress(request: EngineRequest): Outcome {
    const finishFlush = request.piece ? zlib.constants.Z_SYNC_FLUSH : zlib.constants.Z_FINISH;
    const result = COMPRESS[request.algorithm]!(source(request), { level: request.level, finishFlush });
    request.consumed = request.sourceLength;
    if (result.length > request.capacity) return STATUS.noSpace;
    return deliver(request, result);
  }

  close(): void {}

  #decompress(request: EngineRequest): Outcome {
    return request.algorithm === ALGORITHM.gzip ? this.#gunzip(request) : this.#inflate(request);
  }

  /**
   * One gzip member (RFC 1952). gunzipSync would read on into whatever follows, so only the deflate stream within is
   * left to node:zlib.
   */
  #gunzip(request: EngineRequest): Outcome {
    const bytes = source(request);
    const header = gzipHeaderLength(bytes);
    if (header <= 0) return header === 0 ? STATUS.truncated : STATUS.corrupt;
    const inner = new EngineRequest();
    inner.algorithm = ALGORITHM['deflate-raw'];
    inner.source = request.source + header;
    inner.sourceLength = request.sourceLength - header;
    inner.destination = request.destination;
    inner.capacity = request.capacity;
    const status = this.#inflate(inner);
    if (status !== STATUS.ok) return status;
    const at = header + inner.consumed;
    if (at + GZIP_TRAILER_BYTES > bytes.length) return STATUS.truncated;
    const trailer = Buffer.from(bytes.buffer, bytes.byteOffset + at, GZIP_TRAILER_BYTES);
    const crc = this.#checksums.crc32(request.destination, inner.produced);
    if (trailer.readUInt32LE(0) !== crc || trailer.readUInt32LE(4) !== inner.produced) return STATUS.corrupt;
    request.consumed = at + GZIP_TRAILER_BYTES;
    request.produced = inner.produced;
    request.streamEnd = true;
    return STATUS.ok;
  }

  #inflate(request: EngineRequest): Outcome {
    try {
      // `info` makes the synchronous functions say how much they read; the published types leave that out.
      const options = { info: true, maxOutputLength: Math.max(1, request.capacity) };
      const run = DECOMPRESS[request.algorithm]! as unknown as (
        source: Uint8Array,
        options: object,
      ) => { buffer: Buffer; engine: { bytesWritten: number } };
      const { buffer, engine } = run(source(request), options);
      request.consumed = engine.bytesWritten;
      request.streamEnd = true;
      if (buffer.length > request.capacity) return STATUS.noSpace;
      return deliver(request, buffer);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ERR_BUFFER_TOO_LARGE') return STATUS.noSpace;
      return code === 'Z_BUF_ERROR' ? STATUS.truncated : STATUS.corrupt;
    }
  }
}

/** Bytes of a member's header (RFC 1952, 2.3); 0 if it is cut short, -1 if it is none. */
function gzipHeaderLength(bytes: Uint8Array): number {
  const magic = [0x1f, 0x8b, 8];
  for (let i = 0; i < Math.min(magic.length, bytes.length); i++) {
    if (bytes[i] !== magic[i]) return -1;
  }
  if (bytes.length < 10) return 0;
  const flags = bytes[3]!;
  if ((flags & 0xe0) !== 0) return -1;
  let at = 10;
  if ((flags & FEXTRA) !== 0) at += 2 + (bytes[at] ?? 0) + (bytes[at + 1] ?? 0) * 256;
  for (const text of [FNAME, FCOMMENT]) {
    if ((flags & text) === 0) continue;
    const end = bytes.indexOf(0, at);
    if (end < 0) return 0;
    at = end + 1;
  }
  if ((flags & FHCRC) !== 0) at += 2;
  return at < bytes.length ? at : 0;
}

function source(request: EngineRequest): Uint8Array {
  return request.sourceLength === 0
    ? new Uint8Array(0)
    : new Uint8Array(viewMemory(request.source, request.sourceLength));
}

function deliver(request: EngineRequest, result: Buffer): Outcome {
  if (result.length > 0) new Uint8Array(viewMemory(request.destination, result.length)).set(result);
  request.produced = result.length;
  return STATUS.ok;
}
