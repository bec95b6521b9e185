import type { KeyObject } from 'node:crypto';
import type { Accelerator } from '../../accelerator/accelerator.js';
import type { VerifySession } from '../../accelerator/sign-session.js';
import type { SignOptions } from '../../algorithms/key-options.js';

/** What signatures are to be like, but for the key. */
export type SignatureKind = Omit<SignOptions, 'key'>;

interface Sessions {
  accelerator: Accelerator;
  byKind: Map<string, VerifySession>;
}

/** Sessions of keys, for as long as there is the key; nobody else can reach them. */
const sessions = new WeakMap<KeyObject, Sessions>();
const closing = new FinalizationRegistry<VerifySession>((session) => session.close());

function sessionOf(accelerator: Accelerator, key: KeyObject, kind: SignatureKind): VerifySession {
  let known = sessions.get(key);
  if (known?.accelerator !== accelerator) {
    known = { accelerator, byKind: new Map() };
    sessions.set(key, known);
  }
  const id = `${kind.algorithm} ${kind.digest} ${kind.saltLength}`;
  let session = known.byKind.get(id);
  if (!session) {
    session = accelerator.verifySession({ ...kind, key });
    known.byKind.set(id, session);
    closing.register(key, session);
  }
  return session;
}

/** Whether a signature is that of data, neither of which may change until it is known. */
export async function verifyWith(
  accelerator: Accelerator,
  key: KeyObject,
  kind: SignatureKind,
  data: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  return sessionOf(accelerator, key, kind).verify(data, signature);
}
