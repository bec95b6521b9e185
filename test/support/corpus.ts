import { createCipheriv } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import zlib from 'node:zlib';
import fc from 'fast-check';
import type { DeflateAlgorithm } from '../../src/index.js';

/* Bytes to compress: of many kinds, of sizes where something changes, and the same in every run. */

export const MIB = 1024 * 1024;
/** Each kind has this many bytes to cut samples from. */
const POOL_BYTES = 4 * MIB;

export const KINDS = ['random', 'zeros', 'text', 'repetitive', 'packed'] as const;
export type Kind = (typeof KINDS)[number];

export const FORMATS: DeflateAlgorithm[] = ['gzip', 'deflate', 'deflate-raw'];

/** Sizes at which a request takes another path: the smallest engine's limit, pages, pieces. */
export const EDGE_SIZES = [
  0,
  1,
  2,
  511,
  512,
  513,
  4095,
  4096,
  4097,
  524287,
  524288,
  524289,
  MIB - 1,
  MIB,
  MIB + 1,
  3 * MIB,
];

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Real text: sources and documents of the locked packages, so that it is the same until the lockfile changes. */
export const realText: Buffer = (() => {
  const parts: Buffer[] = [];
  let length = 0;
  for (const folder of ['node_modules/@types/node', 'node_modules/fast-check', 'node_modules/undici-types']) {
    const names = readdirSync(join(root, folder), { recursive: true }) as string[];
    for (const name of names.sort()) {
      if (!/\.([cm]?ts|md)$/.test(name) || length > POOL_BYTES) continue;
      const part = readFileSync(join(root, folder, name));
      parts.push(part);
      length += part.length;
    }
  }
  return Buffer.concat(parts);
})();

const pools: Record<Kind, Buffer> = {
  random: createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16)).update(
    Buffer.alloc(POOL_BYTES),
  ),
  zeros: Buffer.alloc(POOL_BYTES),
  text: fill(realText),
  repetitive: fill(Buffer.from('all work and no play makes jack a dull boy, 0123456789\n')),
  packed: fill(zlib.deflateRawSync(realText, { level: 9 })),
};

function fill(pattern: Buffer): Buffer {
  return Buffer.alloc(POOL_BYTES, pattern);
}

/** A sample of one kind; another `start` gives another sample. */
export function sample(kind: Kind, length: number, start = 0): Buffer {
  const pool = pools[kind];
  const at = start % (POOL_BYTES - length + 1);
  return pool.subarray(at, at + length);
}

/** Sizes, mostly small or at an edge. */
export const sizes = (max: number): fc.Arbitrary<number> =>
  fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...EDGE_SIZES.filter((size) => size <= max)) },
    { weight: 4, arbitrary: fc.integer({ min: 0, max: Math.min(max, 6000) }) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max }) },
  );

/** Samples of every kind. */
export const samples = (max: number): fc.Arbitrary<Buffer> =>
  fc
    .record({ kind: fc.constantFrom(...KINDS), length: sizes(max), start: fc.nat(100_000) })
    .map(({ kind, length, start }) => sample(kind, length, start));

/** What node:zlib makes of it. */
export const reference: Record<
  DeflateAlgorithm,
  { pack: (data: Uint8Array, options?: zlib.ZlibOptions) => Buffer; unpack: (data: Uint8Array) => Buffer }
> = {
  gzip: { pack: zlib.gzipSync, unpack: zlib.gunzipSync },
  deflate: { pack: zlib.deflateSync, unpack: zlib.inflateSync },
  'deflate-raw': { pack: zlib.deflateRawSync, unpack: zlib.inflateRawSync },
};

/** `disableEngines` that leave one engine to do what it can, and only what it cannot to the last resort. */
export const ENGINE_ALONE = {
  'isa-l': ['libdeflate', 'zlib'],
  libdeflate: ['isa-l', 'zlib'],
  zlib: ['isa-l', 'libdeflate', 'node'],
  node: ['isa-l', 'libdeflate', 'zlib'],
} as const;
export type EngineAlone = keyof typeof ENGINE_ALONE;
