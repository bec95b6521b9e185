import type nodeCrypto from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { realText } from '../support/corpus.js';
import { facts, type Loose } from './support-behaviour.js';

/* What programs see of node:crypto's objects for digests, codes and messages, where it does not depend on chance. */

export type Crypto = typeof nodeCrypto & Loose;

export interface CryptoBehaviour {
  name: string;
  see: (crypto: Crypto, node: Crypto) => unknown;
}

/** Keys that the tests use throughout: ours knows them by then. */
export const KEY = Buffer.from(realText.subarray(0, 32));
export const IV = Buffer.from(realText.subarray(40, 52));
const TEXT = 'text that is encrypted \u{1f512} and decrypted, ä';
const SIZES = [0, 1, 16, 100, 255, 256, 257, 496, 512, 513, 1024, 4096, 4097, 20_000];

/** A value, or what was thrown, in a form that can be compared. */
export function seen(call: () => unknown): unknown {
  try {
    return shown(call());
  } catch (error) {
    return facts(error);
  }
}

function shown(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shown);
  if (value instanceof Uint8Array) {
    const { byteOffset, byteLength, buffer } = value;
    const isAlone = byteOffset === 0 && buffer.byteLength === byteLength;
    return `${value.constructor.name} ${isAlone ? '' : 'shared '}${Buffer.from(value).toString('base64')}`;
  }
  if (value instanceof ArrayBuffer) return `ArrayBuffer ${Buffer.from(value).toString('base64')}`;
  return typeof value === 'object' && value !== null ? 'object' : value;
}

const behaviours: CryptoBehaviour[] = [];
const sees = (name: string, see: CryptoBehaviour['see']): void => void behaviours.push({ name, see });

const OUTPUTS = [
  undefined,
  null,
  '',
  'buffer',
  'hex',
  'base64',
  'base64url',
  'latin1',
  'binary',
  'utf8',
  'UTF-8',
  'HEX',
  'no',
  5,
];
const INPUTS = [undefined, null, 'utf8', 'utf-8', 'latin1', 'hex', 'base64', 'buffer', 'ucs2', 'no', 5];
const TEXTS = ['', 'text', 'ä\u{1f512}', '\ud800 alone', '616263', '61626', 'YWJj', 'x'.repeat(3000)];
const NO_DATA = [undefined, null, 5, {}, [], true, Symbol('s'), new ArrayBuffer(3), () => {}];

/** Makes objects that digest, either kind. */
const DIGESTS: Record<string, (crypto: Crypto, algorithm?: string) => Loose> = {
  createHash: (crypto, algorithm = 'sha256') => crypto.createHash(algorithm),
  createHmac: (crypto, algorithm = 'sha256') => crypto.createHmac(algorithm, KEY),
};

