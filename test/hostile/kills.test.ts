import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../broker/support-broker.js';
import { randomNumbers, recordedSeed } from '../device/support-device.js';
import { Attack } from './support-attack.js';
import { Child } from './support-child.js';

/** Connections that are to die with their process, in work or while they are being set up. */
const KILLED_CONNECTIONS = 1000;
const CONNECTIONS = 50;
const APPLICATIONS = 6;
/** After it was heard of, a process lives so many milliseconds more at most. */
const MAX_LIFE_MS = 30;

describe('clients that are killed', () => {
  test(`${KILLED_CONNECTIONS} connections with full rings die with their processes, at random instants`, async (t) => {
    const seed = recordedSeed();
    const random = randomNumbers(seed);
    const attack = await Attack.start(t);
    const width = Math.min(CONNECTIONS, attack.room);
    let killed = 0;
    let processes = 0;
    // One process after the other, each killed somewhere between its first connection and its work with all of them.
    while (killed < KILLED_CONNECTIONS) {
      const child = new Child(t, 'support-victim', attack.broker.socket, width);
      const early = random() % 3 === 0;
      await child.says(early ? 'c'.repeat(1 + (random() % width)) : 'all');
      await sleep(random() % MAX_LIFE_MS);
      await child.kill();
      killed += child.said.replace('all', '').length;
      processes++;
      attack.honest.check();
    }
    console.log(`${processes} processes with ${killed} connections were killed`);
    await attack.survived();
  });

  test('applications in the middle of their work are killed', async (t) => {
    const random = randomNumbers(recordedSeed());
    const attack = await Attack.start(t);
    for (let pair = 0; pair < APPLICATIONS / 2; pair++) {
      const children = [0, 1].map(() => new Child(t, 'support-looper', attack.broker.socket));
      for (const child of children) await child.says('r'.repeat(1 + (random() % 20)));
      for (const child of children) await child.kill();
    }
    await attack.survived();
  });

  test('a client that is stopped with full rings holds up nobody, and finds its results when it goes on', async (t) => {
    const attack = await Attack.start(t);
    const child = new Child(t, 'support-stopped', attack.broker.socket);
    await child.says('full');
    child.signal('SIGSTOP');
    await attack.honestGoesOn(50);
    assert.ok(!child.isGone);
    child.signal('SIGCONT');
    await child.says('right');
    await until(() => child.isGone, 'it ends');
    await attack.survived();
  });
});
