import { randomBytes } from 'node:crypto';
import node from 'node:zlib';
import { realText } from '../support/corpus.js';
import { facts, hash } from './support-behaviour.js';

/* What programs see of Web compression streams. */

export interface Streams {
  CompressionStream: typeof CompressionStream;
  DecompressionStream: typeof DecompressionStream;
}

type AnyStream = CompressionStream | DecompressionStream;
/** Given to the streams under test, wrong ones among them. */
// biome-ignore lint/suspicious/noExplicitAny: what is passed is wrong on purpose
type Loose = any;

export interface WebBehaviour {
  name: string;
  see: (streams: Streams) => unknown;
}

const PACK = { gzip: node.gzipSync, deflate: node.deflateSync, 'deflate-raw': node.deflateRawSync };
type Format = keyof typeof PACK;
const FORMATS = Object.keys(PACK) as Format[];

/** What becomes of chunks that go through a stream: each write's outcome, the output, and the errors of both sides. */
async function sent(stream: AnyStream, chunks: Loose[], patienceMs = LONG_MS) {
  const writer = stream.writable.getWriter();
  const closed = writer.closed.then(
    () => 'closed',
    (error) => facts(error),
  );
  const parts: Uint8Array[] = [];
  const reading = (async () => {
    try {
      for await (const part of stream.readable) parts.push(part as Uint8Array);
      return 'end';
    } catch (error) {
      return facts(error);
    }
  })();
  const writes = chunks.map((chunk) =>
    writer.write(chunk).then(
      () => 'written',
      (error) => facts(error),
    ),
  );
  writes.push(writer.close().then(() => 'closing', facts));
  const [read, end, ...written] = await Promise.all(
    [reading, closed, ...writes].map((each) => within(patienceMs, each)),
  );
  return { parts, read, closed: end, writes: written };
}

/** Some versions of Node never answer some wrong chunks. */
const SHORT_MS = 500;
const LONG_MS = 30_000;

/** What a promise resolves with; or that it does not. */
async function within(patienceMs: number, promise: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, patienceMs, 'no answer');
  });
  return await Promise.race([promise, patience]).finally(() => clearTimeout(timer));
}

/** The outcome without how often was written. */
async function outcomeOf(stream: AnyStream, bytes: Uint8Array, size: number) {
  const { parts, read, closed } = await sent(stream, cut(bytes, size));
  // After an error, how much came before depends on how far the stream had read.
  return { read, closed, output: read === 'end' ? hash(Buffer.concat(parts)) : undefined };
}

function cut(bytes: Uint8Array, size: number): Uint8Array[] {
  const parts = [];
  for (let at = 0; at < bytes.byteLength; at += size) parts.push(bytes.subarray(at, at + size));
  return parts;
}

function flipped(bytes: Uint8Array, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at < 0 ? copy.length + at : at]! ^= 0x55;
  return copy;
}

const TEXT = realText.subarray(0, 300_000);

/** Compressed bytes as they should not be. */
const DAMAGE: Record<string, (packed: Buffer) => Uint8Array> = {
  'nothing at all': () => Buffer.alloc(0),
  'its first byte': (packed) => packed.subarray(0, 1),
  'all but its last byte': (packed) => packed.subarray(0, -1),
  'its first half': (packed) => packed.subarray(0, packed.length >> 1),
  'another first byte': (packed) => flipped(packed, 0),
  'another byte in the middle': (packed) => flipped(packed, packed.length >> 1),
  'another last byte': (packed) => flipped(packed, -1),
  'a zero after it': (packed) => Buffer.concat([packed, Buffer.alloc(1)]),
  'something after it': (packed) => Buffer.concat([packed, Buffer.from('something else')]),
  'itself once more': (packed) => Buffer.concat([packed, packed]),
  'random bytes': () => randomBytes(5000),
};

const CHUNKS: Record<string, () => Loose> = {
  'a string': () => 'text',
  null: () => null,
  undefined: () => undefined,
  'a number': () => 5,
  'an object': () => ({}),
  'an array': () => [1, 2],
  'an ArrayBuffer': () => new Uint8Array(TEXT.subarray(0, 500)).buffer,
  'a DataView': () => new DataView(new Uint8Array(TEXT.subarray(0, 500)).buffer, 10, 300),
  'a Uint16Array': () => new Uint16Array(new Uint8Array(TEXT.subarray(0, 500)).buffer),
  'nothing of a Uint8Array': () => new Uint8Array(0),
};

