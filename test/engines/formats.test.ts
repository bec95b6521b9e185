import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import type { Engine } from '../../src/device/engines/engine.js';
import { EDGE_SIZES, KINDS, MIB, sample, samples } from '../support/corpus.js';
import { requirement } from '../support/requirement.js';
import { enginesFor, openStream, run } from './support-engine.js';

type Format = 'zstd' | 'lz4' | 'lz4-block' | 'br';
const FORMATS: Format[] = ['zstd', 'lz4', 'lz4-block', 'br'];
/** Programs that are nobody's but their authors'. */
const PROGRAMS: Partial<Record<Format, string>> = { zstd: 'zstd', lz4: 'lz4', br: 'brotli' };

function program(name: string, args: string[], input: Uint8Array): Buffer {
  const done = spawnSync(name, args, { input, maxBuffer: 64 * MIB });
  assert.equal(done.status, 0, `${name}: ${done.stderr}`);
  return done.stdout;
}
const has = (name: string): boolean => spawnSync(name, ['--version']).status === 0;
const levelsOf = (engine: Engine, format: Format): { min: number; max: number } =>
  engine.capabilities.find((each) => each.levels && each.algorithms.includes(format))!.levels!;

for (const format of FORMATS) {
  describe(`${format} by each engine`, () => {
    const engines = enginesFor('compress', format);
    const [first] = engines;
    const pack = (data: Uint8Array): Buffer => run(first!, 'compress', format, data).output;

    it('comes back whole, by every engine from every other', () => {
      fc.assert(
        fc.property(samples(MIB), fc.constantFrom(...engines), fc.constantFrom(...engines), (data, a, b) => {
          const packed = run(a, 'compress', format, data);
          assert.equal(packed.status, 'ok', a.name);
          assert.equal(packed.consumed, data.length);
          const back = run(b, 'decompress', format, packed.output);
          assert.equal(back.status, 'ok', `${b.name} of ${a.name}`);
          assert.equal(back.consumed, packed.produced);
          assert.ok(back.ended && back.output.equals(data), `${b.name} of ${a.name}`);
        }),
        { numRuns: 60 },
      );
      for (const engine of engines) {
        for (const size of EDGE_SIZES) {
          const data = sample('text', size);
          const packed = run(engine, 'compress', format, data).output;
          assert.ok(run(engine, 'decompress', format, packed).output.equals(data), `${engine.name} ${size}`);
        }
      }
    });

    it('at every level, and more tightly at the highest', () => {
      for (const engine of engines) {
        const { min, max } = levelsOf(engine, format);
        const data = sample('text', 100_000);
        const lengths: number[] = [];
        for (let level = min; level <= max; level++) {
          const packed = run(engine, 'compress', format, data, { level });
          assert.equal(packed.status, 'ok');
          assert.ok(run(engine, 'decompress', format, packed.output).output.equals(data));
          lengths.push(packed.produced);
        }
        if (max > min) assert.ok(lengths.at(-1)! < 0.9 * lengths[0]!, `${engine.name}: ${lengths}`);
      }
    });

    it('with exactly the room that it takes, and not with less', () => {
      for (const engine of engines) {
        for (const kind of KINDS) {
          const data = sample(kind, 20_000);
          const packed = run(engine, 'compress', format, data);
          const back = run(engine, 'decompress', format, packed.output, { capacity: data.length });
          assert.equal(back.status, 'ok', `${engine.name} ${kind}`);
          assert.ok(back.output.equals(data));
          for (const capacity of [data.length - 1, 1]) {
            const short = run(engine, 'decompress', format, packed.output, { capacity });
            assert.equal(short.status, 'noSpace', `${engine.name} ${kind} ${capacity}`);
          }
          const narrow = run(engine, 'compress', format, data, { capacity: packed.produced - 1 });
          // A smaller result may exist; what must not happen is a wrong one.
          if (narrow.status === 'ok') {
            assert.ok(run(engine, 'decompress', format, narrow.output).output.equals(data));
          } else {
            assert.equal(narrow.status, 'noSpace', `${engine.name} ${kind}`);
          }
        }
      }
    });

    it('refuses input that ends early or is damaged, and never writes behind the destination', () => {
      const data = sample('text', 3000);
      const packed = pack(data);
      for (const engine of engines) {
        assert.equal(run(engine, 'decompress', format, Buffer.alloc(0)).status, 'truncated');
        for (let cut = 1; cut < packed.length; cut++) {
          const { status, output } = run(engine, 'decompress', format, packed.subarray(0, cut));
          // A raw block has neither a size nor a checksum: cut where literals end, it is one.
          if (format === 'lz4-block' && status === 'ok')
            assert.ok(data.subarray(0, output.length).equals(output));
          else
            assert.ok(status === 'truncated' || status === 'corrupt', `${engine.name} at ${cut}: ${status}`);
        }
        for (let at = 0; at < packed.length; at++) {
          for (const bit of [1, 0x80]) {
            const bad = Buffer.from(packed);
            bad[at]! ^= bit;
            const { status, output } = run(engine, 'decompress', format, bad, { capacity: 8192 });
            const isRight = status !== 'ok' || output.equals(data);
            if (format === 'zstd' || format === 'lz4')
              assert.ok(isRight || output.length === 0, `${engine.name} ${at}`);
          }
        }
        fc.assert(
          fc.property(
            fc.uint8Array({ maxLength: 300 }),
            fc.integer({ min: 1, max: 5000 }),
            (noise, capacity) => {
              run(engine, 'decompress', format, noise, { capacity });
              const mixed = Buffer.concat([packed.subarray(0, noise.length), noise]);
              run(engine, 'decompress', format, mixed, { capacity });
            },
          ),
          { numRuns: 300 },
        );
      }
    });

    it('stops at the end of the first stream', () => {
      if (format === 'lz4-block') return;
      const data = sample('text', 5000);
      const packed = pack(data);
      for (const engine of engines) {
        for (const rest of [packed, Buffer.from('something else'), Buffer.alloc(3)]) {
          const back = run(engine, 'decompress', format, Buffer.concat([packed, rest]));
          assert.equal(back.status, 'ok');
          assert.equal(back.consumed, packed.length, engine.name);
          assert.ok(back.output.equals(data));
        }
      }
    });

    it('as a stream, cut anywhere', () => {
      for (const engine of engines.filter((each) =>
        each.capabilities.some((c) => c.session === 'exclusive' && c.algorithms.includes(format)),
      )) {
        const context = openStream(engine, format);
        fc.assert(
          fc.property(
            fc.integer({ min: 1, max: 3000 }),
            fc.integer({ min: 1, max: 9000 }),
            fc.constantFrom(...KINDS),
            (step, capacity, kind) => {
              const data = sample(kind, 20_000);
              const packed = pack(data);
              const twice = Buffer.concat([packed, packed]);
              const parts: Buffer[] = [];
              let ends = 0;
              for (let at = 0, idle = 0; ends < 2; ) {
                const chunk = twice.subarray(at, at + step);
                const done = run(engine, 'decompress', format, chunk, { context, capacity });
                assert.equal(done.status, 'ok');
                idle = done.consumed + done.produced === 0 && !done.ended ? idle + 1 : 0;
                assert.ok(idle < 3, 'it moves on');
                at += done.consumed;
                parts.push(done.output);
                if (done.ended) assert.equal(at, ++ends * packed.length);
              }
              assert.ok(Buffer.concat(parts).equals(Buffer.concat([data, data])));
            },
          ),
          { numRuns: 25 },
        );
        // After damage it begins anew.
        const packed = pack(sample('text', 4000));
        const bad = Buffer.from(packed);
        bad.fill(0xff, 0, 8);
        assert.equal(run(engine, 'decompress', format, bad, { context }).status, 'corrupt');
        assert.equal(run(engine, 'decompress', format, packed, { context }).status, 'ok');
        for (let calls = 0; calls < 50; calls++) {
          assert.equal(run(engine, 'decompress', format, Buffer.alloc(0), { context }).status, 'ok');
        }
        engine.closeContext(context);
      }
    });

    const tool = PROGRAMS[format];
    if (tool) {
      it(`is what the program ${tool} reads, and the other way round`, (t) => {
        if (!requirement(t, has(tool), `the program ${tool}`)) return;
        for (const kind of KINDS) {
          const data = sample(kind, 300_000);
          for (const engine of engines) {
            const { output } = run(engine, 'compress', format, data);
            assert.ok(program(tool, ['-dc'], output).equals(data), engine.name);
            for (const level of ['-1', '-9']) {
              const theirs = program(
                tool,
                [...(tool === 'brotli' ? ['-q', level.slice(1)] : [level]), '-c'],
                data,
              );
              const back = run(engine, 'decompress', format, theirs);
              assert.equal(back.status, 'ok', engine.name);
              assert.ok(back.output.equals(data));
            }
          }
        }
      });
    }
  });
}

