/**
 * `warpdrive/zlib`: the interface of the running Node's node:zlib, by the accelerator where that is faster. The default
 * export is for `require`, too, and has just what node:zlib has; beside it there is `stats`.
 */

import zlib from 'node:zlib';
import { makeCall, makeSyncCall } from './calls.js';
import { makeClass, makeCreate } from './classes.js';
import { zlibStats } from './counters.js';
import { CALLS, CLASSES, type ClassName } from './formats.js';

export type { Reason, ZlibStats } from './counters.js';

/** What was done where, since this thread loaded the module. */
export const stats = zlibStats;

type Module = typeof zlib;

/** Node:zlib's own properties, as they are, with ours in the place of some. */
function makeModule(): Module {
  const own: Record<string, unknown> = {};
  for (const [name, format] of Object.entries(CALLS)) {
    if (!(name in zlib)) continue;
    own[name] = makeCall(name, format);
    own[`${name}Sync`] = makeSyncCall(name, format);
  }
  for (const name of Object.keys(CLASSES) as ClassName[]) {
    own[name] = makeClass(name);
    own[`create${name}`] = makeCreate(own[name] as never, zlib[`create${name}` as 'createGzip'] as never);
  }
  const descriptors = Object.getOwnPropertyDescriptors(zlib) as Record<string, PropertyDescriptor>;
  for (const [name, value] of Object.entries(own)) {
    const descriptor = descriptors[name];
    if (descriptor) descriptors[name] = { ...descriptor, value };
  }
  const made = Object.create(Object.getPrototypeOf(zlib), descriptors) as Module;
  Object.defineProperty(made, STATS, { value: zlibStats });
  return made;
}

/** How the default export, and a program that replaces node:zlib with it, finds `stats`. */
const STATS = Symbol.for('warpdrive.zlib');

const made = makeModule();

export type * from 'node:zlib';
export { made as default, made as 'module.exports' };
export type BrotliCompress = zlib.BrotliCompress;
export type BrotliDecompress = zlib.BrotliDecompress;
export type Deflate = zlib.Deflate;
export type DeflateRaw = zlib.DeflateRaw;
export type Gunzip = zlib.Gunzip;
export type Gzip = zlib.Gzip;
export type Inflate = zlib.Inflate;
export type InflateRaw = zlib.InflateRaw;
export type Unzip = zlib.Unzip;

type ZlibStream = new (options?: zlib.ZlibOptions) => zlib.Gzip;

/** What there is of it in newer versions of Node alone, and not in the published types of the oldest. */
interface Newer {
  crc32: (data: string | Uint8Array, value?: number) => number;
  ZstdCompress: ZlibStream;
  ZstdDecompress: ZlibStream;
  createZstdCompress: typeof zlib.createGzip;
  createZstdDecompress: typeof zlib.createGzip;
  zstdCompress: typeof zlib.gzip;
  zstdCompressSync: typeof zlib.gzipSync;
  zstdDecompress: typeof zlib.gzip;
  zstdDecompressSync: typeof zlib.gzipSync;
}

interface Classes {
  BrotliCompress: ZlibStream;
  BrotliDecompress: ZlibStream;
  Deflate: ZlibStream;
  DeflateRaw: ZlibStream;
  Gunzip: ZlibStream;
  Gzip: ZlibStream;
  Inflate: ZlibStream;
  InflateRaw: ZlibStream;
  Unzip: ZlibStream;
}

export const {
  BrotliCompress,
  BrotliDecompress,
  brotliCompress,
  brotliCompressSync,
  brotliDecompress,
  brotliDecompressSync,
  codes,
  constants,
  crc32,
  createBrotliCompress,
  createBrotliDecompress,
  createDeflate,
  createDeflateRaw,
  createGunzip,
  createGzip,
  createInflate,
  createInflateRaw,
  createUnzip,
  createZstdCompress,
  createZstdDecompress,
  Deflate,
  DeflateRaw,
  deflate,
  deflateRaw,
  deflateRawSync,
  deflateSync,
  Gunzip,
  Gzip,
  gunzip,
  gunzipSync,
  gzip,
  gzipSync,
  Inflate,
  InflateRaw,
  inflate,
  inflateRaw,
  inflateRawSync,
  inflateSync,
  Unzip,
  unzip,
  unzipSync,
  ZstdCompress,
  ZstdDecompress,
  zstdCompress,
  zstdCompressSync,
  zstdDecompress,
  zstdDecompressSync,
} = made as unknown as Omit<Module, keyof Newer | keyof Classes> &
  Newer &
  Classes & { codes: Record<string, number | string> };
