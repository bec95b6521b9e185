import { LIMITS } from '../abi/queue.js';
import {
  type DeviceState,
  SPACE,
  SPACE_HEADER_WORDS,
  SPACE_MODE,
  SPACE_REGION,
  SPACE_REGION_WORDS,
} from './state.js';

/**
 * Where an address of a client lies in this process, or 0 if its requests may not touch all of it.
 *
 * Under SVA an address is its own translation; what is checked is that it can be a user address at all. A client
 * that maps memory gets exactly that: every range must lie within one mapped region, and a written one within a
 * region mapped for writing.
 * No client's region lies beyond user addresses; scratch memory of the device's own may (shadow-queues.ts).
 */
export function translate(
  state: DeviceState,
  space: number,
  address: number,
  length: number,
  write: boolean,
): number {
  const words = state.words;
  const base = state.space(space);
  const end = address + length;
  if (address <= 0) return 0;
  if (words[base + SPACE.mode] === SPACE_MODE.sva) return end <= LIMITS.addressEnd ? address : 0;
  const count = Atomics.load(words, base + SPACE.regions);
  for (let i = 0; i < count; i++) {
    const at = base + SPACE_HEADER_WORDS + i * SPACE_REGION_WORDS;
    if (Atomics.load(words, at + SPACE_REGION.valid) === 0) continue;
    if (write && words[at + SPACE_REGION.writable] === 0) continue;
    const iova = state.wide(at + SPACE_REGION.iovaLow);
    if (address < iova || end > iova + state.wide(at + SPACE_REGION.lengthLow)) continue;
    return state.wide(at + SPACE_REGION.addressLow) + (address - iova);
  }
  return 0;
}
