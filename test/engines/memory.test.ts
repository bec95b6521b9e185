import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { OPCODE, statusName } from '../../src/abi/queue.js';
import { EngineRequest } from '../../src/device/engines/engine.js';
import { Mapping } from '../../src/sys/memory.js';
import { enginesFor, run } from './support-engine.js';

describe('memory by each engine', () => {
  const engines = enginesFor('copy');
  const bytes = fc.uint8Array({ maxLength: 3000 });

  it('there are two', () => {
    assert.deepEqual(
      engines.map(({ name }) => name),
      ['memory', 'software'],
    );
  });

  it('copies, once or twice', () => {
    fc.assert(
      fc.property(bytes, fc.constantFrom(...engines), (data, engine) => {
        const one = run(engine, 'copy', undefined, data);
        assert.deepEqual([one.status, one.consumed, one.produced], ['ok', data.length, data.length]);
        assert.ok(one.output.equals(data));
        const auxBytes = new Uint8Array(data.length);
        const two = run(engine, 'dualCopy', undefined, data, { auxBytes });
        assert.ok(two.output.equals(data) && two.aux.equals(data));
      }),
    );
    for (const engine of engines) {
      for (const operation of ['copy', 'dualCopy'] as const) {
        const data = Buffer.alloc(100);
        assert.equal(
          run(engine, operation, undefined, data, { capacity: 99, auxBytes: data }).status,
          'noSpace',
        );
      }
    }
  });

  it('copies between ranges that overlap as memmove does', () => {
    const memory = Mapping.anonymous(8192);
    fc.assert(
      fc.property(
        fc.nat(2000),
        fc.nat(2000),
        fc.nat(2000),
        fc.integer({ min: 1, max: 2000 }),
        fc.constantFrom(...engines),
        fc.boolean(),
        (from, to, second, length, engine, dual) => {
          for (let at = 0; at < 4096; at++) memory.bytes[at] = (at * 7) ^ (at >> 3);
          const expected = Buffer.from(memory.bytes.slice(0, 4096));
          expected.copyWithin(to, from, from + length);
          if (dual) expected.copyWithin(second, from, from + length);
          const request = new EngineRequest();
          request.operation = dual ? OPCODE.dualCopy : OPCODE.copy;
          request.source = memory.address + from;
          request.sourceLength = length;
          request.destination = memory.address + to;
          request.capacity = length;
          if (dual) {
            request.aux = memory.address + second;
            request.auxLength = length;
          }
          assert.equal(statusName(engine.run(request)), 'ok');
          assert.ok(expected.equals(memory.bytes.subarray(0, 4096)), engine.name);
        },
      ),
    );
    memory.unmap();
  });

  it('fills with a pattern of eight bytes, from its first byte on', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 8, maxLength: 8 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 9000 }),
        fc.constantFrom(...engines),
        (pattern, same, capacity, engine) => {
          if (same) pattern.fill(pattern[0]!);
          const words = new Int32Array(pattern.slice().buffer);
          const params = { param0: words[0]!, param1: words[1]! };
          const done = run(engine, 'fill', undefined, Buffer.alloc(0), { capacity, ...params });
          assert.equal(done.produced, capacity);
          assert.ok(done.output.equals(Buffer.alloc(capacity, pattern)), engine.name);
        },
      ),
    );
  });

  it('compares, and says where the first difference is', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 5000 }),
        fc.array(fc.nat(4999), { maxLength: 3 }),
        fc.constantFrom(...engines),
        (data, places, engine) => {
          const other = Buffer.from(data);
          for (const place of places) other[place % other.length] = data[place % data.length]! ^ 0x40;
          const first = data.findIndex((byte, at) => byte !== other[at]);
          const done = run(engine, 'compare', undefined, data, { auxBytes: other });
          assert.deepEqual(
            [done.result, done.consumed],
            first < 0 ? [0, data.length] : [1, first],
            engine.name,
          );
        },
      ),
    );
    for (const engine of engines) {
      const none = run(engine, 'compare', undefined, Buffer.alloc(0));
      assert.deepEqual([none.status, none.result], ['ok', 0]);
      const longer = { auxBytes: Buffer.alloc(3) };
      assert.equal(run(engine, 'compare', undefined, Buffer.alloc(2), longer).status, 'badLength');
    }
  });
});
