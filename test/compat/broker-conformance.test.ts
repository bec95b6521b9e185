import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { test } from 'node:test';
import { promisify } from 'node:util';
import node from 'node:zlib';
import * as web from '../../src/compat/web/index.js';
import zlib, { stats } from '../../src/compat/zlib/index.js';
import { Broker } from '../broker/support-broker.js';
import { CALL_BEHAVIOURS } from './behaviours-calls.js';
import { DAMAGE_BEHAVIOURS } from './behaviours-damage.js';
import { STREAM_BEHAVIOURS } from './behaviours-streams.js';
import { SUBTLE_BEHAVIOURS } from './behaviours-subtle.js';
import { SUBTLE_KEY_BEHAVIOURS } from './behaviours-subtle-keys.js';
import { WEB_STREAM_BEHAVIOURS } from './behaviours-web-streams.js';
import { same } from './support-behaviour.js';

/* The tables of behaviours once more, by the device of a broker. */

test('over a broker, too, the drop-ins behave as what they stand for', async (t) => {
  const broker = await Broker.start(t);
  process.env['WARPDRIVE_DEVICE'] = `unix:${broker.socket}`;
  const end = performance.now() + 20_000;
  while (stats().accelerated.calls === 0 && performance.now() < end) await promisify(zlib.gzip)('x');
  assert.ok(stats().accelerated.calls > 0, 'the accelerator was not opened');
  const options = { timeout: 60_000 };
  for (const { name, see } of [...CALL_BEHAVIOURS, ...STREAM_BEHAVIOURS, ...DAMAGE_BEHAVIOURS]) {
    await t.test(`zlib: ${name}`, options, async () => same(await see(zlib, node), await see(node, node)));
  }
  const globals = web as unknown as typeof globalThis;
  for (const { name, see } of WEB_STREAM_BEHAVIOURS) {
    await t.test(`web: ${name}`, options, async () => same(await see(globals), await see(globalThis)));
  }
  const { subtle } = webcrypto;
  for (const { name, see } of [...SUBTLE_BEHAVIOURS, ...SUBTLE_KEY_BEHAVIOURS]) {
    await t.test(`subtle: ${name}`, options, async () =>
      same(await see(web.subtle, subtle), await see(subtle, subtle)),
    );
  }
  const { zlib: counted, subtle: subtleCounted } = web.stats();
  assert.ok(counted.accelerated.streams > 100, `${counted.accelerated.streams} streams`);
  assert.ok(subtleCounted.accelerated['encrypt']! > 0);
});
