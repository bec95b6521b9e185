import { OPCODE, STATUS } from '../../abi/queue.js';
import { bind } from '../../sys/libc.js';
import { copyMemory, Mapping } from '../../sys/memory.js';
import { type Capability, type Engine, type EngineRequest, NO_SESSIONS, type Outcome } from './engine.js';

/* Copies, fills and comparisons by libc, which picks the widest instructions that the processor has. */

type Fill = (destination: number, byte: number, length: number) => number;
type Compare = (a: number, b: number, length: number) => number;

interface Functions {
  memset: Fill;
  memcmp: Compare;
}

const PATTERN_BYTES = 8;

/** libc is always there. */
export function loadMemory(): Engine {
  return new MemoryEngine({
    memset: bind('uint64_t memset(uint64_t dest, int byte, uint64_t n)'),
    memcmp: bind('int memcmp(uint64_t a, uint64_t b, uint64_t n)'),
  });
}

/** What each operation costs, for the engine and its twin. */
export function memoryCapabilities(rank: number, factor: number): Capability[] {
  const each = { algorithms: [], rank, fixedNs: 300 } as const;
  return [
    { ...each, operations: ['copy', 'compare'], nsPerByte: 0.15 * factor },
    { ...each, operations: ['fill'], nsPerByte: 0.1 * factor },
    { ...each, operations: ['dualCopy'], nsPerByte: 0.3 * factor },
  ];
}

/** Whether a request's ranges have room for what it moves, or compares; else how it ends. */
export function checkMemoryRequest(request: EngineRequest): Outcome {
  const { operation, sourceLength, capacity, auxLength } = request;
  if (operation === OPCODE.compare) return auxLength === sourceLength ? STATUS.ok : STATUS.badLength;
  if (operation !== OPCODE.fill && capacity < sourceLength) return STATUS.noSpace;
  return STATUS.ok;
}

class MemoryEngine implements Engine {
  readonly name = 'memory';
  readonly library = 'libc';
  readonly version = 'of the system';
  readonly capabilities = memoryCapabilities(10, 1);
  readonly openContext = NO_SESSIONS.openContext;
  readonly closeContext = NO_SESSIONS.closeContext;
  readonly #f: Functions;
  readonly #pattern = Mapping.anonymous(4096);

  constructor(functions: Functions) {
    this.#f = functions;
  }

  run(request: EngineRequest): Outcome {
    const fit = checkMemoryRequest(request);
    if (fit !== STATUS.ok) return fit;
    if (request.operation === OPCODE.fill) return this.#fill(request);
    if (request.operation === OPCODE.compare) return this.#compare(request);
    const { source, sourceLength, destination, aux } = request;
    if (sourceLength > 0) {
      copyMemory(destination, source, sourceLength);
      if (request.operation === OPCODE.dualCopy) copyMemory(aux, source, sourceLength);
    }
    request.consumed = sourceLength;
    request.produced = sourceLength;
    return STATUS.ok;
  }

  close(): void {
    this.#pattern.unmap();
  }

  #fill(request: EngineRequest): Outcome {
    const { destination, capacity, param0, param1 } = request;
    request.produced = capacity;
    const byte = param0 & 0xff;
    if (param0 === param1 && param0 === (byte * 0x01010101) >> 0) {
      this.#f.memset(destination, byte, capacity);
      return STATUS.ok;
    }
    this.#pattern.words[0] = param0;
    this.#pattern.words[1] = param1;
    let filled = Math.min(PATTERN_BYTES, capacity);
    copyMemory(destination, this.#pattern.address, filled);
    // What is filled is a whole number of patterns until the last step, so it may follow itself.
    while (filled < capacity) {
      const more = Math.min(filled, capacity - filled);
      copyMemory(destination + filled, destination, more);
      filled += more;
    }
    return STATUS.ok;
  }

  /** memcmp says whether there is a difference; halving the range says where the first one is. */
  #compare(request: EngineRequest): Outcome {
    const { source, aux, sourceLength } = request;
    const { memcmp } = this.#f;
    request.consumed = sourceLength;
    if (sourceLength === 0 || memcmp(source, aux, sourceLength) === 0) return STATUS.ok;
    let at = 0;
    for (let length = sourceLength; length > 1; ) {
      const half = length >>> 1;
      if (memcmp(source + at, aux + at, half) === 0) {
        at += half;
        length -= half;
      } else {
        length = half;
      }
    }
    request.result = 1;
    request.consumed = at;
    return STATUS.ok;
  }
}
