/** `warpdrive/web`: compression streams and cryptography of the Web, by the accelerator where that is faster. */

import { type ZlibStats, zlibStats } from '../zlib/counters.js';
import { type SubtleStats, subtleStats } from './subtle-counters.js';

export type { CompressionFormat } from './compression-streams.js';
export { CompressionStream, DecompressionStream } from './compression-streams.js';
export { subtle } from './subtle.js';
export type { SubtleReason, SubtleStats } from './subtle-counters.js';

/** What was done where, since this thread loaded the module. */
export interface WebStats {
  /** The streams, which are those of `warpdrive/zlib` below. */
  zlib: ZlibStats;
  subtle: SubtleStats;
}

export function stats(): WebStats {
  return { zlib: zlibStats(), subtle: subtleStats() };
}
