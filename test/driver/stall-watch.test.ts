import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type QueueProgress, StallWatch } from '../../src/driver/virtio-crypto/stall-watch.js';

/** A queue where so much is outstanding and so much was polled. */
const queue = (usedIndex: number, outstanding: number, completed = usedIndex): QueueProgress => ({
  usedIndex,
  outstanding,
  completed,
  ready: completed < usedIndex,
});

describe('a stall watch', () => {
  test('rings once after a second, and asks for a reset after ten', () => {
    const watch = new StallWatch();
    const advice = [0, 900, 1100, 2000, 9900, 10_100].map((now) => watch.look(queue(7, 1), now));
    assert.deepEqual(advice, ['wait', 'wait', 'ring', 'wait', 'wait', 'reset']);
    assert.equal(watch.look(queue(7, 1), 10_200), 'wait', 'and begins again');
  });

  test('leaves a device alone that has completed everything, though nobody polls', () => {
    const watch = new StallWatch();
    watch.look(queue(0, 4), 0);
    for (const now of [20_000, 40_000, 60_000]) {
      assert.equal(watch.look(queue(4, 0, 0), now), 'wake');
    }
  });

  test('leaves a device alone that gets on, however seldom it is looked at', () => {
    const watch = new StallWatch();
    for (let i = 0; i < 5; i++) {
      assert.equal(watch.look(queue(i, 2), i * 15_000), 'wait');
    }
  });

  test('counts no time in which the device had nothing', () => {
    const watch = new StallWatch();
    watch.look(queue(3, 0), 0);
    // The program was busy with something else, and has just sent a request.
    assert.equal(watch.look(queue(3, 1), 20_000), 'wait');
    assert.equal(watch.look(queue(3, 1), 20_500), 'wait');
    assert.equal(watch.look(queue(3, 1), 21_500), 'ring');
  });

  test('wakes whoever has not taken what is there since the last look', () => {
    const watch = new StallWatch();
    watch.look(queue(0, 3), 0);
    assert.equal(watch.look(queue(2, 1, 1), 250), 'wait', 'somebody polls');
    assert.equal(watch.look(queue(2, 1, 1), 500), 'wake');
    assert.equal(watch.look(queue(2, 1, 2), 750), 'wait');
    assert.equal(watch.look(queue(2, 1, 2), 1600), 'ring', 'and what the device has left is watched');
  });
});
