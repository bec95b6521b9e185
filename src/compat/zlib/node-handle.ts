import zlib from 'node:zlib';

/*
 * What lies below node:zlib's streams: a native handle, which does one step of zlib's deflate() or inflate() at a time and
 * says through two numbers how much room and input it left. A stream with another handle of the same kind is node:zlib's
 * in all else: options, events, errors, flushes, back-pressure.
 */

/** The handle of a stream, as node:zlib uses it. */
export interface NodeHandle {
  write(...step: Step): void;
  writeSync(...step: Step): void;
  params(level: number, strategy: number): void;
  reset(): void;
  close(): void;
  onerror(message: string, errno: number, code: string): void;
  /** The step under way, kept here by the stream. */
  buffer?: Uint8Array | null;
  cb?: () => void;
  inOff?: number;
  availInBefore?: number;
  availOutBefore?: number;
  flushFlag?: number;
}

/** Arguments of a step: what to flush, input with offset and length, and room for output likewise. */
export type Step = [
  flush: number,
  input: Uint8Array | null,
  inputAt: number,
  inputLength: number,
  output: Uint8Array,
  outputAt: number,
  outputLength: number,
];

/** A stream of node:zlib, with what is internal to it. */
export interface NodeStream extends zlib.Zlib {
  _handle: NodeHandle | null;
  /** Room and input that the last step left. */
  _writeState: Uint32Array;
  /** Where output goes, up to where it has got there, and the length of such buffers. */
  _outBuffer: Buffer;
  _outOffset: number;
  _chunkSize: number;
  bytesWritten: number;
  readonly writableEnded: boolean;
  destroy(error?: Error): void;
}

/** Position of the callback among the arguments of a native handle's init. */
const CALLBACK_AT = 5;

/** What a stream has called when a step is done, with the handle as `this`. */
export type StepCallback = (this: NodeHandle) => void;

/**
 * Finds that callback, which node:zlib hands to each native handle, by watching one stream being made; undefined on a
 * version of Node that does it otherwise.
 */
function findStepCallback(): StepCallback | undefined {
  const sample = (new zlib.DeflateRaw() as unknown as NodeStream)._handle;
  const prototype = sample && Object.getPrototypeOf(sample);
  const init = prototype?.init;
  if (typeof init !== 'function' || !Object.isExtensible(prototype)) return undefined;
  let found: unknown;
  try {
    prototype.init = function (this: unknown, ...given: unknown[]) {
      found = given[CALLBACK_AT];
      return Reflect.apply(init, this, given);
    };
    const stream = new zlib.DeflateRaw() as unknown as NodeStream;
    const isKnown = stream._writeState instanceof Uint32Array && stream._writeState.length === 2;
    return typeof found === 'function' && isKnown ? (found as StepCallback) : undefined;
  } catch {
    return undefined;
  } finally {
    prototype.init = init;
  }
}

export const stepCallback = findStepCallback();