for (const [name, make] of Object.entries(DIGESTS)) {
  sees(`${name}: algorithms and sizes`, (crypto) =>
    [
      'md5',
      'sha1',
      'sha256',
      'SHA256',
      'sha384',
      'SHA512',
      'sha512-256',
      'sha3-256',
      'RSA-SHA256',
      'Sha256',
      'no',
      '',
    ].map((algorithm) =>
      SIZES.map((size) =>
        seen(() => make(crypto, algorithm).update(realText.subarray(0, size)).digest('hex')),
      ),
    ),
  );
  sees(`${name}: encodings of the result`, (crypto) =>
    OUTPUTS.map((output) =>
      ['text', realText.subarray(0, 50)].map((data) => seen(() => make(crypto).update(data).digest(output))),
    ),
  );
  sees(`${name}: encodings of data`, (crypto) =>
    TEXTS.map((text) => INPUTS.map((input) => seen(() => make(crypto).update(text, input).digest('hex')))),
  );
  sees(`${name}: what is no data`, (crypto) => NO_DATA.map((data) => seen(() => make(crypto).update(data))));
  sees(`${name}: all kinds of views`, (crypto) => {
    const { buffer } = new Uint8Array(realText.subarray(0, 64));
    return [
      new DataView(buffer, 3, 9),
      new Uint16Array(buffer, 2, 9),
      new Float64Array(buffer),
      new Uint8Array(new SharedArrayBuffer(9)),
    ].map((view) => seen(() => make(crypto).update(view).digest('hex')));
  });
  sees(`${name}: data in several parts`, (crypto) =>
    [
      ['a', 'b'],
      ['a', Buffer.from('b')],
      [Buffer.from('a'), 'b', ''],
      [Buffer.from('a'), Buffer.alloc(0), Buffer.alloc(9000)],
      ['', ''],
      [],
    ].map((parts) =>
      seen(() => {
        const object = make(crypto);
        for (const part of parts) object['update'](part);
        return object['digest']('hex');
      }),
    ),
  );
  sees(`${name}: buffers that change, or go away, after they were given`, (crypto) => {
    const bytes = new Uint8Array(100).fill(7);
    const first = make(crypto)['update'](bytes);
    bytes.fill(9);
    const second = make(crypto)['update'](bytes);
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    return [first.digest('hex'), second.digest('hex'), seen(() => make(crypto).update(bytes).digest('hex'))];
  });
  sees(`${name}: objects that take turns`, (crypto) => {
    const objects = [1, 2, 3].map((i) => make(crypto)['update'](Buffer.alloc(i * 20, i)));
    objects[1].update('more');
    return objects.map((object) => object.digest('hex'));
  });
  sees(`${name}: after the digest`, (crypto) =>
    ['update', 'digest', 'copy', '_flush'].map((method) => {
      const object = make(crypto)['update']('text');
      object.digest('hex');
      return ['hex', undefined].map((argument) => seen(() => object[method]?.(argument)));
    }),
  );
  sees(`${name}: a digest of nothing, twice`, (crypto) => {
    const object = make(crypto);
    return [
      seen(() => object['digest']()),
      seen(() => object['digest']()),
      seen(() => object['digest']('hex')),
    ];
  });
  sees(`${name}: a result that fails leaves it as it was`, (crypto) => {
    const object = make(crypto)['update']('text');
    return [
      seen(() => object.digest(Symbol('s'))),
      seen(() => object.update(5)),
      seen(() => object.digest('hex')),
    ];
  });
  sees(`${name}: a stream`, async (crypto) => {
    const object = make(crypto);
    const events: string[] = [];
    for (const event of ['finish', 'end', 'close', 'readable']) object['on'](event, () => events.push(event));
    object['write']('some ');
    object['end'](realText.subarray(0, 300));
    const parts: Buffer[] = [];
    for await (const part of object as never as AsyncIterable<Buffer>) parts.push(part);
    return [shown(Buffer.concat(parts)), events];
  });
  sees(`${name}: a stream that was updated before`, async (crypto) => {
    const object = make(crypto);
    object['setEncoding']('hex');
    object['update']('first');
    await pipeline([realText.subarray(0, 900)], object as never);
    return shown(object['read']());
  });
  sees(`${name}: destroyed in the middle`, async (crypto) => {
    const object = make(crypto);
    object['write']('text');
    const end = new Promise((resolve) => object['on']('error', (error: unknown) => resolve(facts(error))));
    object['destroy'](new Error('enough'));
    return [await end, object['destroyed'], seen(() => object['digest']('hex'))];
  });
  sees(`${name}: what it is`, (crypto, node) => {
    const object = make(crypto);
    const Class = name === 'createHash' ? node.Hash : node.Hmac;
    return [
      object instanceof Class,
      object.constructor === node.createHash('md5').constructor || object.constructor.name,
      typeof object['_writableState'],
      object['writable'],
      object['readable'],
      object['readableFlowing'],
      typeof object['_options'],
      object['update']('x') === object,
      Object.prototype.toString.call(object),
    ];
  });
  sees(`${name}: node:crypto's own methods on it`, (crypto, node) => {
    const { prototype } = (name === 'createHash' ? node.Hash : node.Hmac) as unknown as { prototype: Loose };
    const object = make(crypto)['update']('one');
    prototype['update'].call(object, 'two');
    return prototype['digest'].call(object, 'hex');
  });
}

