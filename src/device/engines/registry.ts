import {
  ALGORITHM,
  ALGORITHM_NAMES,
  type AlgorithmName,
  COMPRESSION_ALGORITHMS,
  type CompressionAlgorithm,
  MAX_LEVEL,
} from '../../abi/algorithms.js';
import { OPCODE, type OperationName } from '../../abi/queue.js';
import { loadBrotli } from './brotli.js';
import {
  type Capability,
  ENGINE_ID,
  ENGINE_NAMES,
  type Engine,
  type EngineName,
  type EngineRequest,
} from './engine.js';
import { loadIpsecMb } from './ipsec-mb.js';
import { loadIsal } from './isal.js';
import { loadLibdeflate } from './libdeflate.js';
import { loadLz4 } from './lz4.js';
import { loadMemory } from './memory.js';
import { loadNode } from './node.js';
import { loadNodeCrypto } from './node-crypto.js';
import { loadOpenssl } from './openssl.js';
import { passesSelfTest } from './self-test.js';
import { loadSoftware } from './software.js';
import { loadXxhash } from './xxhash.js';
import { loadZlib } from './zlib.js';
import { loadZstd } from './zstd.js';

const LOADERS: Partial<Record<EngineName, () => Engine | undefined>> = {
  'isa-l': loadIsal,
  libdeflate: loadLibdeflate,
  zlib: loadZlib,
  node: loadNode,
  zstd: loadZstd,
  lz4: loadLz4,
  brotli: loadBrotli,
  xxhash: loadXxhash,
  'ipsec-mb': loadIpsecMb,
  openssl: loadOpenssl,
  memory: loadMemory,
  software: loadSoftware,
  'node-crypto': loadNodeCrypto,
};

/** What there is of one engine: the engine, or why it is not used. */
export interface EngineEntry {
  name: EngineName;
  engine: Engine | undefined;
  absent: 'not found' | 'turned off' | 'failed its self-test' | undefined;
}

/** An engine with one of its capabilities. */
export interface Offer {
  engine: Engine;
  capability: Capability;
}

const NO_OFFERS: readonly Offer[] = [];

type DeviceFormats = Partial<
  Record<
    CompressionAlgorithm,
    { levels?: { min: number; max: number }; decompress: boolean; streams: boolean }
  >
>;

/** The engines of one thread, and the choice among them. */
export class EngineRegistry {
  readonly entries: EngineEntry[];
  /** What there is for an operation and an algorithm, by their numbers: best first. */
  readonly #offers = new Map<number, Offer[]>();
  readonly #byId: (Engine | undefined)[] = [];

  /** Loads every engine but those turned off. */
  constructor(disabled: readonly string[]) {
    this.entries = (Object.keys(LOADERS) as EngineName[]).map((name) => load(name, disabled.includes(name)));
    for (const { name, engine } of this.entries) {
      if (!engine) continue;
      this.#byId[ENGINE_ID[name]] = engine;
      for (const capability of engine.capabilities) this.#add({ engine, capability });
    }
    for (const offers of this.#offers.values()) offers.sort((a, b) => a.capability.rank - b.capability.rank);
  }

  #add(offer: Offer): void {
    const { operations, algorithms } = offer.capability;
    const numbers = algorithms.length === 0 ? [0] : algorithms.map((name) => ALGORITHM[name]);
    for (const operation of operations) {
      for (const number of numbers) {
        const key = (OPCODE[operation] << 8) | number;
        const offers = this.#offers.get(key);
        if (offers) offers.push(offer);
        else this.#offers.set(key, [offer]);
      }
    }
  }

  /** What there is for an operation and an algorithm (0 for none), best first. */
  offers(operation: number, algorithm: number): readonly Offer[] {
    return this.#offers.get((operation << 8) | algorithm) ?? NO_OFFERS;
  }

  /** The best that fits a request without a session; undefined where none can do it. */
  choose(request: EngineRequest): Offer | undefined {
    const offers = this.offers(request.operation, request.algorithm);
    for (let i = 0; i < offers.length; i++) {
      const { capability } = offers[i]!;
      if (fits(capability, request) && capability.session !== 'exclusive') return offers[i];
    }
    return undefined;
  }

  /** What most requests of an operation, an algorithm and a level are done with. */
  likely(operation: number, algorithm: number, level: number): Capability | undefined {
    const offers = this.offers(operation, algorithm);
    for (let i = 0; i < offers.length; i++) {
      const { capability } = offers[i]!;
      const { levels } = capability;
      if (levels === undefined || (level >= levels.min && level <= levels.max)) return capability;
    }
    return undefined;
  }

