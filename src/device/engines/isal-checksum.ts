import { ALGORITHM } from '../../abi/algorithms.js';
import { STATUS } from '../../abi/queue.js';
import { runChecksum32 } from './checksum-request.js';
import type { Capability, EngineRequest, Outcome } from './engine.js';
import { bindAll } from './native.js';
import type { Checksum32 } from './software-checksum.js';

/* ISA-L's CRCs. Its CRC-32C inverts nothing by itself; its CRC-64 inverts before and after, as xz does. */

interface Functions {
  crc32_iscsi(source: number, length: number, crc: number): number;
  crc64_ecma_refl(seed: number | bigint, source: number, length: number): number | bigint;
}

export const ISAL_CHECKSUMS: Capability = {
  operations: ['checksum'],
  algorithms: ['crc32c', 'crc64-ecma'],
  rank: 10,
  nsPerByte: 0.06,
  fixedNs: 300,
};

function bindFunctions(): Functions | undefined {
  return bindAll<Functions>('libisal.so.2', {
    crc32_iscsi: 'uint32_t crc32_iscsi(uint64_t buf, int n, uint32_t crc)',
    crc64_ecma_refl: 'uint64_t crc64_ecma_refl(uint64_t crc, uint64_t buf, uint64_t n)',
  });
}

const inverted =
  ({ crc32_iscsi }: Functions): Checksum32 =>
  (seed, source, length) =>
    ~crc32_iscsi(source, length, ~seed >>> 0) >>> 0;

/** CRC-32C by ISA-L, or undefined without it. */
export function bindIsalCrc32c(): Checksum32 | undefined {
  const functions = bindFunctions();
  return functions && inverted(functions);
}

/** Checksums of one thread. */
export class IsalChecksums {
  readonly #f: Functions;
  readonly #crc32c: Checksum32;
  readonly #wide = new BigUint64Array(1);
  readonly #halves = new Uint32Array(this.#wide.buffer);

  private constructor(functions: Functions) {
    this.#f = functions;
    this.#crc32c = inverted(functions);
  }

  /** Undefined where the library lacks them. */
  static bind(): IsalChecksums | undefined {
    const functions = bindFunctions();
    return functions && new IsalChecksums(functions);
  }

  run(request: EngineRequest): Outcome {
    if (request.algorithm === ALGORITHM.crc32c) return runChecksum32(request, this.#crc32c, 0);
    const halves = this.#halves;
    halves[0] = request.param0;
    halves[1] = request.param1;
    if (request.sourceLength > 0) {
      const crc = this.#f.crc64_ecma_refl(this.#wide[0]!, request.source, request.sourceLength);
      this.#wide[0] = BigInt(crc);
    }
    request.consumed = request.sourceLength;
    request.result = halves[0]!;
    request.resultHigh = halves[1]!;
    return STATUS.ok;
  }
}
