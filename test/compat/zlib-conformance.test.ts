import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import node from 'node:zlib';
import zlib, { stats } from '../../src/compat/zlib/index.js';
import { CALL_BEHAVIOURS } from './behaviours-calls.js';
import { DAMAGE_BEHAVIOURS } from './behaviours-damage.js';
import { STREAM_BEHAVIOURS } from './behaviours-streams.js';
import { same } from './support-behaviour.js';

/* One table of behaviours, seen of node:zlib and of what stands for it: they must be the same. */

process.env['WARPDRIVE_DEVICE'] = 'embedded';

describe('warpdrive/zlib behaves as node:zlib', () => {
  before(async () => {
    // Not what is done while the accelerator is being opened: what it does.
    const end = performance.now() + 20_000;
    while (stats().accelerated.calls === 0 && performance.now() < end) await promisify(zlib.gzip)('x');
    assert.ok(stats().accelerated.calls > 0, 'the accelerator was not opened');
  });

  for (const { name, see } of [...CALL_BEHAVIOURS, ...STREAM_BEHAVIOURS, ...DAMAGE_BEHAVIOURS]) {
    it(name, { timeout: 60_000 }, async () => {
      const expected = await see(node, node);
      const found = await see(zlib, node);
      same(found, expected);
    });
  }
});
