/** `warpdrive/web`: what the Web platform has for compression, by the accelerator where that is faster. */

import { type ZlibStats, zlibStats } from '../zlib/counters.js';

export type { CompressionFormat } from './compression-streams.js';
export { CompressionStream, DecompressionStream } from './compression-streams.js';

/** What was done where, since this thread loaded the module. */
export interface WebStats {
  /** The streams, which are those of `warpdrive/zlib` below. */
  zlib: ZlibStats;
}

export function stats(): WebStats {
  return { zlib: zlibStats() };
}
