import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { open } from '../../src/index.js';

const INPUT = Buffer.alloc(1024, 'waiting ');
const LATE = Symbol('late');

test('a synchronous wait that takes an interrupt leaves nobody asleep', async () => {
  // The first request takes long enough for its wait to sleep, the second for the synchronous wait to block.
  const inject = ['delay=400:compress:1', 'delay=50:compress:2'];
  await using acc = await open({ device: 'embedded', engines: 2, inject });
  const slow = acc.compress(INPUT);
  await sleep(100);
  acc.compressSync(INPUT);
  const outcome = await Promise.race([slow, sleep(10_000, LATE, { ref: false })]);
  assert.notEqual(outcome, LATE, 'the first request is still waited for');
  assert.deepEqual(await acc.decompress(outcome as Buffer), INPUT);
});
