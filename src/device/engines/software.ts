import { ALGORITHM } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import { viewMemory } from '../../sys/libc.js';
import { runChecksum32, runChecksumPair } from './checksum-request.js';
import { type Capability, type Engine, type EngineRequest, NO_SESSIONS, type Outcome } from './engine.js';
import { checkMemoryRequest, memoryCapabilities } from './memory.js';
import {
  type Halves,
  softwareAdler32,
  softwareCrc32,
  softwareCrc32c,
  softwareCrc64,
} from './software-checksum.js';
import { lz4Table, packBlock, packFrame, unpackBlock, unpackFrame } from './software-lz4.js';

/* What can be done without any library, in plain TypeScript: the last resort. */

const NOTHING = new Uint8Array(0);
const CHECKSUM_PAIR = { crc32: softwareCrc32, adler32: softwareAdler32 };

/** It needs no library and never fails to load. */
export function loadSoftware(): Engine {
  return new SoftwareEngine();
}

const LZ4 = { algorithms: ['lz4', 'lz4-block'], rank: 90, fixedNs: 10_000, rereads: true } as const;

class SoftwareEngine implements Engine {
  readonly name = 'software';
  readonly library = 'TypeScript';
  readonly version = process.version;
  readonly capabilities: readonly Capability[] = [
    { ...LZ4, operations: ['compress'], levels: { min: 1, max: 1 }, nsPerByte: 12 },
    { ...LZ4, operations: ['decompress'], nsPerByte: 5 },
    {
      operations: ['checksum'],
      algorithms: ['crc32', 'crc32c', 'crc64-ecma', 'adler32'],
      rank: 90,
      nsPerByte: 1.5,
      fixedNs: 2000,
    },
    ...memoryCapabilities(90, 3),
  ];
  readonly openContext = NO_SESSIONS.openContext;
  readonly closeContext = NO_SESSIONS.closeContext;
  readonly #table = lz4Table();
  readonly #crc64: Halves = { low: 0, high: 0 };

  run(request: EngineRequest): Outcome {
    switch (request.operation) {
      case OPCODE.compress:
        return this.#compress(request);
      case OPCODE.decompress:
        return request.algorithm === ALGORITHM.lz4 ? decompressFrame(request) : decompressBlock(request);
      case OPCODE.checksum:
        return this.#checksum(request);
      default:
        return runMemory(request);
    }
  }

  close(): void {}

  #compress(request: EngineRequest): Outcome {
    const pack = request.algorithm === ALGORITHM.lz4 ? packFrame : packBlock;
    request.consumed = request.sourceLength;
    request.produced = pack(sourceOf(request), destinationOf(request), this.#table);
    return request.produced === 0 ? STATUS.noSpace : STATUS.ok;
  }

  #checksum(request: EngineRequest): Outcome {
    if (request.algorithm === ALGORITHM.crc32c) return runChecksum32(request, softwareCrc32c, 0);
    if (request.algorithm !== ALGORITHM['crc64-ecma']) return runChecksumPair(request, CHECKSUM_PAIR);
    this.#crc64.low = request.param0;
    this.#crc64.high = request.param1;
    softwareCrc64(this.#crc64, request.source, request.sourceLength);
    request.consumed = request.sourceLength;
    request.result = this.#crc64.low;
    request.resultHigh = this.#crc64.high;
    return STATUS.ok;
  }
}

function view(address: number, length: number): Uint8Array {
  return length === 0 ? NOTHING : new Uint8Array(viewMemory(address, length));
}

const sourceOf = (request: EngineRequest): Uint8Array => view(request.source, request.sourceLength);
const destinationOf = (request: EngineRequest): Uint8Array => view(request.destination, request.capacity);

function decompressFrame(request: EngineRequest): Outcome {
  const { consumed, produced, fault } = unpackFrame(sourceOf(request), destinationOf(request));
  request.consumed = consumed;
  if (fault) return STATUS[fault];
  request.produced = produced;
  request.streamEnd = true;
  return STATUS.ok;
}

function decompressBlock(request: EngineRequest): Outcome {
  request.consumed = request.sourceLength;
  const made = unpackBlock(sourceOf(request), destinationOf(request), 0);
  if (typeof made !== 'number') return STATUS[made];
  request.produced = made;
  request.streamEnd = true;
  return STATUS.ok;
}

function runMemory(request: EngineRequest): Outcome {
  const fit = checkMemoryRequest(request);
  if (fit !== STATUS.ok) return fit;
  const { operation, sourceLength, aux, auxLength, param0, param1 } = request;
  if (operation === OPCODE.fill) {
    const out = destinationOf(request);
    const pattern = Buffer.alloc(8);
    pattern.writeInt32LE(param0, 0);
    pattern.writeInt32LE(param1, 4);
    out.fill(0);
    for (let at = 0; at < out.length; at += 8) out.set(pattern.subarray(0, out.length - at), at);
    request.produced = out.length;
    return STATUS.ok;
  }
  const source = sourceOf(request);
  request.consumed = sourceLength;
  if (operation === OPCODE.compare) return compare(request, source, view(aux, auxLength));
  // `set` takes ranges that overlap in one buffer for what they are; these are two buffers, so it goes by way of a copy.
  if (sourceLength > 0) {
    destinationOf(request).set(Buffer.from(source));
    if (operation === OPCODE.dualCopy) view(aux, auxLength).set(Buffer.from(source));
  }
  request.produced = sourceLength;
  return STATUS.ok;
}

function compare(request: EngineRequest, source: Uint8Array, other: Uint8Array): Outcome {
  for (let at = 0; at < source.length; at++) {
    if (source[at] === other[at]) continue;
    request.result = 1;
    request.consumed = at;
    break;
  }
  return STATUS.ok;
}
