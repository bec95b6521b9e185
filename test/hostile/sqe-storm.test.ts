import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { recordedSeed } from '../device/support-device.js';
import { Attack } from './support-attack.js';
import { Child } from './support-child.js';

const SUBMISSIONS = 200_000;

describe('a storm of submissions and doorbells', () => {
  test(`${SUBMISSIONS} spoilt submissions, and doorbell pages full of lies, beside an honest client`, async (t) => {
    const seed = recordedSeed();
    const attack = await Attack.start(t);
    const storm = new Child(t, 'support-sqe-storm', attack.broker.socket, seed, SUBMISSIONS);
    const report = await storm.report();
    console.log(JSON.stringify(report));
    assert.ok(report['submissions']! >= SUBMISSIONS, `seed ${seed}`);
    assert.ok(report['refused']! > SUBMISSIONS / 10, `seed ${seed}: most kinds of damage are refused`);
    assert.ok(report['kinds']! >= 8, `seed ${seed}: ${report['kinds']} kinds of answers`);
    assert.ok(report['lives']! > 0);
    await attack.survived();
  });
});
