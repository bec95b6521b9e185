import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { recordedSeed } from '../device/support-device.js';
import { Attack } from './support-attack.js';
import { Child } from './support-child.js';

const MESSAGES = 50_000;
const CONNECTIONS = 12;

describe('a storm of messages', () => {
  test(`${MESSAGES} spoilt messages on many connections, with descriptors of all kinds, beside an honest client`, async (t) => {
    const seed = recordedSeed();
    const attack = await Attack.start(t);
    const storm = new Child(t, 'support-message-storm', attack.broker.socket, seed, MESSAGES, CONNECTIONS);
    const report = await storm.report();
    console.log(JSON.stringify(report));
    assert.ok(report['sent']! >= MESSAGES, `seed ${seed}`);
    assert.ok(report['connections']! > CONNECTIONS * 2, `seed ${seed}: many connections were broken`);
    await attack.survived();
  });
});
