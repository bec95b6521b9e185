import { PIECE_BYTES } from '../../algorithms/compression.js';

/** Sizes of buffers: for a short stream, a longer one, and a whole piece. */
const SIZES = [16 * 1024, 64 * 1024, PIECE_BYTES];
/** As many of each as one stream has use for; more streams make their own. */
const MAX_KEPT = 4;

const free = new Map<number, Buffer[]>(SIZES.map((size) => [size, []]));

/** A buffer for so many bytes, up to a piece. Making one costs what compressing as much does: they are used again. */
export function takePieceBuffer(bytes: number): Buffer {
  const size = SIZES.find((each) => bytes <= each)!;
  return free.get(size)!.pop() ?? Buffer.allocUnsafeSlow(size);
}

/** Gives back a buffer that nobody reads any more. */
export function givePieceBuffer(buffer: Buffer): void {
  const kept = free.get(buffer.length);
  if (kept && kept.length < MAX_KEPT) kept.push(buffer);
}
