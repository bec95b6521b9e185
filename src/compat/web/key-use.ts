import { KeyObject, type webcrypto } from 'node:crypto';
import type { AeadAlgorithm, CipherAlgorithm, DigestAlgorithm } from '../../abi/algorithms.js';
import type { Accelerator } from '../../accelerator/accelerator.js';
import type { CipherSession } from '../../accelerator/cipher-session.js';
import type { MacSession } from '../../accelerator/mac-session.js';

type CryptoKey = webcrypto.CryptoKey;

/** Digests by their names in Web Cryptography. */
export const DIGESTS: Record<string, DigestAlgorithm> = {
  'SHA-1': 'sha1',
  'SHA-256': 'sha256',
  'SHA-384': 'sha384',
  'SHA-512': 'sha512',
};

/** How the ciphers end that are called the same here, after `aes-256-`. */
const CIPHERS: Record<string, string> = { 'AES-GCM': 'gcm', 'AES-CBC': 'cbc', 'AES-CTR': 'ctr' };

type Session = CipherSession | MacSession;

/** Key material that was imported through us as `raw`: newer versions of Node give it out for exportable keys alone. */
const materials = new WeakMap<CryptoKey, Buffer>();

/** Sessions of keys, for as long as there is the key; nobody else can reach them, or the key material in them. */
const sessions = new WeakMap<CryptoKey, { accelerator: Accelerator; session: Session }>();
const closing = new FinalizationRegistry<Session>((session) => session.close());

/** A global of Node since its version 17, which the published types leave to those of browsers. */
const { CryptoKey } = globalThis as unknown as { CryptoKey: { prototype: CryptoKey } };

/** What a key really is, whatever properties a program has given it. */
const read = (name: 'algorithm' | 'usages' | 'extractable') =>
  Object.getOwnPropertyDescriptor(CryptoKey.prototype, name)!.get!;
const algorithmOf = read('algorithm');
const usagesOf = read('usages');
const extractableOf = read('extractable');

const DERIVATIONS: readonly string[] = ['HKDF', 'PBKDF2'];

/** Remembers what a key was made of, as it was when the import began; says whether it is a key of such use. */
export function rememberKey(key: CryptoKey, material: Buffer): boolean {
  const { length, name } = algorithmOf.call(key) as webcrypto.AesKeyAlgorithm;
  const isUsed = length === material.length * 8 || DERIVATIONS.includes(name);
  if (isUsed) materials.set(key, material);
  return isUsed;
}

/** What an algorithm and a use of a key are, if those are the key's. */
function algorithmFor<A extends webcrypto.KeyAlgorithm>(
  key: CryptoKey,
  name: string,
  usage: string,
): A | undefined {
  const algorithm = algorithmOf.call(key) as A;
  const isFor = algorithm.name.toUpperCase() === name && (usagesOf.call(key) as string[]).includes(usage);
  return isFor ? algorithm : undefined;
}

/** The secret that a key for derivations was imported with. */
export function secretFor(key: CryptoKey, name: string, usage: string): Buffer | undefined {
  return algorithmFor(key, name, usage) && materials.get(key);
}

/** Private and public keys as node:crypto has them. */
const objects = new WeakMap<CryptoKey, KeyObject>();

/** A private or public key with its algorithm, if it may be exported. @param name in capitals */
export function asymmetricFor<A extends webcrypto.KeyAlgorithm>(
  key: CryptoKey,
  name: string,
  usage: 'verify',
): { algorithm: A; object: KeyObject } | undefined {
  const algorithm = algorithmFor<A>(key, name, usage);
  if (!algorithm || !extractableOf.call(key)) return undefined;
  let object = objects.get(key);
  if (!object) {
    object = KeyObject.from(key);
    objects.set(key, object);
  }
  return { algorithm, object };
}

function materialOf(key: CryptoKey): Buffer | KeyObject | undefined {
  return materials.get(key) ?? (extractableOf.call(key) ? KeyObject.from(key) : undefined);
}

/** The session of a key for an algorithm, if that is the key's and may be used so. */
function sessionFor<S extends Session>(
  accelerator: Accelerator,
  key: CryptoKey,
  name: string,
  usage: string,
  open: (algorithm: webcrypto.KeyAlgorithm, material: Buffer | KeyObject) => S,
): S | undefined {
  const algorithm = algorithmOf.call(key) as webcrypto.KeyAlgorithm;
  if (algorithm.name !== name || !(usagesOf.call(key) as string[]).includes(usage)) return undefined;
  const known = sessions.get(key);
  if (known?.accelerator === accelerator) return known.session as S;
  const material = materialOf(key);
  if (!material) return undefined;
  const session = open(algorithm, material);
  sessions.set(key, { accelerator, session });
  closing.register(key, session);
  return session;
}

export function cipherFor(
  accelerator: Accelerator,
  key: CryptoKey,
  name: string,
  usage: 'encrypt' | 'decrypt',
): CipherSession | undefined {
  const mode = CIPHERS[name];
  if (mode === undefined) return undefined;
  return sessionFor(accelerator, key, name, usage, (algorithm, material) => {
    const { length } = algorithm as webcrypto.AesKeyAlgorithm;
    const own = `aes-${length}-${mode}` as CipherAlgorithm | AeadAlgorithm;
    return accelerator.cipherSession({ algorithm: own, key: material });
  });
}

export function macFor(
  accelerator: Accelerator,
  key: CryptoKey,
  usage: 'sign' | 'verify',
): MacSession | undefined {
  const { hash } = algorithmOf.call(key) as Partial<webcrypto.HmacKeyAlgorithm>;
  const digest = hash && DIGESTS[hash.name];
  if (digest === undefined) return undefined;
  return sessionFor(accelerator, key, 'HMAC', usage, (_, material) =>
    accelerator.hmacSession({ algorithm: digest, key: material }),
  );
}