describe('DEFLATE streams by each engine', () => {
  const PACK = { 'deflate-raw': zlib.deflateRawSync, deflate: zlib.deflateSync, gzip: zlib.gzipSync };

  for (const [format, pack] of Object.entries(PACK) as [keyof typeof PACK, (data: Buffer) => Buffer][]) {
    it(`${format}, cut anywhere, end where they end, whatever follows`, () => {
      const engines = enginesFor('decompress', format).filter(({ capabilities }) =>
        capabilities.some(({ operations, session }) => session && operations.includes('decompress')),
      );
      assert.ok(engines.length > 0);
      for (const engine of engines) {
        const context = openStream(engine, format);
        const check = (data: Buffer, step: number, capacity: number): void => {
          const packed = pack(data);
          const followed = Buffer.concat([packed, Buffer.alloc(40, 0xe5)]);
          const parts: Buffer[] = [];
          for (let at = 0, idle = 0, ended = false; !ended; ) {
            const chunk = followed.subarray(at, at + step);
            const done = run(engine, 'decompress', format, chunk, { context, capacity });
            assert.equal(done.status, 'ok', engine.name);
            ended = done.ended;
            idle = done.consumed + done.produced === 0 && !ended ? idle + 1 : 0;
            assert.ok(idle < 3, `${engine.name} moves on`);
            at += done.consumed;
            parts.push(done.output);
            if (ended) assert.equal(at, packed.length, engine.name);
          }
          assert.ok(Buffer.concat(parts).equals(data), engine.name);
        };
        // The room is full just before the end, when all input has been read long ago.
        for (const kind of KINDS) {
          for (const more of [0, 1, 2, 7, 100, 300]) check(sample(kind, 5000 + more), 20_000, 5000);
        }
        fc.assert(
          fc.property(
            fc.integer({ min: 1, max: 3000 }),
            fc.integer({ min: 1, max: 9000 }),
            fc.constantFrom(...KINDS),
            fc.integer({ min: 0, max: 20_000 }),
            (step, capacity, kind, length) => check(sample(kind, length), step, capacity),
          ),
          { numRuns: 100 },
        );
        engine.closeContext(context);
      }
    });
  }
});

