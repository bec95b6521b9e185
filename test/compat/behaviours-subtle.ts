import type { webcrypto } from 'node:crypto';
import { realText } from '../support/corpus.js';
import { resolved } from './support-behaviour.js';

/* What programs see of Web Cryptography, where it does not depend on chance. */

type Subtle = webcrypto.SubtleCrypto;
// biome-ignore lint/suspicious/noExplicitAny: what is passed is wrong on purpose
type Loose = any;

export interface SubtleBehaviour {
  name: string;
  /** @param node Node's own, whatever is tested, for what has to be made first */
  see: (subtle: Subtle, node: Subtle) => unknown;
}

const SIZES = [0, 1, 16, 100, 4096, 70_000, 1_000_000];
const HASHES = ['SHA-1', 'SHA-256', 'SHA-384', 'SHA-512'];
const AES_KEYS = [16, 24, 32].map((size) => realText.subarray(0, size));
const IV = realText.subarray(100, 112);
const BLOCK = realText.subarray(200, 216);

const behaviours: SubtleBehaviour[] = [];
const sees = (name: string, see: SubtleBehaviour['see']): void => void behaviours.push({ name, see });
const all = <T>(each: readonly T[], see: (one: T) => Promise<unknown>) => Promise.all(each.map(see));
const aes = (subtle: Subtle, name: string, raw: Uint8Array, usages: Loose = ['encrypt', 'decrypt']) =>
  subtle.importKey('raw', raw, name, false, usages);

const DATA: Record<string, () => Loose> = {
  'an ArrayBuffer': () => new Uint8Array(realText.subarray(0, 500)).buffer,
  'a DataView': () => new DataView(new Uint8Array(realText.subarray(0, 500)).buffer, 10, 300),
  'a Uint16Array': () => new Uint16Array(new Uint8Array(realText.subarray(0, 500)).buffer),
  'a SharedArrayBuffer': () => new SharedArrayBuffer(20),
  'a view of one': () => new Uint8Array(new SharedArrayBuffer(20)),
  'a transferred buffer': () => {
    const bytes = new Uint8Array(100);
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    return bytes;
  },
  'a string': () => 'text',
  nothing: () => undefined,
  null: () => null,
  'a number': () => 5,
};

for (const hash of HASHES) {
  sees(`digest: ${hash} of many sizes`, (subtle) =>
    all(SIZES, (size) => resolved(() => subtle.digest(hash, realText.subarray(0, size)))),
  );
  sees(`HMAC with ${hash}: sign and verify`, async (subtle, node) => {
    const algorithm = { name: 'HMAC', hash };
    const key = await subtle.importKey('raw', AES_KEYS[2]!, algorithm, false, ['sign', 'verify']);
    return all(SIZES, async (size) => {
      const data = realText.subarray(0, size);
      const code = new Uint8Array(await subtle.sign('HMAC', key, data));
      const wrong = code.map((byte, i) => (i === 3 ? byte ^ 1 : byte));
      const checks = await all([code, wrong, code.subarray(1), new Uint8Array(0)], (each) =>
        resolved(() => subtle.verify('hmac', key, each, data)),
      );
      return [Buffer.from(code).toString('hex'), checks, await node.verify('HMAC', key, code, data)];
    });
  });
}

sees('HMAC with hashes that newer versions of Node have', (subtle) =>
  all(['SHA3-256', 'SHA3-512'], (hash) =>
    resolved(async () => {
      const algorithm = { name: 'HMAC', hash };
      const key = await subtle.importKey('raw', AES_KEYS[2]!, algorithm, false, ['sign', 'verify']);
      return subtle.sign('HMAC', key, BLOCK);
    }),
  ),
);

for (const [what, data] of Object.entries(DATA)) {
  sees(`digest: of ${what}`, (subtle) => resolved(() => subtle.digest('SHA-256', data())));
  sees(`AES-GCM: encrypts ${what}`, async (subtle) => {
    const key = await aes(subtle, 'AES-GCM', AES_KEYS[2]!);
    return resolved(() => subtle.encrypt({ name: 'AES-GCM', iv: IV }, key, data()));
  });
  sees(`AES-GCM: ${what} as iv, and as additional data`, async (subtle) => {
    const key = await aes(subtle, 'AES-GCM', AES_KEYS[2]!);
    return all<Loose>([{ iv: data() }, { iv: IV, additionalData: data() }], (more) =>
      resolved(() => subtle.encrypt({ name: 'AES-GCM', ...more }, key, BLOCK)),
    );
  });
}

sees('digest: names of algorithms', (subtle) =>
  all<Loose>(
    ['sha-256', { name: 'Sha-256' }, {}, 'SHA-3', 'MD5', '', undefined, null, 5, { name: 5 }],
    (name) => resolved(() => subtle.digest(name, BLOCK)),
  ),
);
sees('digest: too few arguments', (subtle) => resolved(() => (subtle as Loose).digest('SHA-256')));

const MODES: Record<string, Loose[]> = {
  'AES-GCM': [
    { iv: IV },
    { iv: BLOCK },
    { iv: IV, additionalData: realText.subarray(0, 50) },
    { iv: IV, tagLength: 128 },
    { iv: IV, tagLength: 96 },
    { iv: IV, tagLength: 100 },
    { iv: IV, tagLength: '128' },
    { iv: realText.subarray(0, 1) },
    { iv: realText.subarray(0, 300) },
    {},
  ],
  'AES-CBC': [{ iv: BLOCK }, { iv: IV }, {}],
  'AES-CTR': [
    { counter: BLOCK, length: 128 },
    { counter: BLOCK, length: 64 },
    { counter: new Uint8Array(16).fill(255), length: 128 },
    { counter: new Uint8Array(16).fill(255), length: 1 },
    { counter: IV, length: 128 },
    { counter: BLOCK },
  ],
};

