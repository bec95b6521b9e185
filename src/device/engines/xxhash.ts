import { ALGORITHM } from '../../abi/algorithms.js';
import { STATUS } from '../../abi/queue.js';
import { type Capability, type Engine, type EngineRequest, NO_SESSIONS, type Outcome } from './engine.js';
import { bindAll, loadedPath } from './native.js';

/* xxHash (libxxhash.so.0): XXH64 and XXH3 with 64 bits, both with seed 0. */

const SONAME = 'libxxhash.so.0';

interface Functions {
  XXH_versionNumber(): number;
  XXH64(source: number, length: number, seed: number): number | bigint;
  XXH3_64bits(source: number, length: number): number | bigint;
}

/** Finds libxxhash on this machine, or undefined. */
export function loadXxhash(): Engine | undefined {
  const functions = bindAll<Functions>(SONAME, {
    XXH_versionNumber: 'uint32_t XXH_versionNumber()',
    XXH64: 'uint64_t XXH64(uint64_t buf, uint64_t n, uint64_t seed)',
    XXH3_64bits: 'uint64_t XXH3_64bits(uint64_t buf, uint64_t n)',
  });
  // XXH3's results are final since 0.8.0.
  if (!functions || functions.XXH_versionNumber() < 800) return undefined;
  return new XxhashEngine(functions, loadedPath(SONAME) ?? SONAME);
}

class XxhashEngine implements Engine {
  readonly name = 'xxhash';
  readonly library: string;
  readonly version: string;
  readonly capabilities: readonly Capability[] = [
    { operations: ['checksum'], algorithms: ['xxh64'], rank: 10, nsPerByte: 0.1, fixedNs: 400 },
    { operations: ['checksum'], algorithms: ['xxh3'], rank: 10, nsPerByte: 0.05, fixedNs: 400 },
  ];
  readonly openContext = NO_SESSIONS.openContext;
  readonly closeContext = NO_SESSIONS.closeContext;
  readonly #f: Functions;
  readonly #wide = new BigUint64Array(1);
  readonly #halves = new Uint32Array(this.#wide.buffer);

  constructor(functions: Functions, library: string) {
    this.#f = functions;
    this.library = library;
    const number = functions.XXH_versionNumber();
    this.version = [Math.floor(number / 10_000), Math.floor(number / 100) % 100, number % 100].join('.');
  }

  run(request: EngineRequest): Outcome {
    const { source, sourceLength, algorithm, param0, param1 } = request;
    // Its state is larger than its result: there is nothing to go on from.
    if (param0 !== 0 || param1 !== 0) return STATUS.badField;
    const hash =
      algorithm === ALGORITHM.xxh3
        ? this.#f.XXH3_64bits(source, sourceLength)
        : this.#f.XXH64(source, sourceLength, 0);
    this.#wide[0] = BigInt(hash);
    request.consumed = sourceLength;
    request.result = this.#halves[0]!;
    request.resultHigh = this.#halves[1]!;
    return STATUS.ok;
  }

  close(): void {}
}
