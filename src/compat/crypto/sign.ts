import { LIMITS } from '../../abi/queue.js';
import { type Attempt, copyOf, makeAsync } from './async-call.js';
import { Counter } from './counters.js';
import { ownCopy } from './own-copy.js';
import { signWith, verifyWith } from './sign-sessions.js';
import { wantedOf } from './signature-kinds.js';
import { type Loose, stock } from './stock.js';

/** A call without a callback takes as long with an engine: nearly all of it is the signature itself. */
function withoutGain(name: string, own: Loose, place: number): Loose {
  const counter = new Counter(`${name}, synchronous`);
  const node = stock[name]!;
  return (...given) => {
    if (given[place] !== undefined) return own(...given);
    counter.node('no gain');
    return node(...given);
  };
}

const signing: Attempt = (accelerator, given) => {
  const [algorithm, data, key] = given;
  const wanted = wantedOf(algorithm, key);
  if (typeof wanted === 'string') return wanted;
  if (wanted.key.type !== 'private') return 'key';
  const bytes = copyOf(data);
  if (!bytes) return 'argument';
  if (bytes.byteLength > LIMITS.maxTransfer) return 'size';
  const result = signWith(accelerator, wanted.key, wanted.kind, bytes).then(ownCopy);
  return { result, given: [algorithm, bytes, key], secrets: [] };
};

const verifying: Attempt = (accelerator, given) => {
  const [algorithm, data, key, signature] = given;
  const wanted = wantedOf(algorithm, key);
  if (typeof wanted === 'string') return wanted;
  const bytes = copyOf(data);
  // Text would be a signature in some encoding: none is known here.
  const signed = typeof signature === 'string' ? undefined : copyOf(signature);
  if (!bytes || !signed || signed.byteLength > LIMITS.maxAux) return 'argument';
  if (bytes.byteLength > LIMITS.maxTransfer) return 'size';
  const result = verifyWith(accelerator, wanted.key, wanted.kind, bytes, signed);
  return { result, given: [algorithm, bytes, key, signed], secrets: [] };
};

export const sign = withoutGain('sign', makeAsync('sign', [3], signing), 3);
export const verify = withoutGain('verify', makeAsync('verify', [4], verifying), 4);
