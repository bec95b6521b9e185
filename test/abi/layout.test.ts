import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { layout } from '../../src/abi/layout.js';
import {
  CQE,
  CQE_WORD_SHIFT,
  DOORBELL,
  SQE,
  SQE_WORD_SHIFT,
  STATUS,
  STATUS_PAGE,
  statusName,
} from '../../src/abi/queue.js';
import {
  DEVICE_REGISTERS,
  QUEUE_COUNTERS,
  QUEUE_COUNTERS_OFFSET,
  QUEUE_SETUP,
  QUEUE_SETUP_OFFSET,
  REGISTERS_BYTES,
} from '../../src/abi/registers.js';

describe('layouts', () => {
  test('fields are aligned as C aligns them on LP64', () => {
    const mixed = layout({ a: 'u8', b: 'u32', c: 'u8', d: 'u64', e: 'u16' });
    assert.deepEqual(mixed.offset, { a: 0, b: 4, c: 8, d: 16, e: 24 });
    assert.equal(mixed.bytes, 32);
    assert.equal(layout({ a: 'u8' }).bytes, 1);
    assert.equal(layout({ a: 'u16', b: 'u8' }).bytes, 4);
  });

  test('a submission is 64 bytes, each field where it is documented', () => {
    assert.equal(SQE.bytes, 64);
    assert.equal(4 << SQE_WORD_SHIFT, SQE.bytes);
    assert.deepEqual(SQE.offset, {
      sequence: 0,
      opcode: 4,
      algorithm: 5,
      level: 6,
      flags: 7,
      requestId: 8,
      session: 12,
      sourceLow: 16,
      sourceHigh: 20,
      sourceLength: 24,
      destinationCapacity: 28,
      destinationLow: 32,
      destinationHigh: 36,
      auxLow: 40,
      auxHigh: 44,
      auxLength: 48,
      param0: 52,
      param1: 56,
      param2: 60,
    });
  });

  test('a completion is 32 bytes, and its phase comes last', () => {
    assert.equal(CQE.bytes, 32);
    assert.equal(4 << CQE_WORD_SHIFT, CQE.bytes);
    assert.deepEqual(CQE.offset, {
      requestId: 0,
      status: 4,
      engine: 5,
      thread: 6,
      flags: 7,
      produced: 8,
      consumed: 12,
      result: 16,
      nanoseconds: 20,
      sqHead: 24,
      phase: 28,
    });
  });

  test('the words of a doorbell page and of the status page lie on cache lines of their own', () => {
    for (const words of [
      [DOORBELL.tailWord, DOORBELL.cqHeadWord, DOORBELL.armWord],
      [STATUS_PAGE.stateWord, STATUS_PAGE.pollersWord, STATUS_PAGE.awakeWord],
    ]) {
      assert.equal(new Set(words.map((word) => word >> 4)).size, words.length);
      for (const word of words) assert.ok(word * 4 < 4096);
    }
  });

  test('the registers of region 0 do not overlap', () => {
    assert.ok(DEVICE_REGISTERS.bytes <= QUEUE_SETUP_OFFSET);
    assert.equal(DEVICE_REGISTERS.bytes, 48);
    assert.equal(QUEUE_SETUP.bytes, 48);
    assert.ok(QUEUE_SETUP_OFFSET + QUEUE_SETUP.bytes <= QUEUE_COUNTERS_OFFSET);
    assert.equal(QUEUE_COUNTERS.bytes, 24);
    assert.ok(QUEUE_COUNTERS_OFFSET + QUEUE_COUNTERS.bytes <= REGISTERS_BYTES);
  });

  test('every status has a number and a name of its own', () => {
    const numbers = Object.values(STATUS);
    assert.equal(new Set(numbers).size, numbers.length);
    for (const [name, number] of Object.entries(STATUS)) assert.equal(statusName(number), name);
    assert.equal(statusName(255), 'status 255');
  });
});
