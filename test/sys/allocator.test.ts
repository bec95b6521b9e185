import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runChild } from '../support/expect.js';

/** Says whether a block lies on the heap, and not in memory of its own that goes back to the system when it is freed. */
const SOURCE = `
  const { readFileSync } = await import('node:fs');
  const { bind } = await import(new URL('./sys/libc.js', library));
  const { keepFreedMemory } = await import(new URL('./sys/allocator.js', library));
  const malloc = bind('uint64_t malloc(uint64_t size)');
  const isOnHeap = (bytes) => {
    const address = malloc(bytes);
    const [, start, end] = readFileSync('/proc/self/maps', 'utf8').match(/^(\\w+)-(\\w+) .*\\[heap\\]$/m);
    return address >= Number.parseInt(start, 16) && address < Number.parseInt(end, 16);
  };
  const before = isOnHeap(20 << 20);
  keepFreedMemory();
  console.log(before, isOnHeap(20 << 20));
`;

test('glibc takes what is freed back from now on, unless the environment says what it is to do', async () => {
  assert.equal((await runChild(SOURCE)).stdout, 'false true\n');
  const fixed = { MALLOC_TRIM_THRESHOLD_: '131072' };
  assert.equal((await runChild(SOURCE, [], fixed)).stdout, 'false false\n');
});
