import { AsyncLocalStorage } from 'node:async_hooks';
import { promisify } from 'node:util';
import { realText, sample } from '../support/corpus.js';
import { type Behaviour, called, hash, type Loose, outcome } from './support-behaviour.js';

/* The functions that take a whole buffer. */

const PAIRS = [
  ['gzip', 'gunzip'],
  ['deflate', 'inflate'],
  ['deflateRaw', 'inflateRaw'],
  ['gzip', 'unzip'],
  ['deflate', 'unzip'],
  ['brotliCompress', 'brotliDecompress'],
] as const;
const SIZES = [0, 1, 90, 511, 4096, 70_000, 524_289, 1_500_000];

const INPUTS: Record<string, () => unknown> = {
  string: () => 'héllo, wörld'.repeat(40),
  'empty string': () => '',
  ArrayBuffer: () => new Uint8Array(realText.subarray(0, 500)).buffer,
  SharedArrayBuffer: () => {
    const shared = new SharedArrayBuffer(300);
    new Uint8Array(shared).set(realText.subarray(0, 300));
    return shared;
  },
  DataView: () => new DataView(new Uint8Array(realText.subarray(0, 500)).buffer, 10, 400),
  Uint16Array: () => new Uint16Array(new Uint8Array(realText.subarray(0, 500)).buffer, 10, 100),
};

const WRONG_INPUTS = [undefined, null, 5, true, {}, [1, 2], () => {}];

const WRONG_OPTIONS: Loose[] = [
  { level: 10 },
  { level: -2 },
  { level: '6' },
  { level: Number.NaN },
  { level: 1.5 },
  { level: null },
  { chunkSize: 0 },
  { chunkSize: 63 },
  { chunkSize: '64' },
  { windowBits: 7 },
  { windowBits: 16 },
  { windowBits: 0 },
  { memLevel: 0 },
  { memLevel: 10 },
  { strategy: 5 },
  { strategy: -1 },
  { dictionary: 'words' },
  { flush: 99 },
  { finishFlush: -1 },
  { maxOutputLength: 0 },
  { maxOutputLength: 1.5 },
  { maxOutputLength: Number.POSITIVE_INFINITY },
];

const ODD_OPTIONS: Loose[] = [
  {},
  { level: 0 },
  { level: 1 },
  { level: 9 },
  { level: -1 },
  { level: undefined },
  { windowBits: 9 },
  { windowBits: 15 },
  { memLevel: 1 },
  { memLevel: 9 },
  { strategy: 2 },
  { strategy: 4 },
  { chunkSize: 64 },
  { chunkSize: 1 << 20 },
  { dictionary: Buffer.from('the words that there are') },
  { maxOutputLength: 1 << 20 },
  { flush: 2 },
  { objectMode: true, encoding: 'utf8' },
  { params: { 1: 3 } },
];

function sees(name: string, see: Behaviour['see']): Behaviour {
  return { name, see };
}

const roundTrips: Behaviour[] = PAIRS.flatMap(([pack, unpack]) =>
  SIZES.map((size) =>
    sees(`${pack} and ${unpack} of ${size} bytes`, async (zlib: Loose, node: Loose) => {
      const data = sample('text', size);
      const options =
        pack === 'brotliCompress' ? { params: { [node['constants'].BROTLI_PARAM_QUALITY]: 4 } } : {};
      const packed = await promisify(zlib[pack])(data, options);
      return [
        hash(node[`${unpack}Sync`](packed)),
        hash(node[`${unpack}Sync`](zlib[`${pack}Sync`](data, options))),
        await called((callback) => zlib[unpack](node[`${pack}Sync`](data, options), callback)),
        outcome(() => zlib[`${unpack}Sync`](node[`${pack}Sync`](data, options))),
      ];
    }),
  ),
);

