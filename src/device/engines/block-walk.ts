import { LIMITS, STATUS } from '../../abi/queue.js';
import { viewMemory } from '../../sys/libc.js';
import { Mapping } from '../../sys/memory.js';
import type { EngineRequest, Outcome } from './engine.js';
import { setPointer } from './native.js';
import { WINDOW_BITS, Z, Z_STREAM, type ZlibFunctions } from './zlib-binding.js';

/** Bits of z_stream.data_type after inflate(Z_BLOCK), as zlib.h describes them. */
const UNUSED_BITS = 7;
const IN_LAST_BLOCK = 64;
const AT_BLOCK_END = 128;

/** Bytes a sync marker may add to a piece. */
const MARKER_BYTES = 5;

/**
 * Makes a complete raw deflate stream into a piece of a longer one. Some libraries can only write whole streams: the
 * last block says that it is the last. Walking the blocks with inflate(Z_BLOCK) finds the bit that says so; it is
 * cleared, and an empty stored block (RFC 1951, 3.2.4) brings the end to a byte. The walk decompresses the piece on
 * the way, so a piece that does not come back whole is caught here.
 */
export class PieceMaker {
  readonly #zlib: ZlibFunctions;
  readonly #stream = Mapping.anonymous(4096);
  #scratch: Mapping | undefined;

  constructor(zlib: ZlibFunctions) {
    this.#zlib = zlib;
    zlib.inflateInit2_(this.#stream.address, WINDOW_BITS.raw, zlib.zlibVersion(), Z_STREAM.bytes);
  }

  close(): void {
    this.#zlib.inflateEnd(this.#stream.address);
    this.#stream.unmap();
    this.#scratch?.unmap();
  }

  /** Opens the end of the stream that `request` has just produced. */
  openEnd(request: EngineRequest): Outcome {
    if (request.capacity - request.produced < MARKER_BYTES) return STATUS.noSpace;
    const words = this.#stream.words;
    const stream = this.#stream.address;
    this.#scratch ??= Mapping.anonymous(LIMITS.maxTransfer);
    this.#zlib.inflateReset2(stream, WINDOW_BITS.raw);
    setPointer(words, Z_STREAM.nextIn >> 2, request.destination);
    words[Z_STREAM.availIn >> 2] = request.produced;
    setPointer(words, Z_STREAM.nextOut >> 2, this.#scratch.address);
    words[Z_STREAM.availOut >> 2] = this.#scratch.length;
    let blockStart = 0;
    let end = 0;
    for (;;) {
      const code = this.#zlib.inflate(stream, Z.block);
      const dataType = words[Z_STREAM.dataType >> 2]!;
      if (code !== Z.ok && code !== Z.streamEnd) return STATUS.engineFailed;
      if ((dataType & AT_BLOCK_END) !== 0) {
        const bits = (request.produced - words[Z_STREAM.availIn >> 2]!) * 8 - (dataType & UNUSED_BITS);
        if ((dataType & IN_LAST_BLOCK) !== 0) {
          end = bits;
          break;
        }
        blockStart = bits;
      }
      if (code === Z.streamEnd) return STATUS.engineFailed;
    }
    if (words[Z_STREAM.totalOut >> 2] !== request.sourceLength) return STATUS.engineFailed;
    const out = new Uint8Array(viewMemory(request.destination, request.capacity));
    out[blockStart >> 3]! &= ~(1 << (blockStart & 7));
    // Three zero bits head the empty stored block; where the last byte has no room for them, one more byte does.
    let at = (end + 3 + 7) >> 3;
    if (at > request.produced) out[at - 1] = 0;
    out[at++] = 0;
    out[at++] = 0;
    out[at++] = 0xff;
    out[at++] = 0xff;
    request.produced = at;
    return STATUS.ok;
  }
}