  /** The best that keeps a session of this kind. */
  chooseForSession(operation: number, algorithm: number, sequence: boolean): Offer | undefined {
    return this.offers(operation, algorithm).find(
      ({ capability }) => capability.session === (sequence ? 'exclusive' : 'shared'),
    );
  }

  /** The offer that a session was opened with, by its engine's number. */
  offerOf(operation: number, algorithm: number, engineId: number): Offer | undefined {
    const offers = this.offers(operation, algorithm);
    for (let i = 0; i < offers.length; i++) {
      const offer = offers[i]!;
      const { session } = offer.capability;
      if (ENGINE_ID[offer.engine.name] === engineId && session !== undefined && session !== 'none')
        return offer;
    }
    return undefined;
  }

  engine(id: number): Engine | undefined {
    return this.#byId[id];
  }

  /** Whether some engine does this. */
  supports(operation: OperationName, algorithm: AlgorithmName): boolean {
    return this.offers(OPCODE[operation], ALGORITHM[algorithm]).length > 0;
  }

  /** The algorithms that some engine has for an operation. */
  algorithms(operation: OperationName): AlgorithmName[] {
    return ALGORITHM_NAMES.filter((name) => this.supports(operation, name));
  }

  /** The highest level that the deflate family is compressed at, or -1. */
  get maxLevel(): number {
    const offers = this.offers(OPCODE.compress, ALGORITHM['deflate-raw']);
    for (let level = MAX_LEVEL; level >= 0; level--) {
      if (offers.some(({ capability: { levels } }) => levels && level >= levels.min && level <= levels.max)) {
        return level;
      }
    }
    return -1;
  }

  /** Whether some engine decompresses a deflate stream cut over many requests. */
  get streams(): boolean {
    return this.chooseForSession(OPCODE.decompress, ALGORITHM['deflate-raw'], true) !== undefined;
  }

  /** What there is for each compression format. */
  get formats(): DeviceFormats {
    const formats: DeviceFormats = {};
    for (const name of COMPRESSION_ALGORITHMS) {
      const packing = this.offers(OPCODE.compress, ALGORITHM[name]).flatMap(
        ({ capability }) => capability.levels ?? [],
      );
      const decompress = this.supports('decompress', name);
      if (packing.length === 0 && !decompress) continue;
      const min = Math.min(...packing.map((levels) => levels.min));
      const max = Math.max(...packing.map((levels) => levels.max));
      formats[name] = {
        ...(packing.length > 0 ? { levels: { min, max } } : {}),
        decompress,
        streams: this.chooseForSession(OPCODE.decompress, ALGORITHM[name], true) !== undefined,
      };
    }
    return formats;
  }

  /** Frees what the engines hold. */
  close(): void {
    for (const { engine } of this.entries) engine?.close();
  }

  get names(): ReadonlySet<EngineName> {
    return new Set(this.entries.filter((entry) => entry.engine).map((entry) => entry.name));
  }
}

function fits(capability: Capability, request: EngineRequest): boolean {
  const { levels, minBytes, maxBytes } = capability;
  if (levels !== undefined && request.operation === OPCODE.compress) {
    if (request.level < levels.min || request.level > levels.max) return false;
  }
  if (request.piece && capability.pieces !== true) return false;
  if (minBytes !== undefined && request.sourceLength < minBytes) return false;
  return maxBytes === undefined || request.sourceLength <= maxBytes;
}

/** About how many nanoseconds a request of `bytes` and `units` takes with a capability. */
export function nanosecondsOf(capability: Capability, level: number, bytes: number, units: number): number {
  const { nsPerByte, fixedNs, nsPerUnit } = capability;
  const perByte = typeof nsPerByte === 'number' ? nsPerByte : (nsPerByte[level] ?? nsPerByte[0] ?? 0);
  return (fixedNs ?? 0) + bytes * perByte + units * (nsPerUnit ?? 0);
}

function load(name: EngineName, off: boolean): EngineEntry {
  if (off) return { name, engine: undefined, absent: 'turned off' };
  const engine = LOADERS[name]?.();
  if (!engine) return { name, engine, absent: 'not found' };
  if (!passesSelfTest(engine)) return { name, engine: undefined, absent: 'failed its self-test' };
  return { name, engine, absent: undefined };
}

/** The names that engines may be turned off by: those that have a loader. */
export const LOADED_ENGINE_NAMES = ENGINE_NAMES.filter((name) => LOADERS[name]);
