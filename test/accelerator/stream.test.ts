import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import {
  type Accelerator,
  ArgumentError,
  ClosedError,
  CorruptDataError,
  OutputLimitError,
  open,
  TrailingDataError,
  TruncatedDataError,
} from '../../src/index.js';
import { FORMATS, MIB, reference, sample, samples } from '../support/corpus.js';
import { fails, gather, settles } from '../support/expect.js';

/** Cuts at the given places, and puts empty chunks where two places are the same. */
function cut(data: Buffer, places: number[]): Buffer[] {
  const at = places.map((place) => place % (data.length + 1)).sort((a, b) => a - b);
  const ends = [...at, data.length];
  return ends.map((end, index) => data.subarray(index === 0 ? 0 : ends[index - 1]!, end));
}

const cuts = fc.array(fc.nat(3 * MIB), { maxLength: 12 });
const bytewise = (data: Buffer): Buffer[] => Array.from(data, (byte) => Buffer.from([byte]));

for (const [mode, options] of Object.entries({
  'every engine': {},
  'zlib alone': { disableEngines: ['isa-l', 'libdeflate', 'node'] },
  'mapped memory': { sva: false },
})) {
  describe(`streams with ${mode}`, () => {
    let acc: Accelerator;
    before(async () => {
      acc = await open(options);
    });
    after(() => settles(acc.close(), 'close'));

    it('compresses any chunking into what node:zlib reads', async () => {
      await fc.assert(
        fc.asyncProperty(
          samples(3 * MIB),
          cuts,
          fc.constantFrom(...FORMATS),
          fc.constantFrom(0, 1, 3, 6),
          fc.boolean(),
          async (data, places, algorithm, level, slowly) => {
            const chunks = cut(data, places);
            const source = slowly ? trickle(chunks) : chunks;
            const packed = await gather(acc.compressStream(source, { algorithm, level }));
            assert.ok(reference[algorithm].unpack(packed).equals(data));
          },
        ),
        { numRuns: 40 },
      );
    });

    it('decompresses any chunking of what node:zlib writes', async () => {
      await fc.assert(
        fc.asyncProperty(
          samples(3 * MIB),
          cuts,
          fc.constantFrom(...FORMATS),
          fc.integer({ min: 0, max: 9 }),
          async (data, places, algorithm, level) => {
            const packed = reference[algorithm].pack(data, { level });
            assert.ok((await gather(acc.decompressStream(cut(packed, places), { algorithm }))).equals(data));
          },
        ),
        { numRuns: 40 },
      );
    });

    it('takes one byte at a time, with empty chunks between', async () => {
      const data = sample('text', 3000);
      for (const algorithm of FORMATS) {
        const apart = bytewise(data).flatMap((byte) => [byte, Buffer.alloc(0)]);
        const packed = await gather(acc.compressStream(apart, { algorithm }));
        assert.ok(reference[algorithm].unpack(packed).equals(data));
        const packedApart = bytewise(packed).flatMap((byte) => [Buffer.alloc(0), byte]);
        assert.ok((await gather(acc.decompressStream(packedApart, { algorithm }))).equals(data));
      }
    });

    it('reads members of gzip wherever their boundary is cut', async () => {
      const members = [sample('text', 700), Buffer.alloc(0), sample('random', 300)];
      const packed = Buffer.concat(members.map((member) => zlib.gzipSync(member)));
      const whole = Buffer.concat(members);
      for (let at = 0; at <= packed.length; at++) {
        const back = await gather(acc.decompressStream([packed.subarray(0, at), packed.subarray(at)]));
        assert.ok(back.equals(whole), `cut at ${at}`);
      }
      assert.ok((await gather(acc.decompressStream(bytewise(packed)))).equals(whole));
      assert.ok((await acc.decompress(packed)).equals(whole));
      assert.ok(acc.decompressSync(packed).equals(whole));
    });

    it('finds damage, early ends and what follows, wherever it is cut', async () => {
      const packed = zlib.gzipSync(sample('text', 900));
      for (const chunks of [[packed], bytewise(packed)]) {
        const all = Buffer.concat(chunks);
        const early = chunks.length === 1 ? [all.subarray(0, -3)] : chunks.slice(0, -3);
        await fails(gather(acc.decompressStream(early)), TruncatedDataError, 'TRUNCATED', /too early/);
        const more = [...chunks, Buffer.from('x')];
        const trailing = await fails(
          gather(acc.decompressStream(more)),
          TrailingDataError,
          'TRAILING_DATA',
          /trailingData/,
        );
        assert.equal(trailing.consumed, all.length);
        const ignoring = acc.decompressStream(more, { trailingData: 'ignore' });
        assert.equal((await gather(ignoring)).length, 900);
      }
      const half = [packed, Buffer.from([0x1f])];
      await fails(gather(acc.decompressStream(half)), TrailingDataError, 'TRAILING_DATA', /trailingData/);
      const damaged = Buffer.from(packed);
      damaged[damaged.length - 6]! ^= 1;
      await fails(gather(acc.decompressStream([damaged])), CorruptDataError, 'CORRUPT', /damaged/);
      await fails(gather(acc.decompressStream([])), TruncatedDataError, 'TRUNCATED', /too early/);
    });

    it('refuses a preset dictionary, and comes to an end', async () => {
      const packed = zlib.deflateSync('hello hello hello', { dictionary: Buffer.from('hello') });
      const work = gather(acc.decompressStream(bytewise(packed), { algorithm: 'deflate' }));
      await fails(settles(work, 'a stream with a dictionary'), CorruptDataError, 'CORRUPT', /damaged/);
    });

    it('stops at maxOutputLength', async () => {
      const packed = zlib.gzipSync(Buffer.alloc(5 * MIB));
      let received = 0;
      const bomb = (async () => {
        for await (const part of acc.decompressStream([packed], { maxOutputLength: 2 * MIB })) {
          received += part.length;
        }
      })();
      await fails(bomb, OutputLimitError, 'OUTPUT_LIMIT', /maxOutputLength/);
      assert.ok(received <= 2 * MIB);
      const exact = acc.decompressStream([packed], { maxOutputLength: 5 * MIB });
      assert.equal((await gather(exact)).length, 5 * MIB);
    });

    it('lets go of everything when its reader leaves early, any number of times', async () => {
      const packed = zlib.gzipSync(sample('random', 2 * MIB));
      const chunks = cut(packed, [100_000, 700_000, 1_500_000]);
      // More readers leave than the device has room for streams.
      for (let round = 0; round < 1100; round++) {
        const stream = acc.decompressStream(round % 100 === 0 ? chunks : [chunks[0]!]);
        if (round % 3 !== 0) await stream.next();
        await stream.return();
      }
      for (let round = 0; round < 20; round++) {
        let closed = false;
        const source = (function* () {
          try {
            for (;;) yield sample('text', 300_000);
          } finally {
            closed = true;
          }
        })();
        const stream = acc.compressStream(source, { level: 1 });
        for (let part = 0; part < 2 + (round % 3); part++) await stream.next();
        await stream.return();
        assert.ok(closed, 'the source was told');
      }
      assert.equal((await gather(acc.decompressStream(chunks))).length, 2 * MIB);
    });

    it("passes the source's own error on", async () => {
      const failure = new Error('the source broke');
      const broken = async function* (chunks: Buffer[]) {
        yield* chunks;
        throw failure;
      };
      const text = sample('text', 2 * MIB);
      const packed = zlib.gzipSync(text);
      await assert.rejects(gather(acc.compressStream(broken([text, text]))), failure);
      await assert.rejects(gather(acc.compressStream(broken([]))), failure);
      await assert.rejects(gather(acc.decompressStream(broken([packed.subarray(0, 9000)]))), failure);
      assert.ok((await acc.decompress(await acc.compress(text))).equals(text));
    });

    it('runs many streams at once', async () => {
      const texts = Array.from({ length: 12 }, (_, index) => sample('text', 900_000, index * 1000));
      const backs = await Promise.all(
        texts.map(async (text) => gather(acc.decompressStream(acc.compressStream(cut(text, [5, 600_000]))))),
      );
      for (const [index, text] of texts.entries()) assert.ok(backs[index]!.equals(text));
    });
  });
}

