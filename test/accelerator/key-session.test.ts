import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { STATUS } from '../../src/abi/queue.js';
import { CallerEngines } from '../../src/accelerator/caller-engines.js';
import { KeySession, sessionSpec } from '../../src/accelerator/key-session.js';
import { hmacRecipe } from '../../src/algorithms/class-options.js';

test('a key is there for requests that began before its session was closed, and for none afterwards', () => {
  const material = Buffer.from('a key that nobody else has');
  const message = Buffer.from('a message');
  const expected = createHmac('sha256', material).update(message).digest();
  const recipe = hmacRecipe({ algorithm: 'sha256' });
  const session = new KeySession(sessionSpec(recipe), material);
  const engines = new CallerEngines([]);
  const offer = session.offer(engines)!;
  const run = (): number => engines.direct(recipe, message, offer, session, undefined, undefined);

  session.hold();
  session.close();
  // As a request does that the device gives back to the calling thread.
  assert.equal(run(), STATUS.ok);
  assert.deepEqual(Buffer.from(engines.lookAtOutput()), expected);
  session.unhold();
  assert.deepEqual(material, Buffer.alloc(material.length));
  assert.equal(run(), STATUS.badKey);
});
