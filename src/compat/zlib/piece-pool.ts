import { PIECE_BYTES } from '../../algorithms/compression.js';

/** As many as one stream has use for; more streams make their own. */
const MAX_KEPT = 4;

const free: Buffer[] = [];

/** A buffer for one piece. Making one costs what compressing some tens of KiB does: they are used again. */
export function takePieceBuffer(): Buffer {
  return free.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
}

/** Gives back a buffer that nobody reads any more; smaller ones are left to the collector. */
export function givePieceBuffer(buffer: Buffer): void {
  if (buffer.length === PIECE_BYTES && free.length < MAX_KEPT) free.push(buffer);
}
