import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { Readable, Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { inherits } from 'node:util';
import { sample } from '../support/corpus.js';
import { type Behaviour, facts, fate, fed, feed, hash, type Loose, outcome } from './support-behaviour.js';

/* Streams: what they make of chunks, and their events. */

const PAIRS = [
  ['Gzip', 'Gunzip', 'gunzipSync', 'gzipSync'],
  ['Deflate', 'Inflate', 'inflateSync', 'deflateSync'],
  ['DeflateRaw', 'InflateRaw', 'inflateRawSync', 'deflateRawSync'],
  ['Gzip', 'Unzip', 'gunzipSync', 'gzipSync'],
] as const;
const SHAPES = [
  { size: 0, chunk: 1 },
  { size: 1, chunk: 1 },
  { size: 3000, chunk: 7 },
  { size: 100_000, chunk: 65536 },
  { size: 524_288, chunk: 65536 },
  { size: 1_300_000, chunk: 16_384 },
  { size: 3_000_000, chunk: 3_000_000 },
];

const shapes: Behaviour[] = PAIRS.flatMap(([pack, unpack, unpackSync, packSync]) =>
  SHAPES.flatMap(({ size, chunk }) =>
    [{}, { chunkSize: 64 }, { chunkSize: 1 << 20, highWaterMark: 1 << 20 }].map((options) => ({
      name: `${pack} and ${unpack} of ${size} bytes in chunks of ${chunk}, ${JSON.stringify(options)}`,
      see: async (zlib: Loose, node: Loose) => {
        if (options.chunkSize === 64 && size > 200_000) return undefined;
        const data = sample('text', size);
        const packer = new zlib[pack](options);
        const end = fate(packer);
        await feed(packer, data, chunk);
        const { output, error, events } = await end;
        return [
          hash(node[unpackSync](output)),
          error,
          events,
          packer.bytesWritten,
          await fed(new zlib[unpack](options), node[packSync](data), chunk),
        ];
      },
    })),
  ),
);

/** What has come out of a stream so far, as far as it can be decompressed. */
function readable(stream: Transform, node: Loose): string {
  const parts = [];
  for (let part = stream.read(); part !== null; part = stream.read()) parts.push(part);
  const options = { finishFlush: node['constants'].Z_SYNC_FLUSH };
  return hash(node['gunzipSync'](Buffer.concat(parts), options));
}

const flushes: Behaviour[] = [20, 90_000, 700_000].flatMap((size) =>
  ['Z_PARTIAL_FLUSH', 'Z_SYNC_FLUSH', 'Z_FULL_FLUSH', 'Z_BLOCK', undefined].map((kind) => ({
    name: `flush ${kind} after ${size} bytes`,
    see: async (zlib: Loose, node: Loose) => {
      const data = sample('text', size);
      const stream = zlib['createGzip']({ highWaterMark: 1 << 22, readableHighWaterMark: 1 << 22 });
      const flush = () =>
        new Promise<void>((resolve) =>
          kind === undefined ? stream.flush(resolve) : stream.flush(node['constants'][kind], resolve),
        );
      stream.write(data);
      await flush();
      const all = readable(stream, node);
      await flush();
      await flush();
      const nothing = stream.read();
      const end = fate(stream);
      stream.end('the end');
      const { error, events } = await end;
      return [kind === 'Z_BLOCK' ? undefined : all, nothing?.length ?? 0, error, events];
    },
  })),
);

export const STREAM_BEHAVIOURS: Behaviour[] = [
  ...shapes,
  ...flushes,
  ...['Gunzip', 'Inflate'].map((kind) => ({
    name: `${kind}: messages that each wait for the one before, and an end that nothing is written after`,
    see: async (zlib: Loose, node: Loose) => {
      const { Z_SYNC_FLUSH } = node['constants'];
      const packer = node[kind === 'Gunzip' ? 'createGzip' : 'createDeflate']({ flush: Z_SYNC_FLUSH });
      const unpacker = zlib[`create${kind}`]();
      const packed: Buffer[] = [];
      packer.on('data', (part: Buffer) => packed.push(part));
      let length = 0;
      let ended = false;
      unpacker.on('data', (part: Buffer) => {
        length += part.length;
      });
      unpacker.on('end', () => {
        ended = true;
      });
      const lengths: number[] = [];
      const arrives = async (holds: () => boolean) => {
        const end = performance.now() + 2000;
        while (!holds() && performance.now() < end) await new Promise(setImmediate);
        return holds();
      };
      for (let i = 1; i <= 400; i++) {
        await new Promise((resolve) => packer.write(randomBytes(1000), resolve));
        unpacker.write(Buffer.concat(packed.splice(0)));
        if (!(await arrives(() => length === i * 1000))) return { stuck: i, length };
        lengths.push(length);
      }
      await fate(packer.end());
      unpacker.write(Buffer.concat([...packed, Buffer.alloc(10)]));
      return [lengths.length, await arrives(() => ended), unpacker.bytesWritten > 400_000];
    },
  })),
  ...[true, false].flatMap((waits) =>
    ['write', 'end'].map((method) => ({
      name: `${method}() after flush(Z_FINISH)${waits ? ', when that is done' : ''}`,
      see: async (zlib: Loose, node: Loose) => {
        const packer = zlib['createGzip']();
        const end = fate(packer);
        packer.write(sample('text', 300_000));
        const flushed = new Promise((resolve) => packer.flush(node['constants'].Z_FINISH, resolve));
        if (waits) await flushed;
        packer[method]('more');
        const { output, error, events } = await end;
        return [hash(node['gunzipSync'](output)), error, events];
      },
    })),
  ),
  {
    name: 'every write of a stream with flush: Z_SYNC_FLUSH comes out',
    see: async (zlib: Loose, node: Loose) => {
      const { Z_SYNC_FLUSH } = node['constants'];
      const packer = zlib['createDeflateRaw']({ flush: Z_SYNC_FLUSH });
      const unpacker = zlib['createInflateRaw']({ flush: Z_SYNC_FLUSH });
      packer.pipe(unpacker);
      let length = 0;
      unpacker.on('data', (part: Buffer) => {
        length += part.length;
      });
      const seen = [];
      for (const message of ['one', 'two', sample('text', 100_000), 'three']) {
        length = 0;
        packer.write(message);
        while (length < Buffer.byteLength(message)) await new Promise((resolve) => setTimeout(resolve, 1));
        seen.push(length);
      }
      packer.end();
      return seen;
    },
  },
  {
    name: 'params between writes',
    see: async (zlib: Loose, node: Loose) => {
      for (const [level, strategy] of [
        [9, 0],
        [0, 0],
        [-1, 2],
      ]) {
        for (const size of [100, 200_000]) {
          const stream = zlib['createGzip']({ level: 1 });
          const end = fate(stream);
          stream.write(sample('text', size));
          await new Promise<void>((resolve) => stream.params(level, strategy, resolve));
          stream.end(sample('text', size, 5000));
          const { output, error } = await end;
          const expected = Buffer.concat([sample('text', size), sample('text', size, 5000)]);
          if (error || !node['gunzipSync'](output).equals(expected)) return ['wrong', level, size, error];
        }
      }
      const stream = zlib['createDeflate']();
      return [
        outcome(() => stream.params(11, 0, () => {})),
        outcome(() => stream.params(1, 9, () => {})),
        outcome(() => stream.params('1', 0, () => {})),
      ];
    },
  },
  {
    name: 'reset begins another stream',
    see: async (zlib: Loose, node: Loose) => {
      const stream = zlib['createDeflateRaw']();
      await new Promise((resolve) => stream.write('something else', resolve));
      stream.reset();
      const end = fate(stream);
      stream.end('this');
      const { output } = await end;
      const closed = zlib['createGzip']();
      closed.close();
      return [String(node['inflateRawSync'](output)), outcome(() => closed.reset())];
    },
  },
  {
    name: 'reset between streams that are decompressed',
    see: async (zlib: Loose, node: Loose) => {
      const stream = zlib['createInflate']();
      const seen: string[] = [];
      stream.on('data', (part: Buffer) => seen.push(String(part)));
      for (const word of ['one', 'two']) {
        await new Promise((resolve) => stream.write(node['deflateSync'](word).subarray(0, -1), resolve));
        stream.reset();
      }
      stream.destroy();
      return seen;
    },
  },
  {
    name: 'classes, functions and inheritance',
    see: (zlib: Loose, node: Loose) => {
      class Mine extends zlib['Gzip'] {}
      function Old(this: object) {
        zlib['Gzip'].call(this, { level: 3 });
      }
      inherits(Old as never, zlib['Gzip'] as never);
      const old = new (Old as unknown as new () => Loose)();
      const called = zlib['Gzip']({ level: 2 });
      const mine = new Mine() as unknown as Loose;
      return [
        mine instanceof Mine,
        mine instanceof zlib['Gzip'],
        mine instanceof node['Gzip'],
        mine instanceof Transform,
        called instanceof zlib['Gzip'],
        called._level,
        old instanceof zlib['Gzip'],
        old['_level'],
        zlib['createGunzip']() instanceof zlib['Gunzip'],
        zlib['createGunzip']().constructor === zlib['Gunzip'],
        zlib['Gzip'].name,
        zlib['Gzip'].length,
        Object.keys(called).sort(),
      ];
    },
  },
  {
    name: 'write after end, and double close',
    see: async (zlib: Loose) => {
      const after = zlib['createGzip']();
      const end = fate(after);
      after.end('all');
      after.write('more');
      const { error, events } = await end;
      const twice = zlib['createDeflate']();
      const closings: unknown[] = [];
      const gone = fate(twice);
      twice.close(() => closings.push('first'));
      twice.close(() => closings.push('second'));
      const closed = await gone;
      twice.write('x', (problem: unknown) => closings.push(facts(problem)));
      await new Promise((resolve) => setTimeout(resolve, 10));
      return [error, events, closed.events, closings, twice.destroyed, twice._closed, twice._handle];
    },
  },
  ...['createGzip', 'createGunzip'].map((create) => ({
    name: `${create}: closed or destroyed while it works`,
    see: async (zlib: Loose, node: Loose) => {
      const data = sample('text', 2_000_000);
      const input = create === 'createGzip' ? data : node['gzipSync'](data);
      const seen = [];
      for (const end of ['close', 'destroy', 'destroy with an error']) {
        const stream = zlib[create]();
        const follow = fate(stream);
        stream.write(input);
        await new Promise(setImmediate);
        if (end === 'close') stream.close();
        else stream.destroy(end === 'destroy' ? undefined : new Error('mine'));
        const { error, events } = await follow;
        seen.push([error, events, stream._handle]);
      }
      return seen;
    },
  })),
  {
    name: 'the rest of a stream that ends early is left alone',
    see: async (zlib: Loose, node: Loose) => {
      const seen = [];
      for (const [unpack, pack] of [
        ['createInflate', 'deflateSync'],
        ['createInflateRaw', 'deflateRawSync'],
        ['createGunzip', 'gzipSync'],
      ] as const) {
        const stream = zlib[unpack]();
        const bytes = Buffer.concat([node[pack]('abc'), Buffer.alloc(10)]);
        seen.push(await fed(stream, bytes, 1000));
      }
      return seen;
    },
  },
  {
    name: 'a pipeline waits for a slow end',
    see: async (zlib: Loose) => {
      const data = sample('text', 2_000_000);
      let taken = 0;
      const slow = new Writable({
        highWaterMark: 1000,
        write(chunk: Buffer, _encoding, done) {
          taken += chunk.length;
          setImmediate(done);
        },
      });
      const chunks = Array.from({ length: 40 }, (_, index) =>
        data.subarray(index * 50_000, (index + 1) * 50_000),
      );
      await pipeline(Readable.from(chunks), zlib['createGzip']({ level: 1 }), zlib['createGunzip'](), slow);
      return taken;
    },
  },
  {
    name: 'events keep the asynchronous context of the stream',
    see: async (zlib: Loose) => {
      const storage = new AsyncLocalStorage();
      const stream = storage.run('mine', () => {
        const made = zlib['createGzip']();
        made.on('data', () => {});
        return made;
      });
      return new Promise((resolve) => {
        stream.write(sample('text', 300_000));
        stream.flush(() => resolve(storage.getStore() ?? 'none'));
      });
    },
  },
  {
    name: 'single steps, as older packages take them',
    see: (zlib: Loose, node: Loose) => {
      const { Z_FINISH, Z_NO_FLUSH } = node['constants'];
      // A step closes its stream, unless its handle is kept from it.
      const step = (stream: Loose, bytes: Buffer, flush: number): Buffer => {
        const handle = stream['_handle'];
        const { close } = handle;
        handle.close = () => {};
        const result = stream['_processChunk'](bytes, flush);
        stream['_handle'] = handle;
        handle.close = close;
        return Buffer.from(result);
      };
      const packer = new zlib['Gzip']();
      const parts = [
        step(packer, Buffer.from('one '), Z_NO_FLUSH),
        step(packer, Buffer.from('two'), Z_FINISH),
      ];
      const unpacker = new zlib['Gunzip']();
      const packed = node['gzipSync']('one two');
      const words = [
        String(step(unpacker, packed.subarray(0, 15), Z_NO_FLUSH)),
        String(step(unpacker, packed.subarray(15), Z_FINISH)),
      ];
      packer.close();
      unpacker.close();
      return [String(node['gunzipSync'](Buffer.concat(parts))), words];
    },
  },
];
