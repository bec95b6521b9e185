import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { ALGORITHM, MAX_LEVEL } from '../../abi/algorithms.js';
import { STATUS } from '../../abi/queue.js';
import { Mapping } from '../../sys/memory.js';
import { ENGINE_NAMES, type Engine, type EngineName, EngineRequest } from './engine.js';
import { loadIsal } from './isal.js';
import { loadLibdeflate } from './libdeflate.js';
import { loadNode } from './node.js';
import { loadZlib } from './zlib.js';

const LOADERS: Record<EngineName, () => Engine | undefined> = {
  'isa-l': loadIsal,
  libdeflate: loadLibdeflate,
  zlib: loadZlib,
  node: loadNode,
};

/** What there is of one engine: the engine, or why it is not used. */
export interface EngineEntry {
  name: EngineName;
  engine: Engine | undefined;
  absent: 'not found' | 'turned off' | 'failed its self-test' | undefined;
}

/** First choice first (docs/benchmarks.md, "Levels", has the ratios behind it). */
const COMPRESS_ORDER: Record<'low' | 'high', EngineName[]> = {
  low: ['isa-l', 'libdeflate', 'zlib', 'node'],
  high: ['libdeflate', 'zlib', 'node'],
};
const DECOMPRESS_ORDER: EngineName[] = ['libdeflate', 'isa-l', 'zlib', 'node'];
const STREAM_ORDER: EngineName[] = ['isa-l', 'zlib'];
/** Levels up to this one go to ISA-L; beyond it has no ratio to offer. */
const LOW_LEVELS = 3;
/** Below this, ISA-L's block headers cost more bytes than its speed is worth. */
const SMALL_BYTES = 512;

/** The engines of one thread, and the choice among them. */
export class EngineRegistry {
  readonly entries: EngineEntry[];
  readonly #compress: (Engine | undefined)[] = [];
  readonly #compressSmall: (Engine | undefined)[] = [];
  readonly #pieces: (Engine | undefined)[] = [];
  readonly decompressor: Engine | undefined;
  readonly streamer: Engine | undefined;
  /** Tells why a stream was refused, when the decompressor cannot. */
  readonly diagnostician: Engine | undefined;

  /** Loads every engine but those turned off. */
  constructor(disabled: readonly string[]) {
    this.entries = ENGINE_NAMES.map((name) => load(name, disabled.includes(name)));
    const find = (order: EngineName[], fits: (engine: Engine) => boolean): Engine | undefined => {
      for (const name of order) {
        const engine = this.entries.find((entry) => entry.name === name)?.engine;
        if (engine && fits(engine)) return engine;
      }
      return undefined;
    };
    const compresses = (level: number) => (engine: Engine) => {
      const { levels } = engine.capabilities;
      return level >= levels.min && level <= levels.max;
    };
    for (let level = 0; level <= MAX_LEVEL; level++) {
      const order = level > 0 && level <= LOW_LEVELS ? COMPRESS_ORDER.low : COMPRESS_ORDER.high;
      const fits = compresses(level);
      this.#compress.push(find(order, fits));
      this.#compressSmall.push(find(COMPRESS_ORDER.high, fits) ?? find(order, fits));
      this.#pieces.push(find(order, (engine) => fits(engine) && engine.capabilities.pieces));
    }
    this.decompressor = find(DECOMPRESS_ORDER, (engine) => engine.capabilities.decompress);
    this.streamer = find(STREAM_ORDER, (engine) => engine.capabilities.streams);
    this.diagnostician = find(['zlib', 'node'], (engine) => engine.capabilities.decompress);
  }

  /** The engine for a compression request, by level, size and kind; undefined where none can do it. */
  compressor(request: EngineRequest): Engine | undefined {
    if (request.piece) return this.#pieces[request.level];
    const choice = request.sourceLength < SMALL_BYTES ? this.#compressSmall : this.#compress;
    return choice[request.level];
  }

  /** About how many nanoseconds a byte takes to compress at a level. */
  nsPerByte(level: number): number {
    return this.#compress[level]?.capabilities.nsPerByte[level] ?? 0;
  }

  /** The highest level that some engine compresses at, or -1. */
  get maxLevel(): number {
    return this.#compress.findLastIndex((engine) => engine !== undefined);
  }

  /** Frees what the engines hold. */
  close(): void {
    for (const { engine } of this.entries) engine?.close();
  }

  get names(): ReadonlySet<EngineName> {
    return new Set(this.entries.filter((entry) => entry.engine).map((entry) => entry.name));
  }
}

function load(name: EngineName, off: boolean): EngineEntry {
  if (off) return { name, engine: undefined, absent: 'turned off' };
  const engine = LOADERS[name]();
  if (!engine) return { name, engine, absent: 'not found' };
  if (!selfTest(engine)) return { name, engine: undefined, absent: 'failed its self-test' };
  return { name, engine, absent: undefined };
}

/** A library may not be what its name says: it must first agree with node:zlib, both ways, on a small sample. */
function selfTest(engine: Engine): boolean {
  const memory = Mapping.anonymous(8192);
  try {
    const text = Buffer.from('the quick brown fox jumps over the lazy dog; '.repeat(16));
    const out = memory.bytes.subarray(4096);
    const request = new EngineRequest();
    request.algorithm = ALGORITHM['deflate-raw'];
    request.destination = memory.address + 4096;
    request.capacity = 4096;
    request.source = memory.address;
    const { levels, decompress } = engine.capabilities;
    memory.bytes.set(text);
    request.sourceLength = text.length;
    request.level = Math.max(1, levels.min);
    if (engine.compress(request) !== STATUS.ok) return false;
    if (!inflateRawSync(out.subarray(0, request.produced)).equals(text)) return false;
    if (decompress) {
      const packed = deflateRawSync(text);
      memory.bytes.set(packed);
      request.sourceLength = packed.length;
      if (engine.decompress(request) !== STATUS.ok || request.consumed !== packed.length) return false;
      if (!text.equals(out.subarray(0, request.produced))) return false;
    }
    return true;
  } catch {
    return false;
  } finally {
    memory.unmap();
  }
}
