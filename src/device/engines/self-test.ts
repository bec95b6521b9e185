import { ALGORITHM } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import { Mapping } from '../../sys/memory.js';
import { nodeZlib } from '../../sys/node-zlib.js';
import { type Engine, EngineRequest } from './engine.js';
import { checksums, moves, packs } from './format-trials.js';
import { CRYPTO_TRIALS } from './openssl-trials.js';

/** One trial: an operation that the engine says it has, run on a small sample. */
export type Trial = (engine: Engine, memory: Mapping) => boolean;

const SAMPLE = Buffer.from('the quick brown fox jumps over the lazy dog; '.repeat(16));

/**
 * A library may not be what its name says: before it is used it must agree with Node on a small sample, for each kind
 * of operation that it offers.
 */
export function passesSelfTest(engine: Engine): boolean {
  const memory = Mapping.anonymous(8192);
  try {
    return TRIALS.every((trial) => trial(engine, memory));
  } catch {
    return false;
  } finally {
    memory.unmap();
  }
}

function offersDeflate(engine: Engine, operation: 'compress' | 'decompress'): boolean {
  return engine.capabilities.some(
    ({ operations, algorithms, session }) =>
      operations.includes(operation) && algorithms.includes('deflate-raw') && session !== 'exclusive',
  );
}

function request(memory: Mapping, input: Uint8Array): EngineRequest {
  const made = new EngineRequest();
  memory.bytes.set(input);
  made.source = memory.address;
  made.sourceLength = input.length;
  made.destination = memory.address + 4096;
  made.capacity = 4096;
  return made;
}

const output = (memory: Mapping, made: EngineRequest): Uint8Array =>
  memory.bytes.subarray(4096, 4096 + made.produced);

const deflates: Trial = (engine, memory) => {
  if (!offersDeflate(engine, 'compress')) return true;
  const made = request(memory, SAMPLE);
  made.operation = OPCODE.compress;
  made.algorithm = ALGORITHM['deflate-raw'];
  made.level = 1;
  return engine.run(made) === STATUS.ok && nodeZlib.inflateRawSync(output(memory, made)).equals(SAMPLE);
};

const inflates: Trial = (engine, memory) => {
  if (!offersDeflate(engine, 'decompress')) return true;
  const packed = nodeZlib.deflateRawSync(SAMPLE);
  const made = request(memory, packed);
  made.operation = OPCODE.decompress;
  made.algorithm = ALGORITHM['deflate-raw'];
  if (engine.run(made) !== STATUS.ok || made.consumed !== packed.length) return false;
  return SAMPLE.equals(output(memory, made));
};

const TRIALS: readonly Trial[] = [deflates, inflates, packs, checksums, moves, ...CRYPTO_TRIALS];
