import { Counter } from './counters.js';
import { type Loose, stock } from './stock.js';

/** Functions that engines would do in the same time, with the same library: counted, and node:crypto's. */
const NAMES = ['sign', 'createSign', 'createVerify', 'pbkdf2Sync', 'scryptSync', 'hkdfSync'] as const;

function passOn(name: string): Loose {
  const node = stock[name]!;
  const counter = new Counter(name);
  return (...given) => {
    counter.node('no gain');
    return node(...given);
  };
}

export const passedOn = Object.fromEntries(NAMES.map((name) => [name, passOn(name)])) as Record<
  (typeof NAMES)[number],
  Loose
>;
