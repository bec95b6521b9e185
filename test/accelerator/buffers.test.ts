import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import zlib from 'node:zlib';
import { type Accelerator, type Bytes, DetachedError, open } from '../../src/index.js';
import { FORMATS, MIB, sample } from '../support/corpus.js';
import { fails, runChild, settles } from '../support/expect.js';

type Resizable = ArrayBuffer & { resize(length: number): void };
function resizable(data: Uint8Array, maxByteLength = data.length * 2): Resizable {
  const Constructor = ArrayBuffer as unknown as new (n: number, o: { maxByteLength: number }) => Resizable;
  const buffer = new Constructor(data.length, { maxByteLength });
  new Uint8Array(buffer).set(data);
  return buffer;
}

/** Bytes in an ArrayBuffer of their own, which can be transferred away. */
function own(data: Uint8Array): Uint8Array {
  return new Uint8Array(data);
}

function detach(view: Uint8Array): void {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] });
  assert.equal(view.byteLength, 0);
}

for (const [mode, options] of Object.entries({ 'shared addresses': {}, 'mapped memory': { sva: false } })) {
  describe(`buffers with ${mode}`, () => {
    let acc: Accelerator;
    before(async () => {
      acc = await open(options);
    });
    after(() => settles(acc.close(), 'close'));

    const stillGood = async (): Promise<void> => {
      const data = sample('text', 3000);
      assert.ok((await acc.decompress(await acc.compress(data))).equals(data));
      assert.ok(acc.decompressSync(acc.compressSync(data)).equals(data));
    };

    it('takes every kind of view, at any offset, and no byte more', async () => {
      const backing = own(sample('text', 8192));
      const at = 64;
      const length = 1024;
      const { buffer } = backing;
      const views: Bytes[] = [
        new Int8Array(buffer, at, length),
        new Uint8Array(buffer, at, length),
        new Uint8ClampedArray(buffer, at, length),
        new Int16Array(buffer, at, length / 2),
        new Uint16Array(buffer, at, length / 2),
        new Int32Array(buffer, at, length / 4),
        new Uint32Array(buffer, at, length / 4),
        new Float32Array(buffer, at, length / 4),
        new Float64Array(buffer, at, length / 8),
        new BigInt64Array(buffer, at, length / 8),
        new BigUint64Array(buffer, at, length / 8),
        new DataView(buffer, at, length),
        Buffer.from(buffer as ArrayBuffer, at, length),
      ];
      const right = Buffer.from(backing.subarray(at, at + length));
      for (const view of views) {
        const name = view.constructor.name;
        assert.ok(zlib.gunzipSync(await acc.compress(view)).equals(right), name);
        assert.ok(zlib.gunzipSync(acc.compressSync(view)).equals(right), name);
      }
      const odd = new DataView(buffer, 3, 777);
      assert.ok(zlib.gunzipSync(acc.compressSync(odd)).equals(backing.subarray(3, 780)));
      assert.ok(zlib.gunzipSync(await acc.compress(odd)).equals(backing.subarray(3, 780)));
      const packed = own(zlib.gzipSync(right));
      const shifted = new Uint8Array(packed.length + 5);
      shifted.set(packed, 5);
      const view = new DataView(shifted.buffer, 5);
      assert.ok((await acc.decompress(view)).equals(right));
      assert.ok(acc.decompressSync(view).equals(right));
    });

    it('takes whole buffers, shared ones too', async () => {
      for (const length of [0, 1, 100, 700_000]) {
        const data = sample('text', length);
        const plain = own(data).buffer as ArrayBuffer;
        const shared = new SharedArrayBuffer(length);
        new Uint8Array(shared).set(data);
        for (const input of [plain, shared, new Uint8Array(shared), resizable(data)]) {
          assert.ok(zlib.gunzipSync(await acc.compress(input)).equals(data));
          assert.ok(zlib.gunzipSync(acc.compressSync(input)).equals(data));
        }
        const packed = zlib.gzipSync(data);
        const sharedPacked = new SharedArrayBuffer(packed.length);
        new Uint8Array(sharedPacked).set(packed);
        assert.ok((await acc.decompress(sharedPacked)).equals(data));
        assert.ok(acc.decompressSync(sharedPacked).equals(data));
      }
    });

    it('takes nothing for something', async () => {
      for (const algorithm of FORMATS) {
        for (const empty of [
          Buffer.alloc(0),
          new Uint8Array(0),
          new ArrayBuffer(0),
          new DataView(new ArrayBuffer(8), 8),
        ]) {
          for (const level of [0, 1, 6, 9]) {
            const packed = await acc.compress(empty, { algorithm, level });
            assert.ok(packed.equals(acc.compressSync(empty, { algorithm, level })));
            assert.equal((await acc.decompress(packed, { algorithm })).length, 0);
          }
        }
      }
    });

    it('gives results that are nobody else’s', async () => {
      const inputs = Array.from({ length: 40 }, (_, index) => sample('random', 2000, index * 31));
      const results = await acc.compressMany(inputs);
      const backs = await acc.decompressMany(results);
      results.forEach((result) => {
        result.fill(0xaa);
      });
      await acc.compressMany(inputs.map(() => Buffer.alloc(2000)));
      backs.forEach((back, index) => {
        assert.ok(back.equals(inputs[index]!));
      });
    });

    it('refuses a detached buffer', async () => {
      const gone = own(sample('text', 100));
      const { buffer } = gone;
      detach(gone);
      const session = acc.session();
      for (const input of [gone, buffer]) {
        for (const attempt of [
          () => acc.compress(input),
          () => acc.compressSync(input),
          () => acc.decompress(input),
          () => acc.decompressSync(input),
          () => acc.compressMany([input]),
          () => session.compress(input),
        ]) {
          await fails(attempt, DetachedError, 'DETACHED', /detached/);
        }
      }
      await stillGood();
    });

    it('is right for what was sent when the buffer goes or changes at once', async () => {
      const data = sample('text', 20_000);
      const packed = zlib.gzipSync(data);
      for (let round = 0; round < 50; round++) {
        const changed = own(data);
        const compressing = acc.compress(changed, { level: 1 + (round % 9) });
        changed.fill(0);
        assert.ok(zlib.gunzipSync(await compressing).equals(data));

        const gone = own(packed);
        const decompressing = acc.decompress(gone);
        detach(gone);
        assert.ok((await decompressing).equals(data));
      }
      await stillGood();
    });

    it('settles a large buffer that is overwritten meanwhile with a whole stream', async () => {
      const data = own(sample('random', 3 * MIB));
      const before = Buffer.from(data);
      const work = acc.compress(data, { level: 1 });
      data.fill(0);
      const back = zlib.gunzipSync(await settles(work, 'compress'));
      assert.equal(back.length, before.length);
      for (let at = 0; at < back.length; at += 512 * 1024) {
        const piece = back.subarray(at, at + 512 * 1024);
        const old = piece.equals(before.subarray(at, at + piece.length));
        assert.ok(old || piece.every((byte) => byte === 0), `the piece at ${at} is one or the other`);
      }
      await stillGood();
    });

    it('settles a large buffer that is detached meanwhile: right, or DetachedError', async () => {
      const data = own(sample('random', 4 * MIB));
      const before = Buffer.from(data);
      const work = acc.compress(data, { level: 9 });
      detach(data);
      await rightOrDetached(work, (packed) => zlib.gunzipSync(packed).equals(before));

      const packed = own(zlib.gzipSync(before));
      const decompressing = acc.decompress(packed);
      detach(packed);
      await rightOrDetached(decompressing, (back) => back.equals(before));

      // A small input with a large result is sent twice.
      const bomb = own(zlib.gzipSync(Buffer.alloc(3 * MIB)));
      const expanding = acc.decompress(bomb);
      detach(bomb);
      await rightOrDetached(expanding, (back) => back.equals(Buffer.alloc(3 * MIB)));
      await stillGood();
    });

    it('settles a buffer that shrinks meanwhile: right, or DetachedError', async () => {
      const large = sample('random', 4 * MIB);
      const shrinking = resizable(large);
      const work = acc.compress(shrinking, { level: 1 });
      shrinking.resize(1000);
      await rightOrDetached(work, (packed) => zlib.gunzipSync(packed).equals(large));

      const packed = zlib.gzipSync(large);
      const shrinkingPacked = resizable(packed);
      const decompressing = acc.decompress(shrinkingPacked);
      shrinkingPacked.resize(300_000);
      await rightOrDetached(decompressing, (back) => back.equals(large));
      await stillGood();
    });

    it('gives DetachedError to a request that waits when its buffer goes, and serves the others', async () => {
      await using narrow = await open({ ...options, queueDepth: 2, engines: 1 });
      const data = sample('text', 100_000);
      const leading = Array.from({ length: 6 }, () => narrow.compress(data, { level: 9 }));
      const gone = own(data);
      const shrunk = resizable(data);
      const grown = resizable(data);
      const view = new Uint8Array(shrunk, 10, data.length - 10);
      const losing = [narrow.compress(gone), narrow.compress(shrunk), narrow.compress(view)];
      const growing = narrow.compress(grown);
      const trailing = narrow.compress(data);
      detach(gone);
      shrunk.resize(5);
      grown.resize(data.length * 2);
      for (const work of losing) {
        await fails(settles(work, 'a lost buffer'), DetachedError, 'DETACHED', /detached or resized/);
      }
      await rightOrDetached(growing, (packed) => zlib.gunzipSync(packed).equals(data));
      for (const work of [...leading, trailing]) assert.ok(zlib.gunzipSync(await work).equals(data));
    });

    it('reads what alloc() gave where it lies, and keeps it after close', async () => {
      const local = await open(options);
      const text = sample('text', 200_000);
      const buffer = await local.alloc(200_000);
      assert.equal(buffer.length, 200_000);
      assert.ok(
        buffer.every((byte) => byte === 0),
        'zeroed',
      );
      text.copy(buffer);
      for (const part of [buffer, buffer.subarray(13, 50_001), buffer.subarray(7, 7)]) {
        const right = Buffer.from(part);
        assert.ok(zlib.gunzipSync(await local.compress(part)).equals(right));
        assert.ok(zlib.gunzipSync(local.compressSync(part)).equals(right));
        const [many] = await local.compressMany([part]);
        assert.ok(zlib.gunzipSync(many!).equals(right));
      }
      const packed = zlib.gzipSync(text);
      const packedHere = await local.alloc(packed.length);
      packed.copy(packedHere);
      assert.ok((await local.decompress(packedHere)).equals(text));
      assert.ok(local.decompressSync(packedHere).equals(text));
      const large = await local.alloc(2 * MIB);
      sample('text', 2 * MIB).copy(large);
      assert.ok(zlib.gunzipSync(await local.compress(large)).equals(large));
      await local.close();
      assert.ok(buffer.equals(text));
      buffer.fill(1);
      assert.equal(buffer[199_999], 1);
      // It is another accelerator's, so its bytes are copied there.
      assert.ok(zlib.gunzipSync(await acc.compress(buffer)).equals(buffer));
    });

    it('survives that alloc() memory is overwritten while it is read', async () => {
      const buffer = await acc.alloc(300_000);
      for (let round = 0; round < 30; round++) {
        sample(round % 2 ? 'text' : 'random', buffer.length, round).copy(buffer);
        const work = acc.compress(buffer, { level: round % 10 });
        buffer.fill(round);
        // Whatever comes out, it comes.
        await settles(
          work.catch(() => {}),
          'compress',
        );
      }
      await stillGood();
    });
  });
}

