import { readFileSync } from 'node:fs';
import { ALGORITHM, type AlgorithmName } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import { bind } from '../../sys/libc.js';
import { allocateState, copyMemory, freeState, Mapping } from '../../sys/memory.js';
import type { Capability, Engine, EngineRequest, Outcome } from './engine.js';
import { bindAll, loadedPath } from './native.js';
import { CipherPlan, MAX_TAG_BYTES } from './openssl-checks.js';

/*
 * Intel's multi-buffer library (libIPSec_MB.so.1), its direct calls for AES-GCM: a whole message in one call, and with
 * vector AES at three times the speed of an OpenSSL that does not know the processor. The library has a function for
 * each instruction set, and does not check that the processor has it.
 */

const SONAME = 'libIPSec_MB.so.1';
/** Instruction sets, best first, with the processor's flags that they need. */
const VARIANTS: readonly [string, readonly string[]][] = [
  ['vaes_avx512', ['vaes', 'vpclmulqdq', 'avx512f', 'avx512dq', 'avx512bw', 'avx512vl', 'bmi2']],
  ['avx_gen4', ['aes', 'pclmulqdq', 'avx2', 'bmi2']],
  ['sse', ['aes', 'pclmulqdq', 'sse4_2']],
];
const ALGORITHMS: readonly AlgorithmName[] = ['aes-128-gcm', 'aes-192-gcm', 'aes-256-gcm'];
const KEY_BITS = [128, 192, 256];
const USUAL_IV_BYTES = 12;

/** Room for struct gcm_key_data, which differs by version and is about 1 KiB, then for struct gcm_context_data. */
const CONTEXT_AT = 8192;
const STATE_BYTES = 16_384;

type Whole = (
  key: number,
  context: number,
  out: number,
  source: number,
  length: number,
  iv: number,
  aad: number,
  aadLength: number,
  tag: number,
  tagLength: number,
) => void;

/** The functions for one size of key. */
interface Functions {
  pre(key: number, keyData: number): void;
  enc: Whole;
  dec: Whole;
  init(key: number, context: number, iv: number, ivLength: number, aad: number, aadLength: number): void;
  encUpdate(key: number, context: number, out: number, source: number, length: number): void;
  decUpdate(key: number, context: number, out: number, source: number, length: number): void;
  encFinalize(key: number, context: number, tag: number, tagLength: number): void;
  decFinalize(key: number, context: number, tag: number, tagLength: number): void;
}

const memset = bind<(at: number, byte: number, length: number) => number>(
  'uint64_t memset(uint64_t s, int c, uint64_t n)',
);

/** Finds the library on this machine, or undefined. */
export function loadIpsecMb(): Engine | undefined {
  const variant = process.arch === 'x64' ? usableVariant() : undefined;
  if (variant === undefined) return undefined;
  const functions: Functions[] = [];
  for (const bits of KEY_BITS) {
    const found = bindSize(bits, variant);
    if (!found) return undefined;
    functions.push(found);
  }
  const about = bindAll<{ imb_get_version_str(): string }>(SONAME, {
    imb_get_version_str: 'const char *imb_get_version_str()',
  });
  const version = about?.imb_get_version_str() ?? '';
  // Layouts are the library's own; this is about how much memory they take.
  if (!/^v?1\./.test(version)) return undefined;
  return new IpsecMbEngine(
    functions,
    loadedPath(SONAME) ?? SONAME,
    `${version.replace(/^v/, '')} ${variant}`,
  );
}

function usableVariant(): string | undefined {
  const flags = new Set(/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.split(' '));
  return VARIANTS.find(([, needed]) => needed.every((flag) => flags.has(flag)))?.[0];
}

function bindSize(bits: number, variant: string): Functions | undefined {
  const name = (what: string): string => `aes_gcm_${what.replace('%', String(bits))}_${variant}`;
  const whole =
    'uint64_t k, uint64_t c, uint64_t out, uint64_t in, uint64_t n, uint64_t iv, uint64_t aad, uint64_t aad_n, uint64_t tag, uint64_t tag_n';
  const update = 'uint64_t k, uint64_t c, uint64_t out, uint64_t in, uint64_t n';
  const finalize = 'uint64_t k, uint64_t c, uint64_t tag, uint64_t tag_n';
  const prototypes = {
    pre: `void ${name('pre_%')}(uint64_t key, uint64_t key_data)`,
    enc: `void ${name('enc_%')}(${whole})`,
    dec: `void ${name('dec_%')}(${whole})`,
    init: `void ${name('init_var_iv_%')}(uint64_t k, uint64_t c, uint64_t iv, uint64_t iv_n, uint64_t aad, uint64_t aad_n)`,
    encUpdate: `void ${name('enc_%_update')}(${update})`,
    decUpdate: `void ${name('dec_%_update')}(${update})`,
    encFinalize: `void ${name('enc_%_finalize')}(${finalize})`,
    decFinalize: `void ${name('dec_%_finalize')}(${finalize})`,
  };
  return bindAll<Functions>(SONAME, prototypes);
}

