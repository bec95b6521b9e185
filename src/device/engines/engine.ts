import type { STATUS } from '../../abi/queue.js';

/** Engines by name, in order of preference, with the number each has in a completion. */
export const ENGINE_ID = { 'isa-l': 1, libdeflate: 2, zlib: 3, node: 4 } as const;

export type EngineName = keyof typeof ENGINE_ID;

export const ENGINE_NAMES = Object.keys(ENGINE_ID) as EngineName[];

/** The name of an engine number, for results and listings. */
export function engineName(id: number): EngineName | undefined {
  return ENGINE_NAMES.find((name) => ENGINE_ID[name] === id);
}

/**
 * One request as an engine sees it: checked, with addresses in this process. The same object serves every request
 * of a thread, so an engine must not keep it.
 */
export class EngineRequest {
  /** Number of the algorithm (abi/algorithms.ts). */
  algorithm = 0;
  level = 0;
  /** A piece of a longer raw stream (SQE_FLAG.piece). */
  piece = false;
  source = 0;
  sourceLength = 0;
  destination = 0;
  capacity = 0;
  /** Bytes written and read; filled in by the engine whatever the outcome. */
  produced = 0;
  consumed = 0;
  /** The compressed stream has ended. */
  streamEnd = false;
}

export type Outcome = (typeof STATUS)[keyof typeof STATUS];

/** What an engine can do, as data: the device chooses by it and lists it. */
export interface EngineCapabilities {
  /** Levels that it compresses at. */
  levels: { min: number; max: number };
  /** About how many nanoseconds it takes for a byte, by level: what the device schedules by. */
  nsPerByte: readonly number[];
  /** Whether it can end a piece of a longer stream on a byte. */
  pieces: boolean;
  /** Whether it decompresses a whole stream in one request. */
  decompress: boolean;
  /** Whether it decompresses a stream cut over many requests. */
  streams: boolean;
  /** Whether compressing reads the source more than once, and relies on finding the same. */
  rereads: boolean;
}

/** A library that executes requests. One instance serves one thread; contexts are kept between requests. */
export interface Engine {
  readonly name: EngineName;
  /** The library as found, and its version. */
  readonly library: string;
  readonly version: string;
  readonly capabilities: EngineCapabilities;
  /** Compresses the whole source. */
  compress(request: EngineRequest): Outcome;
  /** Decompresses one whole stream from the start of the source. */
  decompress(request: EngineRequest): Outcome;
  /** Makes the state of a stream, usable from any thread of this process; returns its address, or 0. */
  openStream(algorithm: number): number;
  /** Decompresses as much as source and destination allow. */
  decompressStream(state: number, request: EngineRequest): Outcome;
  closeStream(state: number): void;
  /** Frees what the engine holds; it is not used afterwards. */
  close(): void;
}

/** Shared by engines that hold no streams. */
export const NO_STREAMS: Pick<Engine, 'openStream' | 'decompressStream' | 'closeStream'> = {
  openStream: () => 0,
  decompressStream: () => 32,
  closeStream: () => {},
};
