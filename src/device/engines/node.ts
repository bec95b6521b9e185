import zlib from 'node:zlib';
import { ALGORITHM } from '../../abi/algorithms.js';
import { STATUS } from '../../abi/queue.js';
import { viewMemory } from '../../sys/libc.js';
import { type Engine, type EngineRequest, NO_STREAMS, type Outcome } from './engine.js';

/* node:zlib itself: always there, and the last resort. */

type Run = (source: Uint8Array, options: zlib.ZlibOptions) => Buffer;

const COMPRESS: Run[] = [];
COMPRESS[ALGORITHM['deflate-raw']] = zlib.deflateRawSync;
COMPRESS[ALGORITHM.deflate] = zlib.deflateSync;
COMPRESS[ALGORITHM.gzip] = zlib.gzipSync;
const DECOMPRESS: Run[] = [];
DECOMPRESS[ALGORITHM['deflate-raw']] = zlib.inflateRawSync;
DECOMPRESS[ALGORITHM.deflate] = zlib.inflateSync;
DECOMPRESS[ALGORITHM.gzip] = zlib.gunzipSync;

/** node:zlib needs no library and never fails to load. */
export function loadNode(): Engine {
  return new NodeEngine();
}

class NodeEngine implements Engine {
  readonly name = 'node';
  readonly library = 'node:zlib';
  readonly version = process.versions.zlib ?? '';
  readonly capabilities = {
    levels: { min: 0, max: 9 },
    nsPerByte: [0.5, 13, 13, 15, 17, 22, 27, 30, 45, 50],
    pieces: true,
    decompress: true,
    streams: false,
  };
  readonly openStream = NO_STREAMS.openStream;
  readonly decompressStream = NO_STREAMS.decompressStream;
  readonly closeStream = NO_STREAMS.closeStream;

  compress(request: EngineRequest): Outcome {
    const finishFlush = request.piece ? zlib.constants.Z_SYNC_FLUSH : zlib.constants.Z_FINISH;
    const result = COMPRESS[request.algorithm]!(source(request), { level: request.level, finishFlush });
    request.consumed = request.sourceLength;
    if (result.length > request.capacity) return STATUS.noSpace;
    return deliver(request, result);
  }

  decompress(request: EngineRequest): Outcome {
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