async function rightOrDetached(work: Promise<Buffer>, isRight: (result: Buffer) => boolean): Promise<void> {
  let result: Buffer;
  try {
    result = await settles(work, 'a request whose buffer went');
  } catch (error) {
    assert.ok(error instanceof DetachedError, `DetachedError is wanted, not ${String(error)}`);
    return;
  }
  assert.ok(isRight(result), 'the result is that of what was sent');
}

describe('memory from alloc()', () => {
  for (const sva of [true, false]) {
    it(`goes when nobody holds it any more (sva: ${sva})`, async () => {
      const { code, signal, stderr } = await runChild(
        `
        const { open } = await import(library);
        const { mappingCount } = await import(memory);
        const acc = await open({ sva: ${sva} });
        const before = mappingCount().bytes;
        for (let round = 0; round < 40; round++) {
          const buffer = await acc.alloc(1 << 20);
          buffer.fill(round);
          const pending = acc.compress(buffer.subarray(5));
          await (round % 2 ? pending : acc.compress(buffer));
          await pending;
        }
        for (let turn = 0; turn < 400 && mappingCount().bytes > before; turn++) {
          globalThis.gc();
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        if (mappingCount().bytes > before) throw new Error('kept ' + (mappingCount().bytes - before));
        const kept = await acc.alloc(4096);
        await acc.close();
        globalThis.gc();
        await new Promise((resolve) => setTimeout(resolve, 50));
        kept.fill(9);
        `,
        ['--expose-gc'],
      );
      assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' });
    });
  }

  it('is held while a request reads it, though the application has dropped it', async () => {
    const { code, signal, stderr } = await runChild(
      `
      const { open } = await import(library);
      const acc = await open({ queueDepth: 4, engines: 1 });
      const zlib = await import('node:zlib');
      const works = [];
      for (let index = 0; index < 30; index++) {
        const buffer = await acc.alloc(400000);
        buffer.fill(index);
        works.push(acc.compress(buffer, { level: 9 }));
        globalThis.gc();
      }
      for (const [index, work] of works.entries()) {
        globalThis.gc();
        const back = zlib.gunzipSync(await work);
        if (back.length !== 400000 || back.some((byte) => byte !== index)) throw new Error('wrong ' + index);
      }
      await acc.close();
      `,
      ['--expose-gc'],
    );
    assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' });
  });
});
