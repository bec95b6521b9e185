import type { KeyObject } from 'node:crypto';
import type { Accelerator } from '../../accelerator/accelerator.js';
import type { SignSession, VerifySession } from '../../accelerator/sign-session.js';
import type { SignOptions } from '../../algorithms/key-options.js';
import { toDer, toRaw } from './ecdsa-format.js';

/** What signatures are to be like, but for the key. */
export interface SignatureKind extends Omit<SignOptions, 'key'> {
  /** ECDSA: both numbers one after the other (IEEE P1363), and no DER. */
  isRaw: boolean;
}

/** Bytes of a number of the curve. */
const NUMBER_BYTES: Partial<Record<SignOptions['algorithm'], number>> = {
  'ecdsa-p256': 32,
  'ecdsa-p384': 48,
};

interface Sessions {
  accelerator: Accelerator;
  byKind: Map<string, SignSession | VerifySession>;
}

/** Sessions of keys, for as long as there is the key; nobody else can reach them. */
const sessions = new WeakMap<KeyObject, Sessions>();
const closing = new FinalizationRegistry<SignSession | VerifySession>((session) => session.close());

function sessionOf<S extends SignSession | VerifySession>(
  accelerator: Accelerator,
  key: KeyObject,
  id: string,
  open: () => S,
): S {
  let known = sessions.get(key);
  if (known?.accelerator !== accelerator) {
    known = { accelerator, byKind: new Map() };
    sessions.set(key, known);
  }
  const there = known.byKind.get(id) as S | undefined;
  if (there) return there;
  const session = open();
  known.byKind.set(id, session);
  closing.register(key, session);
  return session;
}

const idOf = (what: string, { algorithm, digest, saltLength }: SignatureKind): string =>
  `${what} ${algorithm} ${digest} ${saltLength}`;

function optionsOf({ isRaw: _, ...rest }: SignatureKind, key: KeyObject): SignOptions {
  return { ...rest, key };
}

/** The signature of data, which may not change until it is there. */
export async function signWith(
  accelerator: Accelerator,
  key: KeyObject,
  kind: SignatureKind,
  data: Uint8Array,
): Promise<Buffer> {
  const session = sessionOf(accelerator, key, idOf('sign', kind), () =>
    accelerator.signSession(optionsOf(kind, key)),
  );
  const signature = await session.sign(data);
  if (!kind.isRaw) return signature;
  const raw = toRaw(signature, NUMBER_BYTES[kind.algorithm]!);
  if (!raw) throw new TypeError('the signature is not DER');
  return raw;
}

/** Whether a signature is that of data, neither of which may change until it is known. */
export async function verifyWith(
  accelerator: Accelerator,
  key: KeyObject,
  kind: SignatureKind,
  data: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  const wanted = kind.isRaw ? toDer(signature, NUMBER_BYTES[kind.algorithm]!) : signature;
  if (!wanted) return false;
  const session = sessionOf(accelerator, key, idOf('verify', kind), () =>
    accelerator.verifySession(optionsOf(kind, key)),
  );
  return session.verify(data, wanted);
}
