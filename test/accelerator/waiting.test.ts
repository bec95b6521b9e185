import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { open } from '../../src/index.js';

const INPUT = Buffer.alloc(1024, 'waiting ');
const LARGE = Buffer.alloc(256 * 1024, 'so much work that two threads do it ');
const WARM_UP = 64;
const LATE = Symbol('late');

test('a synchronous wait that takes an interrupt leaves nobody asleep', async () => {
  // Of two more requests one takes long enough for its wait to sleep, the other for the synchronous wait to block.
  const inject = [`delay=800:compress:${WARM_UP + 1}`, `delay=50:compress:${WARM_UP + 2}`];
  await using acc = await open({ device: 'embedded', engines: 2, inject });
  // So much work that there are two threads: the second request must be done before the first.
  await Promise.all(Array.from({ length: WARM_UP }, () => acc.compress(LARGE, { level: 9 })));
  const slow = acc.compress(INPUT);
  await sleep(100);
  acc.compressSync(INPUT);
  const outcome = await Promise.race([slow, sleep(10_000, LATE, { ref: false })]);
  assert.notEqual(outcome, LATE, 'the first request is still waited for');
  assert.deepEqual(await acc.decompress(outcome as Buffer), INPUT);
});

test('a request does not wait for half of what is in flight', async () => {
  // One that polling for is in vain: after it, waits sleep at once. Then one, and three behind it that take longer.
  const inject = [
    'delay=20:compress:1',
    'delay=20:digest:1',
    ...[2, 3, 4].map((nth) => `delay=200:compress:${nth}`),
  ];
  await using acc = await open({ device: 'embedded', engines: 1, inject });
  await acc.compress(INPUT);
  const order: string[] = [];
  const first = acc.digest(INPUT, { algorithm: 'sha256' }).then(async () => {
    // Whatever else was found done at once says so before.
    await turn();
    order.push('first');
  });
  const later = Array.from({ length: 3 }, () => acc.compress(INPUT).then(() => order.push('later')));
  await Promise.all([first, ...later]);
  assert.deepEqual(order, ['first', 'later', 'later', 'later']);
});