sees('createHash: copies, before and after data', (crypto) => {
  const object = crypto.createHash('sha256');
  const empty = object.copy();
  object.update('text');
  const copy = object.copy();
  copy.update('more');
  return [empty, object, copy].map((each) => each.digest('hex'));
});
sees('createHash: options', (crypto) =>
  [
    null,
    {},
    { outputLength: 5 },
    { outputLength: 32 },
    { outputLength: -1 },
    { highWaterMark: 5 },
    5,
    'x',
  ].flatMap((options) =>
    ['sha256', 'shake128'].map((algorithm) =>
      seen(() =>
        crypto
          .createHash(algorithm, options as never)
          .update('x')
          .digest('hex'),
      ),
    ),
  ),
);
sees('createHash, createHmac: no algorithms', (crypto) =>
  [undefined, null, 5, {}, Symbol('s')].map((algorithm) => [
    seen(() => crypto.createHash(algorithm as never)),
    seen(() => crypto.createHmac(algorithm as never, KEY)),
  ]),
);
sees('hash: data, encodings and algorithms', (crypto) => [
  OUTPUTS.map((output) =>
    ['', 'text', realText.subarray(0, 3000)].map((data) =>
      seen(() => (crypto as Loose)['hash']('sha256', data, output)),
    ),
  ),
  NO_DATA.map((data) => seen(() => (crypto as Loose)['hash']('sha256', data, 'buffer'))),
  ['md5', 'sha512', 'SHA1', 'no', 5, undefined].map((algorithm) =>
    seen(() => (crypto as Loose)['hash'](algorithm, 'x', 'buffer')),
  ),
]);
sees('createHmac: keys of all kinds', (crypto, node) => {
  const { buffer } = new Uint8Array(KEY);
  const keys = [
    KEY,
    KEY.toString('latin1'),
    'ä'.repeat(60),
    '',
    Buffer.alloc(0),
    Buffer.alloc(200, 1),
    'x'.repeat(300),
    buffer,
  ];
  const objects = [
    node.createSecretKey(KEY),
    node.createSecretKey(Buffer.alloc(300, 5)),
    node.generateKeyPairSync('ed25519').publicKey,
  ];
  const wrong = [undefined, null, 5, {}, []];
  return [...keys, new DataView(buffer), ...objects, ...wrong].map((key) =>
    [1, 2, 3].map(() =>
      seen(() =>
        crypto
          .createHmac('sha512', key as never)
          .update('text')
          .digest('hex'),
      ),
    ),
  );
});
sees('createHmac: a key that changes after it was given', (crypto) =>
  [1, 2, 3].map((i) => {
    const key = Buffer.from(KEY);
    const objects = ['a', undefined].map((data) => {
      const object = crypto.createHmac('sha1', key);
      return data === undefined ? object : object.update(data);
    });
    key.fill(i);
    return objects.map((object) => [
      object.update('b').digest('hex'),
      seen(() => crypto.createHmac('sha1', key).update('b').digest('hex')),
    ]);
  }),
);
sees('createHmac: options', (crypto) =>
  [null, {}, { encoding: 'hex' }, { encoding: 'no' }, 5].map((options) =>
    seen(() =>
      crypto
        .createHmac('sha256', 'abcd', options as never)
        .update('x')
        .digest('hex'),
    ),
  ),
);

/** A message encrypted: parts and tag, as they come. */
function sealed(crypto: Crypto, data: unknown, more: Loose = {}): unknown {
  const { algorithm = 'aes-256-gcm', key = KEY, iv = IV, options, aad, input, output, end = output } = more;
  const cipher = crypto.createCipheriv(algorithm, key, iv, options) as Loose;
  if (aad !== undefined) cipher['setAAD'](aad);
  const parts = [cipher['update'](data, input, output), cipher['final'](end)];
  return cipher['getAuthTag'] && /gcm/i.test(algorithm) ? [...parts, cipher['getAuthTag']()] : parts;
}

