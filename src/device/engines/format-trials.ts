import { ALGORITHM, type AlgorithmName } from '../../abi/algorithms.js';
import { OPCODE, type OperationName, STATUS } from '../../abi/queue.js';
import type { Mapping } from '../../sys/memory.js';
import { nodeZlib } from '../../sys/node-zlib.js';
import { type Engine, EngineRequest } from './engine.js';
import { lz4BlockBound, lz4Table, packBlock, unpackBlock, unpackFrame } from './software-lz4.js';

/*
 * Trials of compression formats, checksums and memory, for self-test.ts. Opinions from elsewhere: node:zlib for Brotli,
 * our own TypeScript for LZ4, streams that the programs zstd and lz4 wrote, and published checksums.
 */

const SAMPLE = Buffer.from('the quick brown fox jumps over the lazy dog; '.repeat(16));
/** What `zstd -19` and `lz4 -9` make of the sample. */
const ZSTD_SAMPLE =
  'KLUv/QRotQEA1AJ0aGUgcXVpY2sgYnJvd24gZm94IGp1bXBzIG92ZXIgdGhlIGxhenkgZG9nOyABAAUFK1UG1HxSUw==';
const LZ4_SAMPLE =
  'BCJNGGRApzkAAADwEHRoZSBxdWljayBicm93biBmb3gganVtcHMgb3ZlciAfAK9sYXp5IGRvZzsgLQD//41QZG9nOyAAAAAAMmaIqg==';

/** Where a trial's destination and its third range lie in its memory. */
const DESTINATION = 4096;
const ROOM = 2048;
const AUX = DESTINATION + ROOM;

function offers(engine: Engine, operation: OperationName, algorithm?: AlgorithmName): boolean {
  return engine.capabilities.some(
    ({ operations, algorithms, session }) =>
      session !== 'exclusive' &&
      operations.includes(operation) &&
      (algorithm === undefined || algorithms.includes(algorithm)),
  );
}

/** Runs a request on some bytes; what it wrote, or undefined where it failed. */
function run(
  engine: Engine,
  memory: Mapping,
  input: Uint8Array,
  fields: Partial<EngineRequest>,
): { request: EngineRequest; output: Uint8Array } | undefined {
  const request = new EngineRequest();
  memory.bytes.set(input);
  Object.assign(request, {
    source: memory.address,
    sourceLength: input.length,
    destination: memory.address + DESTINATION,
    capacity: ROOM,
    ...fields,
  });
  if (engine.run(request) !== STATUS.ok) return undefined;
  return { request, output: memory.bytes.slice(DESTINATION, DESTINATION + request.produced) };
}

function lz4By(pack: typeof packBlock): Uint8Array {
  const out = new Uint8Array(lz4BlockBound(SAMPLE.length) + 64);
  return out.subarray(0, pack(SAMPLE, out, lz4Table()));
}

type Codec = (bytes: Uint8Array) => Uint8Array;

/** By format: somebody else's stream of the sample, and somebody else's way back (where there is one). */
const FORMATS: Partial<Record<AlgorithmName, { packed: () => Uint8Array; unpack: Codec | undefined }>> = {
  zstd: { packed: () => Buffer.from(ZSTD_SAMPLE, 'base64'), unpack: undefined },
  br: { packed: () => nodeZlib.brotliCompressSync(SAMPLE), unpack: nodeZlib.brotliDecompressSync },
  lz4: {
    packed: () => Buffer.from(LZ4_SAMPLE, 'base64'),
    unpack: (bytes) => {
      const out = new Uint8Array(SAMPLE.length);
      return unpackFrame(bytes, out).fault ? new Uint8Array(0) : out;
    },
  },
  'lz4-block': {
    packed: () => lz4By(packBlock),
    unpack: (bytes) => {
      const out = new Uint8Array(SAMPLE.length);
      return typeof unpackBlock(bytes, out, 0) === 'number' ? out : new Uint8Array(0);
    },
  },
};

/** Formats that an engine has: it reads what others wrote, and others read what it writes. */
export function packs(engine: Engine, memory: Mapping): boolean {
  return Object.entries(FORMATS).every(([name, { packed, unpack }]) => {
    const algorithm = ALGORITHM[name as AlgorithmName];
    const decompress = (bytes: Uint8Array): boolean => {
      const back = run(engine, memory, bytes, { operation: OPCODE.decompress, algorithm });
      return back !== undefined && back.request.consumed === bytes.length && SAMPLE.equals(back.output);
    };
    if (offers(engine, 'decompress', name as AlgorithmName)) {
      if (!decompress(packed())) return false;
    }
    if (!offers(engine, 'compress', name as AlgorithmName)) return true;
    const made = run(engine, memory, SAMPLE, { operation: OPCODE.compress, algorithm, level: 1 });
    if (!made) return false;
    return unpack ? SAMPLE.equals(unpack(made.output)) : decompress(made.output);
  });
}

const ABC = Buffer.from('abc');
const DIGITS = Buffer.from('123456789');

/** The check values of the catalogue of CRCs, of zlib, and of xxHash's own documentation. */
const CHECK_VALUES: Partial<Record<AlgorithmName, [Uint8Array, low: number, high: number]>> = {
  crc32: [DIGITS, 0xcbf43926, 0],
  crc32c: [DIGITS, 0xe3069283, 0],
  'crc64-ecma': [DIGITS, 0xdf1939fa, 0x995dc9bb],
  adler32: [DIGITS, 0x091e01de, 0],
  xxh64: [ABC, 0xad770999, 0x44bc2cf5],
  xxh3: [ABC, 0x892f3950, 0x78af5f94],
};

export function checksums(engine: Engine, memory: Mapping): boolean {
  return Object.entries(CHECK_VALUES).every(([name, [input, low, high]]) => {
    if (!offers(engine, 'checksum', name as AlgorithmName)) return true;
    const algorithm = ALGORITHM[name as AlgorithmName];
    const done = run(engine, memory, input, { operation: OPCODE.checksum, algorithm });
    return done?.request.result === low && done.request.resultHigh === high;
  });
}

export function moves(engine: Engine, memory: Mapping): boolean {
  if (!offers(engine, 'copy')) return true;
  const aux = memory.address + AUX;
  const third = { aux, auxLength: SAMPLE.length };
  const copied = run(engine, memory, SAMPLE, { operation: OPCODE.dualCopy, ...third });
  if (!copied || !SAMPLE.equals(copied.output)) return false;
  const same = run(engine, memory, SAMPLE, { operation: OPCODE.compare, ...third });
  if (same?.request.result !== 0) return false;
  memory.bytes[AUX + 700]! ^= 1;
  const other = run(engine, memory, SAMPLE, { operation: OPCODE.compare, ...third });
  if (other?.request.result !== 1 || other.request.consumed !== 700) return false;
  const filled = run(engine, memory, SAMPLE, {
    operation: OPCODE.fill,
    capacity: 11,
    param0: 0x04030201,
    param1: 0x08070605,
  });
  return filled !== undefined && Buffer.from([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3]).equals(filled.output);
}
