import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WaitingLine } from '../../src/compat/zlib/waiting-line.js';

test('items run in the order in which they came, so many at a time', () => {
  const begun: number[] = [];
  const line = new WaitingLine<number>(3, (item) => begun.push(item));
  for (let item = 0; item < 10; item++) line.enter(item);
  assert.deepEqual(begun, [0, 1, 2]);
  line.done();
  assert.deepEqual(begun, [0, 1, 2, 3]);
  for (let item = 1; item < 10; item++) line.done();
  assert.deepEqual(begun, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('a line that is held lets nobody pass, and then all, also those that came later', async () => {
  const begun: string[] = [];
  const line = new WaitingLine<string>(8, (item) => begun.push(item));
  let release: () => void = () => {};
  line.hold(
    new Promise((resolve) => {
      release = resolve;
    }),
  );
  line.enter('early');
  release();
  line.enter('late');
  assert.deepEqual(begun, []);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(begun, ['early', 'late']);
});

test('the later of two holds decides', async () => {
  const begun: string[] = [];
  const line = new WaitingLine<string>(8, (item) => begun.push(item));
  let release: () => void = () => {};
  const later = new Promise<void>((resolve) => {
    release = resolve;
  });
  line.hold(Promise.resolve());
  line.hold(later);
  line.enter('one');
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(begun, []);
  release();
  await later;
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(begun, ['one']);
});

test('items that end at once need no deeper stack, however many there are', async () => {
  const count = 100_000;
  let begun = 0;
  const line = new WaitingLine<number>(1, () => {
    begun++;
    line.done();
  });
  line.hold(Promise.resolve());
  for (let item = 0; item < count; item++) line.enter(item);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(begun, count);
});
