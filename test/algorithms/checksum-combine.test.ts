import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { combineAdler32, combineCrc32 } from '../../src/algorithms/checksum-combine.js';

/** Adler-32 as node:zlib writes it at the end of a stream. */
function adler32(data: Uint8Array): number {
  return zlib.deflateSync(data).readUInt32BE(zlib.deflateSync(data).length - 4);
}

const part = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.nat(200_000).map((length) => new Uint8Array(length).fill(0xff)),
  fc.constantFrom(0, 1, 5551, 5552, 5553, 65_520, 65_521, 65_522).map((length) => new Uint8Array(length)),
);

describe('checksums of a whole from those of its parts', () => {
  it('CRC-32', () => {
    fc.assert(
      fc.property(fc.array(part, { maxLength: 5 }), (parts) => {
        let crc = 0;
        for (const each of parts) crc = combineCrc32(crc, zlib.crc32(each), each.length);
        assert.equal(crc, zlib.crc32(Buffer.concat(parts)));
      }),
    );
  });

  it('Adler-32', () => {
    fc.assert(
      fc.property(fc.array(part, { maxLength: 5 }), (parts) => {
        let sum = 1;
        for (const each of parts) sum = combineAdler32(sum, adler32(each), each.length);
        assert.equal(sum, adler32(Buffer.concat(parts)));
      }),
    );
  });

  it('of parts beyond 4 GiB: zeros appended by squaring agree with zeros appended at once', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 20, max: 45 }), (crc, power) => {
        // Doubling a run of zeros: both halves must combine to the whole.
        const zeros = (n: number): number => {
          let sum = zlib.crc32(new Uint8Array(1024));
          for (let length = 1024; length < 2 ** n; length *= 2) sum = combineCrc32(sum, sum, length);
          return sum;
        };
        const half = combineCrc32(crc, zeros(power), 2 ** power);
        const twice = combineCrc32(half, zeros(power), 2 ** power);
        assert.equal(twice, combineCrc32(crc, zeros(power + 1), 2 ** (power + 1)));
      }),
      { numRuns: 20 },
    );
  });

  it('are unsigned', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), fc.nat(0xffffffff), fc.nat(1e9), (a, b, length) => {
        for (const sum of [combineCrc32(a, b, length), combineAdler32(a, b, length)]) {
          assert.ok(Number.isInteger(sum) && sum >= 0 && sum <= 0xffffffff);
        }
      }),
    );
  });
});
