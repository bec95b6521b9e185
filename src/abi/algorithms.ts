/*
 * Algorithms by class, as an application names them, with the number each has in a submission.
 * Names follow the Compression Streams standard: `deflate` is zlib's format (RFC 1950), `deflate-raw` is RFC 1951.
 */

export const ALGORITHM = { 'deflate-raw': 1, deflate: 2, gzip: 3 } as const;

export type CompressionAlgorithm = keyof typeof ALGORITHM;

export const COMPRESSION_ALGORITHMS = Object.keys(ALGORITHM) as CompressionAlgorithm[];

export const MIN_LEVEL = 0;
export const MAX_LEVEL = 12;
/** What node:zlib and gzip take when nothing is said. */
export const DEFAULT_LEVEL = 6;

/** The name of an algorithm number, or undefined. */
export function algorithmName(id: number): CompressionAlgorithm | undefined {
  return COMPRESSION_ALGORITHMS.find((name) => ALGORITHM[name] === id);
}