const IV_16 = Buffer.concat([IV, IV.subarray(0, 4)]);
sees('createCipheriv: algorithms and sizes', (crypto) =>
  ['gcm', 'cbc', 'ctr', 'GCM'].flatMap((mode) =>
    [16, 24, 32].map((bytes) =>
      SIZES.map((size) => {
        const iv = /gcm/i.test(mode) ? IV : IV_16;
        const more = { algorithm: `aes-${bytes * 8}-${mode}`, key: KEY.subarray(0, bytes), iv };
        return [1, 2, 3].map(() => seen(() => sealed(crypto, realText.subarray(0, size), more)));
      }),
    ),
  ),
);
sees('createCipheriv: encodings', (crypto) =>
  TEXTS.map((data) =>
    INPUTS.map((input) => OUTPUTS.map((output) => seen(() => sealed(crypto, data, { input, output })))),
  ),
);
sees('createCipheriv: encodings that change', (crypto) =>
  OUTPUTS.map((output) => OUTPUTS.map((end) => seen(() => sealed(crypto, 'text', { output, end })))),
);
sees('createCipheriv: additional data, keys and ivs', (crypto, node) =>
  [
    { aad: realText.subarray(0, 20) },
    { aad: Buffer.alloc(0) },
    { aad: Buffer.alloc(2000) },
    { aad: 'text' },
    { aad: 5 },
    { aad: new DataView(new ArrayBuffer(5)) },
    { key: KEY.toString('latin1') },
    { key: 'k'.repeat(32) },
    { key: 'ä'.repeat(16) },
    { key: node.createSecretKey(KEY) },
    { key: node.createSecretKey(KEY.subarray(1)) },
    { key: KEY.subarray(1) },
    { key: '' },
    { key: undefined },
    { key: 5 },
    { iv: Buffer.alloc(16) },
    { iv: Buffer.alloc(0) },
    { iv: '123456789012' },
    { iv: null },
    { iv: undefined },
    { iv: IV.buffer },
    { options: { authTagLength: 16 } },
    { options: { authTagLength: 12 } },
    { options: { authTagLength: 3 } },
    { options: { authTagLength: 16, highWaterMark: 5 } },
    { options: null },
    { algorithm: 'aes-256-nope' },
    { algorithm: undefined },
    { algorithm: 'chacha20-poly1305' },
  ].map((more) => [1, 2, 3].map(() => seen(() => sealed(crypto, TEXT, more)))),
);
sees('createCipheriv: keys as text, and how it is to be read', (crypto) =>
  [
    { key: 'é'.repeat(16), options: { encoding: 'utf16le' } },
    { key: 'k'.repeat(32), options: { encoding: 'utf8' } },
    { key: KEY.toString('hex'), options: { encoding: 'hex' } },
    { key: KEY.toString('base64'), options: { encoding: 'base64' } },
    { key: 'k'.repeat(32), options: { encoding: 'hex' } },
  ].map((more) => [1, 2, 3].map(() => seen(() => sealed(crypto, TEXT, more)))),
);
sees('createDecipheriv: shorter tags than was said', (crypto, node) => {
  const cipher = node.createCipheriv('aes-256-gcm', KEY, IV);
  const data = Buffer.concat([cipher.update(TEXT), cipher.final()]);
  const tag = cipher.getAuthTag();
  const opened = (length: number): unknown => {
    const decipher = crypto.createDecipheriv('aes-256-gcm', KEY, IV, { authTagLength: 16 });
    decipher.setAuthTag(tag.subarray(0, length));
    return [decipher.update(data), decipher.final()];
  };
  return [4, 8, 12, 13, 14, 15, 16].map((length) => [1, 2, 3].map(() => seen(() => opened(length))));
});
sees('createCipheriv: what is no data', (crypto) => NO_DATA.map((data) => seen(() => sealed(crypto, data))));
sees('createCipheriv: buffers that change after they were given', (crypto) => {
  const [key, iv, aad, data] = [KEY, IV, KEY, KEY].map((bytes) => Buffer.from(bytes));
  const cipher = crypto.createCipheriv('aes-256-gcm', key!, iv!);
  key!.fill(1);
  iv!.fill(1);
  cipher.setAAD(aad!);
  aad!.fill(1);
  const first = cipher.update(data!);
  data!.fill(1);
  return [first, cipher.update('more'), cipher.final(), cipher.getAuthTag()].map(shown);
});

