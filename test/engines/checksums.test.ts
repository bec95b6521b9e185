import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { ChecksumAlgorithm } from '../../src/abi/algorithms.js';
import { sample } from '../support/corpus.js';
import { requirement } from '../support/requirement.js';
import { enginesFor, type Ran, run } from './support-engine.js';

const value = ({ result, resultHigh }: Ran): bigint =>
  (BigInt(resultHigh >>> 0) << 32n) | BigInt(result >>> 0);

/** Bit by bit, from the definition: what no table and no library has a part in. */
function plainCrc(bytes: Uint8Array, polynomial: bigint, bits: bigint): bigint {
  const ones = (1n << bits) - 1n;
  let crc = ones;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ polynomial : crc >> 1n;
  }
  return crc ^ ones;
}

function plainAdler(bytes: Uint8Array): bigint {
  let a = 1;
  let b = 0;
  for (const byte of bytes) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return BigInt(((b << 16) | a) >>> 0);
}

const PLAIN: Partial<Record<ChecksumAlgorithm, (bytes: Uint8Array) => bigint>> = {
  crc32: (bytes) => plainCrc(bytes, 0xedb88320n, 32n),
  crc32c: (bytes) => plainCrc(bytes, 0x82f63b78n, 32n),
  'crc64-ecma': (bytes) => plainCrc(bytes, 0xc96c5795d7870f42n, 64n),
  adler32: plainAdler,
};

/** Published results: the catalogue of CRCs (of "123456789"), RFC 3720 B.4, and xxHash's own documentation. */
const VECTORS: [ChecksumAlgorithm, Uint8Array, bigint][] = [
  ['crc32', Buffer.from('123456789'), 0xcbf43926n],
  ['crc32c', Buffer.from('123456789'), 0xe3069283n],
  ['crc32c', Buffer.alloc(32), 0x8a9136aan],
  ['crc32c', Buffer.alloc(32, 0xff), 0x62a8ab43n],
  ['crc64-ecma', Buffer.from('123456789'), 0x995dc9bbdf1939fan],
  ['adler32', Buffer.from('Wikipedia'), 0x11e60398n],
  ['xxh64', Buffer.alloc(0), 0xef46db3751d8e999n],
  ['xxh64', Buffer.from('abc'), 0x44bc2cf5ad770999n],
  ['xxh3', Buffer.alloc(0), 0x2d06800538d394c2n],
];

describe('checksums by each engine', () => {
  it('are the published ones', () => {
    for (const [algorithm, input, expected] of VECTORS) {
      for (const engine of enginesFor('checksum', algorithm)) {
        const done = run(engine, 'checksum', algorithm, input);
        assert.equal(done.status, 'ok');
        assert.equal(done.consumed, input.length);
        assert.equal(value(done), expected, `${engine.name} ${algorithm}`);
      }
    }
  });

  for (const [name, plain] of Object.entries(PLAIN)) {
    const algorithm = name as ChecksumAlgorithm;
    it(`${algorithm} is what its definition gives, in one go or going on from a value`, () => {
      const engines = enginesFor('checksum', algorithm);
      assert.ok(engines.length > 0);
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 700 }), fc.nat(700), (bytes, cut) => {
          const expected = plain(bytes);
          for (const engine of engines) {
            assert.equal(value(run(engine, 'checksum', algorithm, bytes)), expected, engine.name);
            const head = run(engine, 'checksum', algorithm, bytes.subarray(0, cut));
            const next = { param0: head.result | 0, param1: head.resultHigh | 0 };
            const whole = run(engine, 'checksum', algorithm, bytes.subarray(cut), next);
            assert.equal(value(whole), expected, `${engine.name}, going on at ${cut}`);
          }
        }),
        { numRuns: 150 },
      );
      const large = sample('random', 3_000_001);
      const values = engines.map((engine) => value(run(engine, 'checksum', algorithm, large)));
      assert.equal(new Set(values).size, 1, `all engines agree: ${values}`);
    });
  }

  it('of 32 bits refuse a high half, and xxHash refuses anything to go on from', () => {
    for (const algorithm of ['crc32', 'crc32c', 'adler32'] as const) {
      for (const engine of enginesFor('checksum', algorithm)) {
        const done = run(engine, 'checksum', algorithm, Buffer.from('x'), { param1: 1 });
        assert.equal(done.status, 'badField', `${engine.name} ${algorithm}`);
      }
    }
    for (const algorithm of ['xxh64', 'xxh3'] as const) {
      for (const engine of enginesFor('checksum', algorithm)) {
        for (const fields of [{ param0: 1 }, { param1: 1 }]) {
          assert.equal(run(engine, 'checksum', algorithm, Buffer.from('x'), fields).status, 'badField');
        }
      }
    }
  });

  it('an Adler-32 of 0 is gone on from as 0xfff1, which means the same', () => {
    const ramp = Buffer.alloc(257, 255);
    ramp[256] = 240;
    // These bytes bring a to 0, and each zero before them adds 1 to b.
    const zeros = (65521 - Number(plainAdler(ramp) >> 16n)) % 65521;
    const bytes = Buffer.concat([Buffer.alloc(zeros), ramp]);
    assert.equal(plainAdler(bytes), 0n);
    const tail = Buffer.from('tail');
    for (const engine of enginesFor('checksum', 'adler32')) {
      assert.equal(value(run(engine, 'checksum', 'adler32', bytes)), 0n, engine.name);
      const whole = run(engine, 'checksum', 'adler32', tail, { param0: 0xfff1 });
      assert.equal(value(whole), plainAdler(Buffer.concat([bytes, tail])), engine.name);
    }
  });

  it('crc64-ecma is the one that xz writes', (t) => {
    if (!requirement(t, spawnSync('xz', ['--version']).status === 0, 'the program xz')) return;
    const data = sample('text', 70_000);
    const packed = spawnSync('xz', ['--check=crc64', '-c'], { input: data }).stdout;
    for (const engine of enginesFor('checksum', 'crc64-ecma')) {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(value(run(engine, 'checksum', 'crc64-ecma', data)));
      assert.ok(packed.includes(bytes), `${engine.name}: the block's check is in the file`);
    }
  });
});
