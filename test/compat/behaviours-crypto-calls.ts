import { realText } from '../support/corpus.js';
import { type Crypto, type CryptoBehaviour, seen } from './behaviours-crypto.js';
import { facts as allFacts, type Loose } from './support-behaviour.js';

/* What programs see of node:crypto's functions with a callback, and of their twins without one. */

const behaviours: CryptoBehaviour[] = [];
const sees = (name: string, see: CryptoBehaviour['see']): void => void behaviours.push({ name, see });

const SECRET = Buffer.from(realText.subarray(0, 20));
const SALT = Buffer.from(realText.subarray(30, 46));

/** Node:crypto adds to one message what an earlier call of anything may have left behind. */
function facts(error: unknown): object | undefined {
  const known = allFacts(error) as { message?: string } | undefined;
  return known && { ...known, message: known.message?.replace(/^(Invalid scrypt params): error:.*/, '$1') };
}

/** What a function returns or throws. */
function outcome(call: () => unknown): unknown {
  try {
    const value = call();
    return seen(() => value);
  } catch (error) {
    return facts(error);
  }
}

/** What a function throws, or calls back with. */
function called(call: (callback: (...given: unknown[]) => void) => unknown): Promise<unknown> {
  return new Promise((resolve) => {
    try {
      call((...given) =>
        resolve({ error: facts(given[0]), value: seen(() => given[1]), count: given.length }),
      );
    } catch (error) {
      resolve({ thrown: facts(error) });
    }
  });
}

const all = <T>(each: readonly T[], see: (one: T) => Promise<unknown>) => Promise.all(each.map(see));

const PBKDF2: unknown[][] = [
  [SECRET, SALT, 20_000, 32, 'sha256'],
  ['password', 'salt', 1, 20, 'sha1'],
  ['pässword', new Uint8Array(5), 10, 100, 'SHA512'],
  ['', '', 5, 16, 'sha384'],
  [SECRET, SALT, 5, 0, 'sha256'],
  [SECRET, SALT, 0, 16, 'sha256'],
  [SECRET, SALT, 1.5, 16, 'sha256'],
  [SECRET, SALT, -1, 16, 'sha256'],
  [SECRET, SALT, 5, -1, 'sha256'],
  [SECRET, SALT, 5, 70_000, 'sha256'],
  [SECRET, SALT, 5, 16, 'no'],
  [SECRET, SALT, 5, 16, undefined],
  [SECRET, SALT, 5, 16, 5],
  [5, SALT, 5, 16, 'sha256'],
  [SECRET, null, 5, 16, 'sha256'],
  [SECRET.buffer, new DataView(new ArrayBuffer(4)), 5, 16, 'md5'],
  [SECRET, SALT, '5', '16', 'sha256'],
];
const SCRYPT: unknown[][] = [
  [SECRET, SALT, 64],
  [SECRET, SALT, 32, {}],
  ['pässword', 'salt', 32, { N: 1024, r: 8, p: 2 }],
  [SECRET, SALT, 32, { cost: 1024, blockSize: 4, parallelization: 1 }],
  [SECRET, SALT, 32, { N: 1024, cost: 1024 }],
  [SECRET, SALT, 32, { N: 1000 }],
  [SECRET, SALT, 32, { N: 0, r: 0, p: 0, maxmem: 0 }],
  [SECRET, SALT, 32, { N: 1 }],
  [SECRET, SALT, 32, { N: 2 ** 15 }],
  [SECRET, SALT, 32, { N: 2 ** 15, maxmem: 2 ** 26 }],
  [SECRET, SALT, 32, { N: 16, r: 1, maxmem: 128 * 17 }],
  [SECRET, SALT, 32, { N: 16, r: 1, maxmem: 128 * 19 }],
  [SECRET, SALT, 32, { N: 16, r: 2, p: 3, maxmem: 128 * 2 * 21 }],
  [SECRET, SALT, 32, { N: 16, r: 2, p: 3, maxmem: 128 * 2 * 21 - 1 }],
  [SECRET, SALT, 32, { N: -1 }],
  [SECRET, SALT, 32, { N: '1024' }],
  [SECRET, SALT, 32, { N: null }],
  [SECRET, SALT, 32, { r: null, cost: 16 }],
  [SECRET, SALT, 32, { parallelization: null }],
  [SECRET, SALT, 32, { maxmem: null }],
  [SECRET, SALT, 32, { N: 65_536, r: 1 }],
  [SECRET, SALT, 32, { N: 32_768, r: 1 }],
  [SECRET, SALT, 32, { maxmem: -1 }],
  [SECRET, SALT, 32, null],
  [SECRET, SALT, 32, undefined],
  [SECRET, SALT, 0],
  [SECRET, SALT, -1],
  [SECRET, undefined, 32],
  [{}, SALT, 32],
];
const HKDF: unknown[][] = [
  ['sha256', SECRET, SALT, SALT, 42],
  ['SHA512', 'secret', '', '', 64],
  ['sha1', new Uint8Array(0), SALT, SALT, 20],
  ['sha256', SECRET, SALT, SALT, 0],
  ['sha256', SECRET, SALT, SALT, 255 * 32],
  ['sha256', SECRET, SALT, SALT, 255 * 32 + 1],
  ['md5', SECRET, SALT, SALT, 255 * 16],
  ['md5', SECRET, SALT, SALT, 255 * 16 + 1],
  ['sha256', SECRET, SALT, Buffer.alloc(1024), 16],
  ['sha256', SECRET, SALT, Buffer.alloc(1025), 16],
  ['sha256', SECRET, SALT, 5, 16],
  ['sha256', SECRET, undefined, SALT, 16],
  ['sha256', 5, SALT, SALT, 16],
  ['sha256', SECRET, SALT, SALT, -1],
  ['sha256', SECRET, SALT, SALT, '16'],
  ['no', SECRET, SALT, SALT, 16],
  [5, SECRET, SALT, SALT, 16],
  ['sha256', SECRET.buffer, SALT.buffer, SALT.buffer, 16],
];