class IpsecMbEngine implements Engine {
  readonly name = 'ipsec-mb';
  readonly library: string;
  readonly version: string;
  readonly capabilities: readonly Capability[] = [
    {
      operations: ['encrypt', 'decrypt'],
      algorithms: ALGORITHMS,
      rank: 5,
      nsPerByte: 0.1,
      fixedNs: 400,
      session: 'shared',
    },
  ];
  /** By algorithm number. */
  readonly #byNumber: Functions[] = [];
  readonly #plan = new CipherPlan();
  /** The tag as computed, the tag as it came, and an address for what is empty. */
  readonly #memory = Mapping.anonymous(4096);

  constructor(functions: Functions[], library: string, version: string) {
    this.library = library;
    this.version = version;
    ALGORITHMS.forEach((name, index) => {
      this.#byNumber[ALGORITHM[name]] = functions[index]!;
    });
  }

  openContext({ algorithm, key, keyLength }: EngineRequest): number {
    const bits = KEY_BITS[ALGORITHMS.findIndex((name) => ALGORITHM[name] === algorithm)];
    if (bits === undefined || keyLength * 8 !== bits) return 0;
    const context = allocateState(STATE_BYTES);
    this.#byNumber[algorithm]!.pre(key, context);
    return context;
  }

  closeContext(context: number): void {
    memset(context, 0, STATE_BYTES);
    freeState(context, STATE_BYTES);
  }

  run(request: EngineRequest): Outcome {
    const encrypts = request.operation === OPCODE.encrypt;
    const plan = this.#plan;
    const checked = plan.check(request, encrypts);
    if (checked !== STATUS.ok) return checked;
    request.consumed = request.sourceLength;
    const { bodyLength, tagLength } = plan;
    if (encrypts) {
      this.#pass(request, request.destination + bodyLength, true);
      request.produced = plan.outputLength;
      return STATUS.ok;
    }
    const computed = this.#memory.address;
    // Read once: whoever sent it may change it.
    copyMemory(computed + MAX_TAG_BYTES, request.source + bodyLength, tagLength);
    this.#pass(request, computed, false);
    if (this.#tagsAreEqual(tagLength)) {
      request.produced = plan.outputLength;
      return STATUS.ok;
    }
    if (bodyLength > 0) memset(request.destination, 0, bodyLength);
    return STATUS.notAuthentic;
  }

  /** Puts a message through, and leaves its tag at `tag`. */
  #pass(request: EngineRequest, tag: number, encrypts: boolean): void {
    const { algorithm, context, aux } = request;
    const { ivLength, aadLength, bodyLength, tagLength } = this.#plan;
    const f = this.#byNumber[algorithm]!;
    const state = context + CONTEXT_AT;
    const aad = aux + ivLength;
    if (ivLength === USUAL_IV_BYTES) {
      const whole = encrypts ? f.enc : f.dec;
      const { destination, source } = request;
      whole(context, state, destination, source, bodyLength, aux, aad, aadLength, tag, tagLength);
      return;
    }
    f.init(context, state, aux, ivLength, aad, aadLength);
    if (bodyLength > 0) {
      const update = encrypts ? f.encUpdate : f.decUpdate;
      update(context, state, request.destination, request.source, bodyLength);
    }
    const finalize = encrypts ? f.encFinalize : f.decFinalize;
    finalize(context, state, tag, tagLength);
  }

  /** In a time that does not tell where they differ. */
  #tagsAreEqual(length: number): boolean {
    const { bytes } = this.#memory;
    let difference = 0;
    for (let at = 0; at < length; at++) difference |= bytes[at]! ^ bytes[MAX_TAG_BYTES + at]!;
    return difference === 0;
  }

  close(): void {
    this.#memory.unmap();
  }
}
