import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StallWatch } from '../../src/driver/virtio-crypto/stall-watch.js';

describe('a stall watch', () => {
  test('rings once after a second, and asks for a reset after ten', () => {
    const watch = new StallWatch();
    const advice = [0, 900, 1100, 2000, 9900, 10_100].map((now) =>
      watch.look({ usedIndex: 7, outstanding: 1 }, now),
    );
    assert.deepEqual(advice, ['wait', 'wait', 'ring', 'wait', 'wait', 'reset']);
    assert.equal(watch.look({ usedIndex: 7, outstanding: 1 }, 10_200), 'wait', 'and begins again');
  });

  test('leaves a device alone that has completed everything, though nobody polls', () => {
    const watch = new StallWatch();
    watch.look({ usedIndex: 0, outstanding: 4 }, 0);
    for (const now of [20_000, 40_000, 60_000]) {
      assert.equal(watch.look({ usedIndex: 4, outstanding: 0 }, now), 'wait');
    }
  });

  test('leaves a device alone that gets on, however seldom it is looked at', () => {
    const watch = new StallWatch();
    for (let i = 0; i < 5; i++) {
      assert.equal(watch.look({ usedIndex: i, outstanding: 2 }, i * 15_000), 'wait');
    }
  });

  test('counts no time in which the device had nothing', () => {
    const watch = new StallWatch();
    watch.look({ usedIndex: 3, outstanding: 0 }, 0);
    // The program was busy with something else, and has just sent a request.
    assert.equal(watch.look({ usedIndex: 3, outstanding: 1 }, 20_000), 'wait');
    assert.equal(watch.look({ usedIndex: 3, outstanding: 1 }, 20_500), 'wait');
    assert.equal(watch.look({ usedIndex: 3, outstanding: 1 }, 21_500), 'ring');
  });
});