export const CALL_BEHAVIOURS: Behaviour[] = [
  ...roundTrips,
  ...Object.entries(INPUTS).map(([name, make]) =>
    sees(`${name} as input`, async (zlib: Loose, node: Loose) => [
      hash(node['gunzipSync'](await promisify(zlib['gzip'])(make()))),
      hash(node['inflateSync'](zlib['deflateSync'](make()))),
    ]),
  ),
  ...WRONG_INPUTS.map((input) =>
    sees(`${String(input)} as input is refused`, async (zlib: Loose) => [
      outcome(() => zlib['gzipSync'](input)),
      outcome(() => zlib['gunzipSync'](input)),
      await called((callback) => zlib['gzip'](input, callback)),
      await called((callback) => zlib['inflate'](input, {}, callback)),
    ]),
  ),
  ...[undefined, null, 'text', {}].map((callback) =>
    sees(`${String(callback)} as callback is refused`, (zlib: Loose) => [
      outcome(() => zlib['gzip']('x', callback)),
      outcome(() => zlib['gzip']('x', {}, callback)),
      outcome(() => zlib['gzip']('x', { level: 77 }, callback)),
    ]),
  ),
  ...WRONG_OPTIONS.map((options) =>
    sees(`options ${JSON.stringify(options)}`, async (zlib: Loose, node: Loose) => [
      outcome(() => node['gunzipSync'](zlib['gzipSync']('some text', options))),
      outcome(() => zlib['inflateSync'](node['deflateSync']('some text'), options)),
      await called((callback) =>
        zlib['deflateRaw']('some text', options, (error: unknown, value: Uint8Array) =>
          callback(error, value && node['inflateRawSync'](value)),
        ),
      ),
      outcome(() => new zlib['Gunzip'](options)),
      outcome(() => zlib['createDeflate'](options)),
    ]),
  ),
  ...ODD_OPTIONS.map((options) =>
    sees(`odd options ${JSON.stringify(options)}`, async (zlib: Loose, node: Loose) => {
      const { dictionary } = options;
      const data = realText.subarray(0, 30_000);
      return [
        hash(node['inflateSync'](zlib['deflateSync'](data, options), { dictionary })),
        outcome(() => zlib['inflateSync'](node['deflateSync'](data, options), options)),
        hash(node['inflateSync'](await promisify(zlib['deflate'])(data, options), { dictionary })),
        await called((callback) => zlib['inflate'](node['deflateSync'](data, options), options, callback)),
      ];
    }),
  ),
  sees('a window that is limited stays so', (zlib: Loose, node: Loose) => {
    const packed = zlib['deflateSync'](realText.subarray(0, 100_000), { windowBits: 9 });
    return hash(node['inflateSync'](packed, { windowBits: 9 }));
  }),
  sees('what is too large is refused', async (zlib: Loose, node: Loose) => {
    const packed = node['gzipSync'](Buffer.alloc(100_000));
    const options = { maxOutputLength: 5000 };
    return [
      outcome(() => zlib['gunzipSync'](packed, options)),
      await called((callback) => zlib['gunzip'](packed, options, callback)),
      outcome(() => zlib['gunzipSync'](packed, { maxOutputLength: 100_000 })),
      await called((callback) => zlib['gunzip'](packed, { maxOutputLength: 100_000 }, callback)),
      outcome(() => zlib['deflateSync'](realText.subarray(0, 9000), { maxOutputLength: 64 })),
      await called((callback) =>
        zlib['deflate'](realText.subarray(0, 9000), { maxOutputLength: 64 }, callback),
      ),
    ];
  }),
  sees('info gives the stream, too', async (zlib: Loose, node: Loose) => {
    const { buffer, engine } = zlib['gzipSync']('text', { info: true });
    const later = await promisify(zlib['gzip'])('text', { info: true });
    return [String(node['gunzipSync'](buffer)), engine.bytesWritten, later.engine.bytesWritten];
  }),
  sees('levels are levels', async (zlib: Loose) => {
    const data = realText.subarray(0, 200_000);
    const sizes = [];
    for (const level of [0, 1, 9]) sizes.push((await promisify(zlib['gzip'])(data, { level })).length);
    return [sizes[0]! > data.length, sizes[0]! > sizes[1]!, sizes[1]! > sizes[2]!];
  }),
  sees('callbacks keep their asynchronous context', async (zlib: Loose) => {
    const storage = new AsyncLocalStorage();
    return storage.run('mine', () =>
      Promise.all([
        new Promise((resolve) => zlib['gzip']('x', () => resolve(storage.getStore()))),
        new Promise((resolve) => zlib['gunzip']('bad', () => resolve(storage.getStore()))),
      ]),
    );
  }),
  sees('nothing is called back within the call', async (zlib: Loose) => {
    let within = true;
    const result = new Promise((resolve) => zlib['gzip']('x', () => resolve(within)));
    within = false;
    return result;
  }),
  sees(
    'checksums',
    (zlib: Loose) => zlib['crc32'] && [zlib['crc32']('hello'), zlib['crc32'](Buffer.from('lo'), 5)],
  ),
];