for (const [name, table] of Object.entries({ pbkdf2: PBKDF2, scrypt: SCRYPT, hkdf: HKDF })) {
  sees(`${name}: arguments, right and wrong`, (crypto) =>
    all(table, (given) => called((back) => crypto[name](...given, back))),
  );
  sees(`${name}Sync: the same`, (crypto) =>
    table.map((given) => outcome(() => crypto[`${name}Sync`](...given))),
  );
  sees(`${name}: no callback`, (crypto) =>
    [undefined, null, 5, {}].map((back) => seen(() => crypto[name](...table[0]!, back))),
  );
}

sees('hkdf: keys', (crypto, node) => {
  // A public key would end the process, in Node 20.
  const keys = [node.createSecretKey(SECRET), SECRET];
  return all(keys, (key) => called((back) => crypto.hkdf('sha256', key, SALT, SALT, 32, back)));
});
sees('derivations: buffers that change, or go away, meanwhile', (crypto) => {
  const taken = (): Uint8Array<ArrayBuffer> => new Uint8Array(SECRET);
  return all(['change', 'go away'], async (what) => {
    const [secret, salt] = [taken(), taken()];
    const results = [
      called((back) => crypto.pbkdf2(secret, salt, 20_000, 32, 'sha256', back)),
      called((back) => crypto.scrypt(secret, salt, 32, { N: 1024 }, back)),
      called((back) => crypto.hkdf('sha256', secret, salt, salt, 32, back)),
    ];
    if (what === 'change') secret.fill(1);
    if (what === 'change') salt.fill(1);
    else structuredClone([secret, salt], { transfer: [secret.buffer, salt.buffer] });
    return Promise.all(results);
  });
});

/** Keys of every kind, the same for all. */
type Pair = { privateKey: Loose; publicKey: Loose };
const pairs = new Map<string, Pair>();
function pairOf(node: Crypto, name: string): Pair {
  let pair = pairs.get(name);
  if (!pair) {
    const [type, size] = name.split(' ') as [string, string | undefined];
    const options = type === 'ec' ? { namedCurve: size } : { modulusLength: Number(size) };
    pair = (node as Loose)['generateKeyPairSync'](type, size ? options : undefined) as Pair;
    pairs.set(name, pair);
  }
  return pair;
}

const KINDS = [
  'rsa 2048',
  'rsa 1024',
  'rsa-pss 2048',
  'ec P-256',
  'ec P-384',
  'ec P-521',
  'ed25519',
  'ed448',
];
const SIGNED: [unknown, Loose][] = [
  ['sha256', {}],
  ['SHA384', {}],
  ['RSA-SHA256', {}],
  ['sha3-256', {}],
  ['no', {}],
  [null, {}],
  [undefined, {}],
  [5, {}],
  ['sha256', { padding: 1 }],
  ['sha256', { padding: 6 }],
  ['sha256', { padding: 6, saltLength: -1 }],
  ['sha256', { padding: 6, saltLength: 20 }],
  ['sha256', { padding: 6, saltLength: 500 }],
  ['sha256', { padding: 6, saltLength: 'x' }],
  ['sha256', { padding: 99 }],
  ['sha256', { dsaEncoding: 'ieee-p1363' }],
  ['sha256', { dsaEncoding: 'der' }],
  ['sha256', { dsaEncoding: 'no' }],
  [null, { dsaEncoding: 'ieee-p1363' }],
];