for (const [name, parameters] of Object.entries(MODES)) {
  for (const raw of AES_KEYS) {
    sees(`${name} with ${raw.length * 8} bits: there and back`, async (subtle) => {
      const key = await aes(subtle, name, raw);
      return all(parameters, (more) =>
        all(SIZES, async (size) => {
          const algorithm = { name, ...more };
          const data = realText.subarray(0, size);
          const packed = await resolved(() => subtle.encrypt(algorithm, key, data));
          if (typeof packed !== 'string') return packed;
          const bytes = Buffer.from(packed.slice('buffer '.length), 'base64');
          const back = await resolved(() => subtle.decrypt(algorithm, key, bytes));
          const wrong = Buffer.from(bytes);
          if (wrong.length > 0) wrong[wrong.length >> 1]! ^= 1;
          const rest = [wrong, bytes.subarray(0, -1), bytes.subarray(0, 5)];
          return [
            packed,
            back,
            await all(rest, (each) => resolved(() => subtle.decrypt(algorithm, key, each))),
          ];
        }),
      );
    });
  }
  sees(`${name}: keys that are not for it`, async (subtle) => {
    const other = name === 'AES-GCM' ? 'AES-CBC' : 'AES-GCM';
    const algorithm = { name, ...parameters[0] };
    const mac = { name: 'HMAC', hash: 'SHA-256' };
    const keys: Loose[] = [
      await aes(subtle, other, AES_KEYS[0]!),
      await aes(subtle, name, AES_KEYS[0]!, ['decrypt']),
      await aes(subtle, name, AES_KEYS[0]!, ['encrypt']),
      await subtle.importKey('raw', BLOCK, mac, false, ['sign']),
      undefined,
      null,
      {},
      AES_KEYS[0],
    ];
    const pretender = await aes(subtle, name, AES_KEYS[0]!, ['decrypt']);
    Object.defineProperty(pretender, 'usages', { value: ['encrypt', 'decrypt'] });
    keys.push(pretender, Object.create(Object.getPrototypeOf(pretender)));
    return all(keys, async (key) => [
      await resolved(() => subtle.encrypt(algorithm, key, BLOCK)),
      (await resolved(() => subtle.decrypt(algorithm, key, BLOCK))) !== undefined,
    ]);
  });
}

sees('a key that cannot be exported stays so after its use', async (subtle) => {
  const key = await aes(subtle, 'AES-GCM', AES_KEYS[2]!);
  await subtle.encrypt({ name: 'AES-GCM', iv: IV }, key, BLOCK);
  return [
    await resolved(() => subtle.exportKey('raw', key)),
    Reflect.ownKeys(key).filter((name) => typeof name === 'string'),
  ];
});

sees('data that is changed meanwhile', async (subtle) => {
  const key = await aes(subtle, 'AES-GCM', AES_KEYS[2]!);
  const data = Buffer.alloc(1_000_000, realText.subarray(0, 1000));
  const work = resolved(() => subtle.encrypt({ name: 'AES-GCM', iv: IV }, key, data));
  data.fill(0);
  return work;
});

sees('everything that is changed as soon as a call has returned', async (subtle) => {
  const key = await aes(subtle, 'AES-CBC', AES_KEYS[1]!);
  const iv = Buffer.from(BLOCK);
  const data = Buffer.alloc(100_000, realText.subarray(0, 1000));
  const packed = await all([0, 1, 2, 3], () => {
    const work = resolved(() => subtle.encrypt({ name: 'AES-CBC', iv }, key, data));
    iv[15]!++;
    data[0]!++;
    return work;
  });
  data.fill(0);
  const gcm = await aes(subtle, 'AES-GCM', AES_KEYS[0]!);
  const algorithm = { name: 'AES-GCM', iv: Buffer.from(IV), additionalData: Buffer.from(BLOCK) };
  const sealed = Buffer.from(await subtle.encrypt(algorithm, gcm, BLOCK));
  // One that fails is read again by Node's own.
  const wrong = Buffer.from(sealed).fill(0, 0, 1);
  const opened = resolved(() => subtle.decrypt(algorithm, gcm, wrong));
  sealed.copy(wrong);
  const right = resolved(() => subtle.decrypt(algorithm, gcm, sealed));
  algorithm.additionalData.fill(0);
  algorithm.iv.fill(0);
  sealed.fill(0);
  return [packed, await opened, await right];
});

sees('methods that are left to Node', async (subtle) => {
  const key = await subtle.importKey('raw', AES_KEYS[0]!, 'PBKDF2', false, ['deriveBits']);
  const algorithm = { name: 'PBKDF2', salt: BLOCK, iterations: 10, hash: 'SHA-256' };
  const made = (await subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['encrypt'])) as Loose;
  return [await resolved(() => subtle.deriveBits(algorithm, key, 256)), made.algorithm, made.extractable];
});

export const SUBTLE_BEHAVIOURS: readonly SubtleBehaviour[] = behaviours;