/** Each way to use an object for a message, in steps; what each step gives. */
const CIPHER_STEPS: Record<string, [string, ...unknown[]][]> = {
  'in parts': [['update', 'one'], ['update', 'two'], ['final'], ['getAuthTag']],
  'in parts, as text': [
    ['update', 'one', 'utf8', 'base64'],
    ['update', 'two', 'utf8', 'base64'],
    ['final', 'base64'],
    ['getAuthTag'],
  ],
  'of nothing': [['final'], ['getAuthTag']],
  'tag too early': [
    ['getAuthTag'],
    ['update', 'one'],
    ['getAuthTag'],
    ['final'],
    ['getAuthTag'],
    ['getAuthTag'],
  ],
  'additional data twice': [['setAAD', KEY], ['setAAD', IV], ['update', 'one'], ['final'], ['getAuthTag']],
  'additional data too late': [['update', 'one'], ['setAAD', IV], ['final'], ['setAAD', IV], ['getAuthTag']],
  'after the end': [
    ['update', 'one'],
    ['final'],
    ['update', 'two'],
    ['final'],
    ['setAutoPadding'],
    ['getAuthTag'],
    ['update', KEY],
  ],
  padding: [['setAutoPadding', false], ['update', 'one'], ['setAutoPadding'], ['final'], ['getAuthTag']],
  'tag set where there is none to set': [['setAuthTag', IV_16], ['update', 'one'], ['final'], ['getAuthTag']],
  'wrong in the middle': [
    ['update', 5],
    ['update', 'one'],
    ['update', 5],
    ['update', '616', 'hex'],
    ['final'],
    ['getAuthTag'],
  ],
};
const run = (object: Loose, steps: [string, ...unknown[]][]): unknown[] =>
  steps.map(([method, ...given]) =>
    object[method] ? seen(() => object[method](...given)) : 'no such method',
  );

for (const [name, steps] of Object.entries(CIPHER_STEPS)) {
  sees(`createCipheriv: ${name}`, (crypto) => run(crypto.createCipheriv('aes-256-gcm', KEY, IV), steps));
}

/** A sealed message of node:crypto's, and its tag. */
function message(node: Crypto, data: string | Buffer): { data: Buffer; tag: Buffer } {
  const cipher = node.createCipheriv('aes-256-gcm', KEY, IV);
  cipher.setAAD(KEY);
  const bytes = Buffer.concat([cipher.update(data as Buffer), cipher.final()]);
  return { data: bytes, tag: cipher.getAuthTag() };
}

function decipherSteps(node: Crypto, text: string): Record<string, [string, ...unknown[]][]> {
  const { data, tag } = message(node, text);
  const wrong = Buffer.from(tag);
  wrong[3]! ^= 1;
  const head: [string, ...unknown[]][] = [
    ['setAAD', KEY],
    ['setAuthTag', tag],
  ];
  return {
    'as it should be': [...head, ['update', data], ['final']],
    'as text': [...head, ['update', data, undefined, 'utf8'], ['final', 'utf8']],
    'from and to text': [...head, ['update', data.toString('hex'), 'hex', 'utf8'], ['final', 'utf8']],
    'from base64': [...head, ['update', data.toString('base64'), 'base64', 'base64'], ['final', 'base64']],
    'from bad hex': [...head, ['update', `${data.toString('hex')}zz`, 'hex', 'utf8'], ['final', 'utf8']],
    'tag first': [['setAuthTag', tag], ['setAAD', KEY], ['update', data], ['final']],
    'tag last': [['setAAD', KEY], ['update', data], ['setAuthTag', tag], ['final']],
    'tag as text': [['setAAD', KEY], ['setAuthTag', tag.toString('hex'), 'hex'], ['update', data], ['final']],
    'wrong tag': [
      ['setAAD', KEY],
      ['setAuthTag', wrong],
      ['update', data],
      ['final'],
      ['update', data],
      ['final'],
    ],
    'wrong tag, as text': [
      ['setAAD', KEY],
      ['setAuthTag', wrong],
      ['update', data, undefined, 'utf8'],
      ['final', 'utf8'],
    ],
    'short tag': [['setAAD', KEY], ['setAuthTag', tag.subarray(1)], ['update', data], ['final']],
    'two tags': [...head, ['setAuthTag', tag], ['update', data], ['final']],
    'no tag': [['setAAD', KEY], ['update', data], ['final']],
    'wrong additional data': [['setAAD', IV], ['setAuthTag', tag], ['update', data], ['final']],
    'in parts': [...head, ['update', data.subarray(0, 5)], ['update', data.subarray(5)], ['final']],
    'in parts, as text': [
      ...head,
      ['update', data.subarray(0, 24), undefined, 'utf8'],
      ['update', data.subarray(24), undefined, 'utf8'],
      ['final', 'utf8'],
    ],
    'less than all': [...head, ['update', data.subarray(1)], ['final']],
    nothing: [...head, ['final']],
    'after the end': [
      ...head,
      ['update', data],
      ['final'],
      ['update', data],
      ['final'],
      ['setAuthTag', tag],
      ['getAuthTag'],
    ],
    'what is no data': [...head, ['update', 5], ['update', data], ['final']],
  };
}

