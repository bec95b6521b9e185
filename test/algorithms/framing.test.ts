import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { gzipSizeHint, isGzipMagic, StreamTrailer, streamHeader } from '../../src/algorithms/framing.js';
import { FORMATS, reference } from '../support/corpus.js';

describe('framing', () => {
  it('makes a standard stream of raw blocks, cut anywhere', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 3000 }),
        fc.array(fc.nat(3000), { maxLength: 4 }),
        fc.constantFrom(...FORMATS),
        fc.integer({ min: 0, max: 12 }),
        (data, places, algorithm, level) => {
          const trailer = new StreamTrailer(algorithm);
          const ends = [...places.map((at) => Math.min(at, data.length)).sort((a, b) => a - b), data.length];
          let from = 0;
          for (const end of ends) {
            const part = data.subarray(from, end);
            const sum =
              algorithm === 'deflate'
                ? zlib.deflateSync(part).readInt32BE(zlib.deflateSync(part).length - 4)
                : zlib.crc32(part) | 0;
            trailer.add(sum, part.length);
            from = end;
          }
          const stream = Buffer.concat([
            streamHeader(algorithm, level),
            zlib.deflateRawSync(data),
            trailer.bytes(),
          ]);
          assert.ok(reference[algorithm].unpack(stream).equals(data));
        },
      ),
    );
  });

  it('writes the header of zlib that zlib writes', () => {
    for (let level = 0; level <= 9; level++) {
      const right = zlib.deflateSync('x', { level }).subarray(0, 2);
      assert.deepEqual([...streamHeader('deflate', level)], [...right], `level ${level}`);
    }
    assert.equal(streamHeader('deflate-raw', 6).length, 0);
  });

  it('writes a header of gzip with name and time', () => {
    const plain = streamHeader('gzip', 6);
    assert.deepEqual([...plain], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    assert.equal(streamHeader('gzip', 9)[8], 2);
    assert.equal(streamHeader('gzip', 1)[8], 4);
    const named = streamHeader('gzip', 6, { name: 'caf\u00e9.txt', mtime: 0xfedcba98 });
    assert.equal(named[3], 8);
    assert.equal(named.readUInt32LE(4), 0xfedcba98);
    assert.equal(named.toString('latin1', 10), 'caf\u00e9.txt\0');
  });

  it('recognises members and what they claim', () => {
    const packed = zlib.gzipSync(Buffer.alloc(70_000));
    assert.equal(gzipSizeHint(packed), 70_000);
    assert.equal(gzipSizeHint(packed.subarray(0, 17)), 0);
    packed.writeUInt32LE(0xffffffff, packed.length - 4);
    assert.equal(gzipSizeHint(packed), 0xffffffff);
    assert.ok(isGzipMagic(packed, 0));
    assert.ok(!isGzipMagic(packed, 1));
    assert.ok(!isGzipMagic(Buffer.from([0x1f]), 0));
    assert.ok(!isGzipMagic(Buffer.alloc(0), 0));
  });

  it('counts lengths beyond 4 GiB as gzip does', () => {
    const trailer = new StreamTrailer('gzip');
    for (let part = 0; part < 5; part++) trailer.add(0, 2 ** 30);
    trailer.add(0, 7);
    assert.equal(trailer.bytes().readUInt32LE(4), 2 ** 30 + 7);
  });
});
