import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Broker } from '../broker/support-broker.js';
import { runChild } from '../support/expect.js';

/* What may happen to calls of warpdrive/crypto with a callback while they are under way: each in a process of its own. */

const HEAD = `
  const crypto = (await import(new URL('./compat/crypto/index.js', library))).default;
  const node = (await import('node:crypto')).default;
  const stats = crypto[Symbol.for('warpdrive.crypto')];
  const { promisify } = await import('node:util');
  const scrypt = promisify(crypto.scrypt);
  const pbkdf2 = promisify(crypto.pbkdf2);
  const ready = async () => { while (!stats().accelerated.scrypt) await scrypt('password', 'salt', 32); };
`;

async function ends(source: string, stdout: string, env: Record<string, string> = {}): Promise<void> {
  const outcome = await runChild(HEAD + source, [], { WARPDRIVE_DEVICE: 'embedded', ...env });
  assert.deepEqual({ ...outcome, stderr: '' }, { code: 0, signal: null, stdout, stderr: '' }, outcome.stderr);
}

describe('warpdrive/crypto, abused', () => {
  it('answers what is under way when a broker goes away, and goes on without it', async (t) => {
    const broker = await Broker.start(t);
    await ends(
      `await ready();
      process.kill(${broker.pid}, 'SIGSTOP');
      const calls = Array.from({ length: 8 }, (_, index) =>
        index % 2
          ? scrypt('password ' + index, 'salt', 64)
          : pbkdf2('password ' + index, 'salt', 30_000, 64, 'sha256'),
      );
      setTimeout(() => process.kill(${broker.pid}, 'SIGKILL'), 100);
      const results = await Promise.all(calls);
      const right = results.every((result, index) =>
        result.equals(
          index % 2
            ? node.scryptSync('password ' + index, 'salt', 64)
            : node.pbkdf2Sync('password ' + index, 'salt', 30_000, 64, 'sha256'),
        ),
      );
      console.log(right, stats().reasons.failure);
      const after = await scrypt('password', 'salt', 32);
      console.log(after.equals(node.scryptSync('password', 'salt', 32)));
      process.exit(0);
      `,
      'true 8\ntrue\n',
      { WARPDRIVE_DEVICE: `unix:${broker.socket}` },
    );
  });

  it('lets a process exit with calls under way', async () => {
    for (const leave of ['process.exit(0)', 'setImmediate(() => process.exit(0))']) {
      await ends(
        `await ready();
        for (let index = 0; index < 8; index++) scrypt('password', 'salt', 32).then(() => {}, () => {});
        process.on('exit', () => console.log('left'));
        ${leave};
        `,
        'left\n',
      );
    }
  });

  it('lets a worker be terminated with calls under way, and others go on', async () => {
    await ends(
      `await ready();
      const { Worker } = await import('node:worker_threads');
      const source = \`
        import { parentPort } from 'node:worker_threads';
        import crypto from \${JSON.stringify(new URL('./compat/crypto/index.js', library).href)};
        import { promisify } from 'node:util';
        const stats = crypto[Symbol.for('warpdrive.crypto')];
        const scrypt = promisify(crypto.scrypt);
        while (!stats().accelerated.scrypt) await scrypt('password', 'salt', 32);
        for (let index = 0; index < 8; index++) scrypt('password', 'salt', 32);
        parentPort.postMessage('under way');
      \`;
      for (let count = 0; count < 3; count++) {
        const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(source)));
        await new Promise((resolve) => worker.once('message', resolve));
        await worker.terminate();
      }
      const after = await scrypt('password', 'salt', 32);
      console.log(after.equals(node.scryptSync('password', 'salt', 32)));
      process.exit(0);
      `,
      'true\n',
    );
  });
});