describe('hostile streams', () => {
  /** A frame header of zstd that claims a content of 2^60 bytes, then one block of 8 zeros. */
  const zstdLiar = Buffer.from('28b52ffde0' + '0000000000000010' + '430000' + '00', 'hex');
  /** One that wants a window of 2 GiB. */
  const zstdWide = Buffer.from('28b52ffd00a8' + '430000' + '00', 'hex');

  it('of zstd, that lie about their size or want a vast window, get no memory', () => {
    for (const engine of enginesFor('decompress', 'zstd')) {
      assert.notEqual(run(engine, 'decompress', 'zstd', zstdLiar).status, 'ok', engine.name);
      const before = process.memoryUsage().rss;
      if (engine.name === 'zstd') {
        for (const bad of [zstdLiar, zstdWide]) {
          const context = openStream(engine, 'zstd');
          assert.equal(run(engine, 'decompress', 'zstd', bad, { context }).status, 'noResources');
          engine.closeContext(context);
        }
      }
      assert.ok(process.memoryUsage().rss - before < 64 * MIB);
    }
  });

  it('of zstd, to be skipped, are a frame of their own with nothing in it', () => {
    const skippable = Buffer.from('502a4d1805000000' + '0102030405', 'hex');
    for (const engine of enginesFor('decompress', 'zstd')) {
      const done = run(engine, 'decompress', 'zstd', Buffer.concat([skippable, Buffer.from('more')]));
      assert.deepEqual([done.status, done.consumed, done.produced], ['ok', skippable.length, 0], engine.name);
    }
    for (const engine of enginesFor('decompress', 'lz4')) {
      const done = run(engine, 'decompress', 'lz4', Buffer.concat([skippable, Buffer.from('more')]));
      assert.deepEqual([done.status, done.consumed, done.produced], ['ok', skippable.length, 0], engine.name);
    }
  });

  it('that expand a thousandfold stay within the destination', () => {
    const bomb = Buffer.alloc(4 * MIB);
    for (const format of ['zstd', 'lz4', 'lz4-block', 'br'] as const) {
      const [engine] = enginesFor('compress', format);
      const packed = run(engine!, 'compress', format, bomb).output;
      assert.ok(packed.length < bomb.length / 200, format);
      for (const each of enginesFor('decompress', format)) {
        const done = run(each, 'decompress', format, packed, { capacity: 1000 });
        assert.equal(done.status, 'noSpace', `${each.name} ${format}`);
      }
    }
  });

  it('of lz4 blocks, whose lengths and offsets lead outside, are corrupt', () => {
    const table: [string, string][] = [
      ['an offset before the beginning', '1041' + '0500' + '50' + '4141414141'],
      ['literals beyond the end', 'f0ff41'],
      ['a length without an end', 'f0ffffff'],
      ['half an offset', '104101'],
      ['nothing after a match', '10410100'],
    ];
    for (const engine of enginesFor('decompress', 'lz4-block')) {
      for (const [what, hex] of table) {
        const { status } = run(engine, 'decompress', 'lz4-block', Buffer.from(hex, 'hex'));
        assert.ok(status === 'corrupt' || status === 'truncated', `${engine.name}, ${what}: ${status}`);
      }
    }
  });

  it('of lz4 blocks with an offset of 0 show nothing that was there before', () => {
    const secret = Buffer.alloc(300, 'secret');
    const block = Buffer.from('1f41' + '0000' + 'c8' + '50' + '4141414141', 'hex');
    for (const engine of enginesFor('decompress', 'lz4-block')) {
      // Leaves the secret where the next request's result will be.
      const left = run(engine, 'compress', 'lz4-block', secret, { capacity: 5000 }).output;
      run(engine, 'decompress', 'lz4-block', left, { capacity: 5000 });
      const { status, output } = run(engine, 'decompress', 'lz4-block', block, { capacity: 5000 });
      // The format forbids it; liblz4 makes zeros of it.
      if (status === 'ok') assert.match(output.toString('latin1'), /^A\0+A{5}$/, engine.name);
      else assert.equal(status, 'corrupt', engine.name);
    }
  });

  it('node:zlib reads what the engine brotli writes', () => {
    for (const engine of enginesFor('compress', 'br')) {
      const data = sample('text', MIB);
      for (const level of [0, 6, 9]) {
        const packed = run(engine, 'compress', 'br', data, { level }).output;
        assert.ok(zlib.brotliDecompressSync(packed).equals(data));
      }
    }
  });
});
