import { LIMITS } from '../../abi/queue.js';
import { type Attempt, copyOf, makeAsync } from './async-call.js';
import { verifyWith } from './sign-sessions.js';
import { wantedOf } from './signature-kinds.js';

const verifying: Attempt = (accelerator, given) => {
  const [algorithm, data, key, signature] = given;
  const wanted = wantedOf(algorithm, key);
  if (typeof wanted === 'string') return wanted;
  // As text it is refused.
  if (typeof signature === 'string') return 'argument';
  const bytes = copyOf(data);
  const signed = copyOf(signature);
  if (!bytes || !signed || signed.byteLength > LIMITS.maxAux) return 'argument';
  if (bytes.byteLength > LIMITS.maxTransfer) return 'size';
  const result = verifyWith(accelerator, wanted.key, wanted.kind, bytes, signed);
  return { result, given: [algorithm, bytes, key, signed], secrets: [] };
};

/** Without a callback it is node:crypto's: an engine takes as long. */
export const verify = makeAsync('verify', [4], verifying);