for (const name of Object.keys(decipherSteps((await import('node:crypto')).default as Crypto, TEXT))) {
  sees(`createDecipheriv: ${name}`, (crypto, node) =>
    [TEXT, 'x', TEXT.repeat(12)].map((text) =>
      run(crypto.createDecipheriv('aes-256-gcm', KEY, IV), decipherSteps(node, text)[name]!),
    ),
  );
}

sees('createCipheriv, createDecipheriv: streams', async (crypto, node) => {
  const gather = async (stream: Loose, data: Buffer): Promise<unknown> => {
    const parts: Buffer[] = [];
    stream['on']('data', (part: Buffer) => parts.push(part));
    return (pipeline([data.subarray(0, 10), data.subarray(10)], stream as never) as Promise<void>).then(
      () => Buffer.concat(parts).toString('hex'),
      facts,
    );
  };
  const sealedWith = crypto.createCipheriv('aes-256-gcm', KEY, IV);
  const { data, tag } = message(node, TEXT);
  const right = crypto.createDecipheriv('aes-256-gcm', KEY, IV).setAAD(KEY).setAuthTag(tag);
  const wrong = crypto.createDecipheriv('aes-256-gcm', KEY, IV).setAuthTag(tag);
  return [
    await gather(sealedWith, data),
    shown(sealedWith.getAuthTag()),
    await gather(right, data),
    await gather(wrong, data),
  ];
});
sees('createCipheriv: objects that take turns', (crypto) => {
  const objects = [1, 2, 3].map(() => crypto.createCipheriv('aes-256-gcm', KEY, IV));
  const parts = objects.map((object, i) => object.update(`message ${i}`, 'utf8', 'base64'));
  const hash = crypto.createHash('sha256').update(KEY);
  const ends = objects.map((object) => [object.final('base64'), object.getAuthTag().toString('hex')]);
  return [parts, ends, hash.digest('hex')];
});
sees('createCipheriv: what it is', (crypto, node) => {
  const [cipher, decipher] = [
    crypto.createCipheriv('aes-256-gcm', KEY, IV),
    crypto.createDecipheriv('aes-256-gcm', KEY, IV),
  ] as Loose[];
  return [
    cipher instanceof node.Cipheriv,
    decipher instanceof node.Decipheriv,
    'setAuthTag' in cipher!,
    'getAuthTag' in decipher!,
    cipher!['writable'],
    cipher!['_decoder'],
  ];
});
sees('the module: names, and lengths of functions', (crypto) =>
  Object.keys(Object.getOwnPropertyDescriptors(crypto))
    .sort()
    .map((name) => {
      const { value, get } = Object.getOwnPropertyDescriptor(crypto, name)!;
      return typeof value === 'function' ? [name, value.name, value.length] : [name, typeof get];
    }),
);

export const CRYPTO_BEHAVIOURS: readonly CryptoBehaviour[] = behaviours;