describe('streams', () => {
  it('write the gzip header they are asked for', async () => {
    await using acc = await open();
    const stream = acc.compressStream([Buffer.from('x')], { header: { name: 'a.txt', mtime: 1234567 } });
    const packed = await gather(stream);
    assert.equal(packed[3], 8);
    assert.equal(packed.readUInt32LE(4), 1234567);
    assert.equal(packed.toString('latin1', 10, 16), 'a.txt\0');
    assert.equal(zlib.gunzipSync(packed).toString(), 'x');
    assert.equal((await acc.decompress(packed)).toString(), 'x');
    assert.equal(acc.decompressSync(packed).toString(), 'x');
  });

  it('refuse chunks that are not bytes, rather than lose them', async () => {
    await using acc = await open();
    const strings = ['hello', 'world'] as unknown as Uint8Array[];
    await fails(gather(acc.compressStream(strings)), ArgumentError, 'ARGUMENT', /bytes/);
    await fails(gather(acc.decompressStream(strings)), ArgumentError, 'ARGUMENT', /bytes/);
  });

  it('fail with ClosedError once the accelerator is closed', async () => {
    const acc = await open();
    const endless = (function* () {
      for (;;) yield sample('text', MIB);
    })();
    const compressing = acc.compressStream(endless);
    await compressing.next();
    const decompressing = acc.decompressStream([zlib.gzipSync('x')]);
    await settles(acc.close(), 'close');
    await fails(settles(gather(compressing), 'compressing'), ClosedError, 'CLOSED', /closed/);
    await fails(settles(gather(decompressing), 'decompressing'), ClosedError, 'CLOSED', /closed/);
    await fails(() => acc.compressStream([]), ClosedError, 'CLOSED', /closed/);
    await fails(() => acc.decompressStream([]), ClosedError, 'CLOSED', /closed/);
  });

  it('whose readers pause hold up nobody for good', async () => {
    const acc = await open({ memoryBytes: 4 * MIB, engines: 2 });
    const source = (length: number): Buffer[] => cut(sample('random', length), [1000]);
    // Results that nobody has taken yet lie in device memory, until there is little of it left.
    const paused = [acc.compressStream(source(524_288 + 450_000)), acc.compressStream(source(3 * MIB))];
    for (const stream of paused) {
      await stream.next();
      await settles(stream.next(), 'the first piece');
      await rest();
    }
    const data = sample('random', 500_000);
    const waiting = acc.compress(data).then((packed) => assert.ok(zlib.gunzipSync(packed).equals(data)));
    waiting.catch(() => {});
    await rest();
    for (const stream of paused) await stream.return();
    await settles(waiting, 'a request that waited for the memory of paused streams', 5000);
    await acc.close();
  });

  it('beside each other never fail for memory that another one holds for a while', async () => {
    const acc = await open({ memoryBytes: 4 * MIB, engines: 2 });
    const data = sample('random', 3 * MIB);
    const first = acc.compressStream(cut(data, [1000]));
    for (let part = 0; part < 2; part++) await first.next();
    await rest();
    const second = gather(acc.compressStream(cut(data, [1000])));
    second.catch(() => {});
    await rest();
    await gather(first);
    assert.ok(zlib.gunzipSync(await settles(second, 'the second stream', 5000)).equals(data));
    await acc.close();
  });
});

async function* trickle(chunks: Buffer[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) {
    await new Promise((resolve) => setImmediate(resolve));
    yield chunk;
  }
}

/** Time enough for the device to finish what it has. */
function rest(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 100));
}