/** Whether a signature is right: it need not be the same every time. */
for (const kind of KINDS) {
  sees(`sign, verify: ${kind}`, (crypto, node) => {
    const { privateKey, publicKey } = pairOf(node, kind);
    return all(SIGNED, async ([algorithm, options]) => {
      const key = Object.keys(options).length > 0 ? { key: privateKey, ...options } : privateKey;
      const other = Object.keys(options).length > 0 ? { key: publicKey, ...options } : publicKey;
      const result = await new Promise<{ error?: unknown; signature?: Buffer }>((resolve) => {
        try {
          crypto.sign(algorithm as string, SECRET, key as never, (error, signature) =>
            resolve({ error, signature }),
          );
        } catch (error) {
          resolve({ error });
        }
      });
      if (!result.signature) return facts(result.error);
      const { signature } = result;
      const wrong = Buffer.from(signature);
      wrong[wrong.length - 1]! ^= 1;
      const tries = [
        signature,
        wrong,
        signature.subarray(0, -1),
        Buffer.alloc(0),
        SECRET,
        Buffer.concat([signature, SALT]),
      ];
      return [
        signature.buffer.byteLength === signature.length || 'shared',
        node.verify(algorithm as string, SECRET, other as never, signature),
        await all(tries, (each) =>
          called((back) => crypto.verify(algorithm as string, SECRET, other as never, each, back)),
        ),
        await called((back) => crypto.verify(algorithm as string, SALT, other as never, signature, back)),
        await called((back) => crypto.verify(algorithm as string, SECRET, key as never, signature, back)),
      ];
    });
  });
}

sees('sign, verify: arguments that are wrong', (crypto, node) => {
  const { privateKey, publicKey } = pairOf(node, 'ec P-256');
  const pem = privateKey['export']({ type: 'pkcs8', format: 'pem' });
  const wrong: unknown[] = [
    undefined,
    null,
    5,
    {},
    'text',
    publicKey,
    node.createSecretKey(SECRET),
    pem,
    { key: pem },
  ];
  return all(wrong, async (key) => [
    await called((back) => crypto.sign('sha256', SECRET, key as never, (error) => back(error, undefined))),
    await called((back) => crypto.verify('sha256', SECRET, key as never, SALT, back)),
    await called((back) => crypto.verify('sha256', SECRET, publicKey as never, key as never, back)),
    await called((back) =>
      crypto.sign('sha256', key as never, privateKey as never, (error) => back(error, undefined)),
    ),
    seen(() => typeof (crypto as Loose)['sign']('sha256', SECRET, privateKey, key)),
  ]);
});
sees('sign, verify: data that changes meanwhile', async (crypto, node) => {
  const { privateKey, publicKey } = pairOf(node, 'ed25519');
  const data = Buffer.from(SECRET);
  const signing = new Promise<Buffer>((resolve) =>
    crypto.sign(null, data, privateKey as never, (_, made) => resolve(made)),
  );
  data.fill(1);
  const signature = await signing;
  const copy = Buffer.from(signature);
  const verdict = called((back) => crypto.verify(null, SECRET, publicKey as never, copy, back));
  copy.fill(1);
  return [signature.toString('hex'), await verdict];
});
sees('sign, verify and what makes objects, synchronous', (crypto, node) => {
  const { privateKey, publicKey } = pairOf(node, 'ed25519');
  const rsa = pairOf(node, 'rsa 2048');
  const signature = crypto.sign(null, SECRET, privateKey as never);
  return [
    signature.toString('hex'),
    crypto.verify(null, SECRET, publicKey as never, signature),
    crypto
      .createSign('sha256')
      .update('x')
      .sign(rsa.privateKey as never, 'hex'),
    seen(() => crypto.createSign('no')),
    seen(() =>
      crypto
        .createVerify('sha256')
        .update('x')
        .verify(rsa.publicKey as never, 'ab', 'hex'),
    ),
  ];
});
sees('callbacks: where they run, and what they throw', async (crypto) => {
  let isSync = true;
  const late = called((back) => crypto.hkdf('sha256', SECRET, SALT, SALT, 8, () => back(null, isSync)));
  isSync = false;
  const caught = new Promise((resolve) =>
    process.once('uncaughtException', (error) => resolve(facts(error))),
  );
  const others = process.listeners('uncaughtException').slice(0, -1);
  for (const other of others) process.off('uncaughtException', other);
  crypto.hkdf('sha256', SECRET, SALT, SALT, 8, () => {
    throw new Error('from the callback');
  });
  const error = await caught;
  for (const other of others) process.on('uncaughtException', other);
  return [await late, error];
});

export const CRYPTO_CALL_BEHAVIOURS: readonly CryptoBehaviour[] = behaviours;
