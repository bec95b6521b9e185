import type { webcrypto } from 'node:crypto';
import { realText } from '../support/corpus.js';
import type { SubtleBehaviour } from './behaviours-subtle.js';
import { facts, resolved } from './support-behaviour.js';

/* What programs see of Web Cryptography's derivations and signatures. */

type Subtle = webcrypto.SubtleCrypto;
// biome-ignore lint/suspicious/noExplicitAny: what is passed is wrong on purpose
type Loose = any;

const SECRET = new Uint8Array(realText.subarray(0, 20));
const SALT = new Uint8Array(realText.subarray(30, 46));

const behaviours: SubtleBehaviour[] = [];
const sees = (name: string, see: SubtleBehaviour['see']): void => void behaviours.push({ name, see });
const all = <T>(each: readonly T[], see: (one: T) => Promise<unknown>) => Promise.all(each.map(see));

const LENGTHS: Loose[] = [
  8,
  128,
  256,
  1000,
  1001,
  4080 * 8,
  255 * 32 * 8,
  255 * 32 * 8 + 8,
  0,
  null,
  undefined,
  -8,
  '128',
  2 ** 32,
];
const DERIVATIONS: Record<string, Loose[]> = {
  PBKDF2: [
    { iterations: 20_000 },
    { iterations: 0 },
    { iterations: 1.5 },
    { iterations: '100' },
    { iterations: -1 },
    {},
    { iterations: 5, salt: new Uint8Array(0) },
    { iterations: 5, salt: 'text' },
    { iterations: 5, salt: SALT.buffer },
    { iterations: 5, hash: 'sha-512' },
    { iterations: 5, hash: { name: 'SHA-1' } },
    { iterations: 5, hash: 'MD5' },
    { iterations: 5, hash: undefined },
  ],
  HKDF: [
    { info: SALT },
    { info: new Uint8Array(0) },
    { info: new Uint8Array(1024) },
    { info: new Uint8Array(1025) },
    { info: 'text' },
    {},
    { info: SALT, salt: new Uint8Array(0) },
    { info: SALT, salt: undefined },
    { info: SALT, hash: 'SHA-384' },
    { info: SALT, hash: 'none' },
  ],
};

for (const [name, parameters] of Object.entries(DERIVATIONS)) {
  const keyOf = (subtle: Subtle, usages: Loose = ['deriveBits', 'deriveKey']) =>
    subtle.importKey('raw', SECRET, name, false, usages);
  const usual = { name, salt: SALT, hash: 'SHA-256' };
  sees(`${name}: parameters`, async (subtle) => {
    const key = await keyOf(subtle);
    return all(parameters, (more) => resolved(() => subtle.deriveBits({ ...usual, ...more }, key, 256)));
  });
  sees(`${name}: lengths`, async (subtle) => {
    const key = await keyOf(subtle);
    return all(LENGTHS, (length) =>
      resolved(() => subtle.deriveBits({ ...usual, ...parameters[0] }, key, length)),
    );
  });
  sees(`${name}: keys that are not for it, or of Node's own`, async (subtle, node) => {
    const algorithm = { ...usual, ...parameters[0] };
    const other = await subtle.importKey('raw', SECRET, name === 'HKDF' ? 'PBKDF2' : 'HKDF', false, [
      'deriveBits',
    ]);
    const keys = [await keyOf(subtle, ['deriveKey']), other, await keyOf(node), {}, undefined];
    return all<Loose>(keys, (key) => resolved(() => subtle.deriveBits(algorithm, key, 128)));
  });
  sees(`${name}: keys made of it`, async (subtle) => {
    const made = await subtle.deriveKey(
      { ...usual, ...parameters[0] },
      await keyOf(subtle),
      { name: 'AES-GCM', length: 256 },
      true,
      ['encrypt'],
    );
    return resolved(() => subtle.exportKey('raw', made));
  });
  sees(`${name}: buffers that change meanwhile`, async (subtle) => {
    const [secret, salt] = [SECRET.slice(), SALT.slice()];
    const importing = subtle.importKey('raw', secret, name, false, ['deriveBits']);
    secret.fill(1);
    const key = await importing;
    const deriving = resolved(() => subtle.deriveBits({ ...usual, ...parameters[0], salt }, key, 128));
    salt.fill(1);
    return deriving;
  });
}

const KEYS: Record<string, Loose> = {
  'RSASSA-PKCS1-v1_5': { modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' },
  'RSA-PSS': { modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-384' },
  'ECDSA P-256': { namedCurve: 'P-256' },
  'ECDSA P-384': { namedCurve: 'P-384' },
  'ECDSA P-521': { namedCurve: 'P-521' },
  Ed25519: {},
};
const SIGNING: Loose[] = [
  { hash: 'SHA-256', saltLength: 32 },
  { hash: 'sha-512', saltLength: 0 },
  { hash: { name: 'SHA-1' }, saltLength: 300 },
  { hash: 'none', saltLength: -1 },
  { saltLength: '16' },
  {},
];

for (const [what, parameters] of Object.entries(KEYS)) {
  const name = what.split(' ')[0]!;
  for (const extractable of [true, false]) {
    sees(
      `${what}: signatures with a key that may ${extractable ? '' : 'not '}be exported`,
      async (subtle, node) => {
        const made = await node.generateKey({ name, ...parameters } as Loose, extractable, [
          'sign',
          'verify',
        ]);
        const { privateKey, publicKey } = made as webcrypto.CryptoKeyPair;
        return all(SIGNING, async (more) => {
          const algorithm = { name, ...more };
          const signed = await subtle.sign(algorithm, privateKey, SECRET).catch(facts);
          if (!(signed instanceof ArrayBuffer)) return signed;
          const bytes = new Uint8Array(signed);
          const wrong = bytes.map((byte, i) => (i === 3 ? byte ^ 1 : byte));
          const tries = [
            bytes,
            wrong,
            bytes.subarray(0, -1),
            new Uint8Array(0),
            new Uint8Array(bytes.length),
          ];
          return [
            bytes.length,
            await node.verify(algorithm, publicKey, signed, SECRET),
            await all(tries, (each) => resolved(() => subtle.verify(algorithm, publicKey, each, SECRET))),
            await resolved(() => subtle.verify(algorithm, publicKey, bytes, SALT)),
            await resolved(() => subtle.verify(algorithm, privateKey, bytes, SECRET)),
            await resolved(() => subtle.sign(algorithm, publicKey, SECRET)),
            await resolved(() => subtle.verify('HMAC', publicKey, bytes, SECRET)),
          ];
        });
      },
    );
  }
}

export const SUBTLE_KEY_BEHAVIOURS: readonly SubtleBehaviour[] = behaviours;
