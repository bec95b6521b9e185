import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { realText, sample } from '../support/corpus.js';
import { type Behaviour, called, fed, type Loose, outcome } from './support-behaviour.js';

/* Data that is damaged, too short, too long, or something else altogether. */

const text = realText.subarray(0, 120_000);
const WHOLE: Record<string, Buffer> = {
  gunzip: zlib.gzipSync(text),
  inflate: zlib.deflateSync(text),
  inflateRaw: zlib.deflateRawSync(text),
  unzip: zlib.gzipSync(text),
};
const CLASS: Record<string, string> = {
  gunzip: 'Gunzip',
  inflate: 'Inflate',
  inflateRaw: 'InflateRaw',
  unzip: 'Unzip',
};

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  const index = at < 0 ? copy.length + at : at;
  copy[index]! ^= 0x55;
  return copy;
}

function damaged(name: string): Record<string, Buffer> {
  const whole = WHOLE[name]!;
  const made: Record<string, Buffer> = {
    empty: Buffer.alloc(0),
    'one byte': whole.subarray(0, 1),
    'two bytes': whole.subarray(0, 2),
    'random bytes': sample('random', 5000),
    zeros: Buffer.alloc(100),
    'another format': name === 'inflate' ? WHOLE['gunzip']! : WHOLE['inflate']!,
    'cut in the middle': whole.subarray(0, whole.length >> 1),
    'cut before its end': whole.subarray(0, -1),
    'cut before its trailer': whole.subarray(0, -8),
    'followed by zeros': Buffer.concat([whole, Buffer.alloc(20)]),
    'followed by rubbish': Buffer.concat([whole, Buffer.from('rubbish!')]),
    'followed by a magic number': Buffer.concat([whole, Buffer.from([0x1f, 0x8b, 0xff, 0xff])]),
    'followed by itself': Buffer.concat([whole, whole]),
    'followed by itself, cut': Buffer.concat([whole, whole.subarray(0, 3000)]),
    'with a header checksum': Buffer.concat([whole.subarray(0, 3), Buffer.from([2]), whole.subarray(4)]),
    'with reserved flags': Buffer.concat([whole.subarray(0, 3), Buffer.from([0x80]), whole.subarray(4)]),
  };
  // What is left of the last symbol of a block that was cut is read by some engines, and not by others.
  const ends = name === 'inflateRaw' ? [] : name === 'inflate' ? [-3, -1] : [-9, -6, -1];
  for (const at of [0, 1, 2, 3, 12, 500, whole.length >> 1, ...ends]) {
    made[`changed at ${at}`] = flipped(whole, at);
  }
  return made;
}

export const DAMAGE_BEHAVIOURS: Behaviour[] = Object.keys(WHOLE).flatMap((name) =>
  Object.entries(damaged(name)).map(([what, bytes]) => ({
    name: `${name}: ${what}`,
    see: async (module: Loose) => [
      outcome(() => module[`${name}Sync`](bytes)),
      await called((callback) => module[name](bytes, callback)),
      await called((callback) => module[name](bytes, { finishFlush: zlib.constants.Z_SYNC_FLUSH }, callback)),
      await fed(new module[CLASS[name]!](), bytes, 65536),
      await fed(new module[CLASS[name]!](), bytes, 1000),
      await fed(new module[CLASS[name]!]({ finishFlush: zlib.constants.Z_SYNC_FLUSH }), bytes, 65536),
      bytes.length < 200 ? await fed(new module[CLASS[name]!](), bytes, 1) : undefined,
    ],
  })),
);

const large = zlib.gzipSync(sample('packed', 3_000_000), { level: 1 });

DAMAGE_BEHAVIOURS.push(
  {
    name: 'damage far into a stream is an error',
    see: async (module: Loose) => (await fed(module['createGunzip'](), flipped(large, -6), 65536)).error,
  },
  ...Object.entries({
    whole: large,
    'followed by zeros': Buffer.concat([large, Buffer.alloc(70_000)]),
    'followed by rubbish': Buffer.concat([large, Buffer.from('rubbish!')]),
    'followed by a short one': Buffer.concat([large, zlib.gzipSync('the end')]),
    'followed by itself': Buffer.concat([large, large]),
    cut: large.subarray(0, -1),
  }).flatMap(([what, bytes]) =>
    [1000, 65536, 700_000].map((chunk) => ({
      name: `a long stream, ${what}, in chunks of ${chunk}`,
      see: async (module: Loose) => {
        const { output, error, taken } = await fed(module['createGunzip'](), bytes, chunk);
        return error ? error : [output, taken];
      },
    })),
  ),
  {
    name: 'the rest of a long stream that ends early is left alone',
    see: async (module: Loose) => {
      const bytes = Buffer.concat([zlib.deflateRawSync(sample('packed', 3_000_000)), Buffer.alloc(5000, 1)]);
      const { output, taken } = await fed(module['createInflateRaw'](), bytes, 65536);
      return [output, taken];
    },
  },
  {
    name: 'a bomb is stopped',
    see: async (module: Loose) => {
      const bomb = zlib.gzipSync(Buffer.alloc(50_000_000));
      return [
        outcome(() => module['gunzipSync'](bomb, { maxOutputLength: 1_000_000 })),
        await called((callback) => module['gunzip'](bomb, { maxOutputLength: 1_000_000 }, callback)),
      ];
    },
  },
  {
    name: 'a missing or wrong dictionary is named',
    see: async (module: Loose) => {
      const packed = zlib.deflateSync(text, { dictionary: Buffer.from('export function') });
      return [
        outcome(() => module['inflateSync'](packed)),
        await called((callback) => module['inflate'](packed, callback)),
        await fed(module['createInflate'](), packed, 65536),
        await fed(module['createInflate']({ dictionary: Buffer.from('other') }), packed, 65536),
        await fed(module['createInflate']({ dictionary: Buffer.from('export function') }), packed, 65536),
      ];
    },
  },
  {
    name: 'a promise rejects with the same error',
    see: (module: Loose) =>
      promisify(module['gunzip'])(Buffer.from('no gzip')).catch((error: Error) => error.message),
  },
);