const behaviours: WebBehaviour[] = [];
const sees = (name: string, see: WebBehaviour['see']): void => void behaviours.push({ name, see });

for (const format of FORMATS) {
  for (const size of [0, 1, 1000, 300_000, 3_000_000]) {
    const text = Buffer.alloc(size, TEXT);
    sees(`${format}: ${size} bytes there and back`, async ({ CompressionStream, DecompressionStream }) => {
      const packing = await sent(new CompressionStream(format), cut(text, 70_001));
      const packed = Buffer.concat(packing.parts);
      const stock = await outcomeOf(new globalThis.DecompressionStream(format), packed, 50_000);
      const own = await outcomeOf(new DecompressionStream(format), packed, 9999);
      return { read: packing.read, closed: packing.closed, writes: packing.writes, stock, own };
    });
  }
  const packed = PACK[format](TEXT);
  for (const [what, damaged] of Object.entries(DAMAGE)) {
    const bytes = damaged(packed);
    for (const size of [1 << 30, 1001]) {
      sees(`${format}: ${what}, in pieces of ${size}`, ({ DecompressionStream }) =>
        outcomeOf(new DecompressionStream(format), bytes, size),
      );
    }
  }
}

for (const [what, chunk] of Object.entries(CHUNKS)) {
  sees(`${what} to compress`, async ({ CompressionStream }) => {
    const { read, closed, writes, parts } = await sent(new CompressionStream('gzip'), [chunk()], SHORT_MS);
    const packed = Buffer.concat(parts);
    const text = read === 'end' && (await outcomeOf(new globalThis.DecompressionStream('gzip'), packed, 1e6));
    return { read, closed, writes, text };
  });
  sees(`${what} to decompress`, async ({ DecompressionStream }) => {
    const { read, closed, writes } = await sent(new DecompressionStream('gzip'), [chunk()], SHORT_MS);
    return { read, closed, writes };
  });
}

for (const name of ['CompressionStream', 'DecompressionStream'] as const) {
  sees(`${name}: formats that there are not`, (streams) =>
    [undefined, null, 'zip', 'GZIP', '', 5, {}, Symbol('gzip')].map((format) => {
      try {
        return typeof new streams[name](format as Loose);
      } catch (error) {
        return facts(error);
      }
    }),
  );
  sees(`${name}: what it is`, (streams) => {
    const stream = new streams[name]('gzip');
    return [
      streams[name].name,
      streams[name].length,
      String(stream),
      stream instanceof globalThis[name],
      Object.keys(stream),
      stream.readable instanceof ReadableStream,
      stream.writable instanceof WritableStream,
    ];
  });
  sees(`${name}: nothing is written without being asked for`, async (streams) => {
    const writer = new streams[name]('gzip').writable.getWriter();
    const { desiredSize } = writer;
    const isReady = await Promise.race([writer.ready.then(() => true), Promise.resolve().then(() => false)]);
    return { desiredSize, isReady };
  });
  sees(`${name}: aborted`, async (streams) => {
    const stream = new streams[name]('gzip');
    const writer = stream.writable.getWriter();
    const reading = stream.readable.getReader().read().then(String, facts);
    const aborted = await writer.abort(new Error('enough')).then(String, facts);
    return { aborted, read: await reading, closed: await writer.closed.then(String, facts) };
  });
  sees(`${name}: cancelled`, async (streams) => {
    const stream = new streams[name]('gzip');
    const writer = stream.writable.getWriter();
    const closed = writer.closed.then(String, facts);
    const cancelled = await stream.readable.cancel(new Error('enough')).then(String, facts);
    return { cancelled, closed: await closed };
  });
}

sees('CompressionStream: writes wait for whoever reads', async ({ CompressionStream }) => {
  const stream = new CompressionStream('gzip');
  const writer = stream.writable.getWriter();
  let written = 0;
  const noise = randomBytes(100_000);
  for (let i = 0; i < 200; i++) {
    void writer.write(noise).then(
      () => written++,
      () => {},
    );
  }
  await new Promise((resolve) => setTimeout(resolve, 300));
  const isHeldBack = written < 200;
  const closing = writer.close();
  let bytes = 0;
  const unpacked = stream.readable.pipeThrough(new globalThis.DecompressionStream('gzip'));
  for await (const part of unpacked) bytes += (part as Uint8Array).byteLength;
  await closing;
  return { isHeldBack, written, bytes };
});

export const WEB_STREAM_BEHAVIOURS: readonly WebBehaviour[] = behaviours;
