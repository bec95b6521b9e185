import { ALGORITHM, type AlgorithmName } from '../../src/abi/algorithms.js';
import { OPCODE, type OperationName, type Status, statusName } from '../../src/abi/queue.js';
import { loadBrotli } from '../../src/device/engines/brotli.js';
import { type Engine, EngineRequest } from '../../src/device/engines/engine.js';
import { loadIsal } from '../../src/device/engines/isal.js';
import { loadLibdeflate } from '../../src/device/engines/libdeflate.js';
import { loadLz4 } from '../../src/device/engines/lz4.js';
import { loadMemory } from '../../src/device/engines/memory.js';
import { loadNode } from '../../src/device/engines/node.js';
import { loadSoftware } from '../../src/device/engines/software.js';
import { loadXxhash } from '../../src/device/engines/xxhash.js';
import { loadZlib } from '../../src/device/engines/zlib.js';
import { loadZstd } from '../../src/device/engines/zstd.js';
import { Mapping } from '../../src/sys/memory.js';

/* Engines driven by requests of their own, with no device around them. */

const MIB = 1024 * 1024;
const DESTINATION = 5 * MIB;
const AUX = 11 * MIB;
const memory = Mapping.anonymous(16 * MIB);
/** What no request may write to. */
const GUARD = 0xa5;

export interface Ran {
  status: string;
  output: Buffer;
  produced: number;
  consumed: number;
  result: number;
  resultHigh: number;
  ended: boolean;
  /** What lies in the third range. */
  aux: Buffer;
}

/** The engines that this machine has and that do something with an algorithm. */
export function enginesFor(operation: OperationName, algorithm?: AlgorithmName): Engine[] {
  const loaders = [
    ...[loadIsal, loadLibdeflate, loadZlib, loadNode, loadZstd],
    ...[loadLz4, loadBrotli, loadXxhash, loadMemory, loadSoftware],
  ];
  return loaders
    .map((load) => load())
    .filter((engine) => engine !== undefined)
    .filter(({ capabilities }) =>
      capabilities.some(
        ({ operations, algorithms }) =>
          operations.includes(operation) && (algorithm === undefined || algorithms.includes(algorithm)),
      ),
    );
}

/** Runs one request. A byte written behind the destination is an error. */
export function run(
  engine: Engine,
  operation: OperationName,
  algorithm: AlgorithmName | undefined,
  input: Uint8Array,
  fields: Partial<EngineRequest> & { auxBytes?: Uint8Array } = {},
): Ran {
  const { auxBytes, ...rest } = fields;
  const request = new EngineRequest();
  const capacity = rest.capacity ?? 5 * MIB;
  memory.bytes.set(input);
  memory.bytes.fill(GUARD, DESTINATION + capacity, DESTINATION + capacity + 64);
  if (auxBytes) {
    memory.bytes.set(auxBytes, AUX);
    request.aux = memory.address + AUX;
    request.auxLength = auxBytes.length;
  }
  Object.assign(request, {
    operation: OPCODE[operation],
    algorithm: algorithm === undefined ? 0 : ALGORITHM[algorithm],
    level: operation === 'compress' ? 1 : 0,
    source: input.length === 0 ? 0 : memory.address,
    sourceLength: input.length,
    destination: memory.address + DESTINATION,
    capacity,
    ...rest,
  });
  const status: Status = engine.run(request);
  const guard = memory.bytes.subarray(DESTINATION + capacity, DESTINATION + capacity + 64);
  if (guard.some((byte) => byte !== GUARD)) throw new Error(`${engine.name} wrote behind its destination`);
  const { produced, consumed, result, resultHigh, streamEnd } = request;
  if (produced > capacity && operation !== 'checksum')
    throw new Error(`${engine.name} says it wrote too much`);
  if (consumed < 0) throw new Error(`${engine.name} says it read less than nothing`);
  if (consumed > input.length) throw new Error(`${engine.name} says it read too much`);
  return {
    status: statusName(status),
    output: Buffer.from(memory.bytes.slice(DESTINATION, DESTINATION + produced)),
    produced,
    consumed,
    result,
    resultHigh,
    ended: streamEnd,
    aux: Buffer.from(memory.bytes.slice(AUX, AUX + (auxBytes?.length ?? 0))),
  };
}

/** Opens a context for a stream that is decompressed. */
export function openStream(engine: Engine, algorithm: AlgorithmName): number {
  const request = new EngineRequest();
  request.operation = OPCODE.decompress;
  request.algorithm = ALGORITHM[algorithm];
  return engine.openContext(request);
}
