import type { AlgorithmName } from '../../abi/algorithms.js';
import { HARDWARE_ENGINE, type OperationName, type STATUS } from '../../abi/queue.js';

/** Engines by name, with the number each has in a completion. */
export const ENGINE_ID = {
  'isa-l': 1,
  libdeflate: 2,
  zlib: 3,
  node: 4,
  openssl: 5,
  zstd: 6,
  lz4: 7,
  brotli: 8,
  xxhash: 9,
  memory: 10,
  software: 11,
  'node-crypto': 12,
  'ipsec-mb': 13,
} as const;

export type EngineName = keyof typeof ENGINE_ID;

export const ENGINE_NAMES = Object.keys(ENGINE_ID) as EngineName[];

const BY_ID: (EngineName | 'hardware' | undefined)[] = [];
for (const name of ENGINE_NAMES) BY_ID[ENGINE_ID[name]] = name;
BY_ID[HARDWARE_ENGINE] = 'hardware';

/** The name of an engine number, for results and listings. */
export function engineName(id: number): EngineName | 'hardware' | undefined {
  return BY_ID[id];
}

/**
 * One request as an engine sees it: checked, with addresses in this process. The same object serves every request
 * of a thread, so an engine must not keep it. What the fields mean for each operation: docs/device-spec.md.
 */
export class EngineRequest {
  /** Numbers of the operation (abi/queue.ts) and the algorithm (abi/algorithms.ts). */
  operation = 0;
  algorithm = 0;
  level = 0;
  /** Not the last part of something (SQE_FLAG.piece). */
  piece = false;
  /** Whole blocks, without padding (SQE_FLAG.unpadded). */
  unpadded = false;
  source = 0;
  sourceLength = 0;
  destination = 0;
  capacity = 0;
  /** Parameters, which nobody can change meanwhile; or a second source or destination. */
  aux = 0;
  auxLength = 0;
  param0 = 0;
  param1 = 0;
  param2 = 0;
  /** Of the request's session: what `openContext` gave this thread, and the key material. 0 without a session. */
  context = 0;
  key = 0;
  keyLength = 0;
  /** Bytes written and read; filled in by the engine whatever the outcome. */
  produced = 0;
  consumed = 0;
  /** A checksum, an offset or a verdict; 64 bits in two halves. */
  result = 0;
  resultHigh = 0;
  /** The compressed stream has ended. */
  streamEnd = false;

  /** Forgets the last request's results. */
  restart(): void {
    this.produced = 0;
    this.consumed = 0;
    this.result = 0;
    this.resultHigh = 0;
    this.streamEnd = false;
  }
}

export type Outcome = (typeof STATUS)[keyof typeof STATUS];

/** Something that an engine can do, as data: the device chooses by it, schedules by it and lists it. */
export interface Capability {
  operations: readonly OperationName[];
  /** Empty for operations that have no algorithm. */
  algorithms: readonly AlgorithmName[];
  /** Its place among the engines that can do the same: the lowest is asked first. */
  rank: number;
  /** Levels that it compresses at. */
  levels?: { min: number; max: number };
  /** Sizes of the source that it is meant for. */
  minBytes?: number;
  maxBytes?: number;
  /** About how long it takes, in nanoseconds: for a byte (by level, where there are levels), and for the rest. */
  nsPerByte: number | readonly number[];
  fixedNs?: number;
  /** For a unit of work that is no byte: an iteration, a block of scrypt. */
  nsPerUnit?: number;
  /** Whether it makes pieces of a longer stream, each ending on a byte. */
  pieces?: boolean;
  /** Whether it reads the source more than once, and relies on finding the same. */
  rereads?: boolean;
  /**
   * What it keeps between the requests of a session: nothing (`none`, the default), something that is the same for all
   * of them, so that several threads may each have it (`shared`), or the state of one sequence (`exclusive`).
   */
  session?: 'none' | 'shared' | 'exclusive';
}

/** A library that executes requests. One instance serves one thread; contexts are kept between requests. */
export interface Engine {
  readonly name: EngineName;
  /** The library as found, and its version. */
  readonly library: string;
  readonly version: string;
  readonly capabilities: readonly Capability[];
  /** Executes a request that one of the capabilities covers. */
  run(request: EngineRequest): Outcome;
  /**
   * Makes what a session needs on one thread, for the operation, algorithm, parameters and key in `request`: its
   * address, usable from any thread of this process, or 0 when the key is none. An engine that keeps nothing gives 1.
   */
  openContext(request: EngineRequest): number;
  /** Frees a context, and overwrites what it held. */
  closeContext(context: number): void;
  /** Frees what the engine holds; it is not used afterwards. */
  close(): void;
}

/** What a session is opened with, beside its key. */
export interface SessionTerms {
  /** OPCODE of the requests that it serves; `encrypt` covers `decrypt`. */
  operation: number;
  algorithm: number;
  param0: number;
  param1: number;
  param2: number;
}

/** Makes a context for a session whose key is in the request; for all else the request is as it was afterwards. */
export function openContextFor(engine: Engine, request: EngineRequest, terms: SessionTerms): number {
  const { operation, algorithm, param0, param1, param2 } = request;
  request.operation = terms.operation;
  request.algorithm = terms.algorithm;
  request.param0 = terms.param0;
  request.param1 = terms.param1;
  request.param2 = terms.param2;
  const context = engine.openContext(request);
  request.operation = operation;
  request.algorithm = algorithm;
  request.param0 = param0;
  request.param1 = param1;
  request.param2 = param2;
  return context;
}

/** Shared by engines that have no sessions. */
export const NO_SESSIONS: Pick<Engine, 'openContext' | 'closeContext'> = {
  openContext: () => 0,
  closeContext: () => {},
};
