import assert from 'node:assert/strict';
import node from 'node:crypto';
import { before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import own, { stats } from '../../src/compat/crypto/index.js';
import { CRYPTO_BEHAVIOURS, type Crypto, IV, KEY } from './behaviours-crypto.js';
import { CRYPTO_CALL_BEHAVIOURS } from './behaviours-crypto-calls.js';
import { same } from './support-behaviour.js';

/* One table of behaviours, seen of node:crypto and of what stands for it: they must be the same. */

process.env['WARPDRIVE_DEVICE'] = 'embedded';

/** More calls than it takes to load engines, and to have them tried again after whatever was in vain. */
const CALLS = 10_001;

/** Has ours do what it can on the short ways: not what it does while it is not worth it. */
function warm(): void {
  const { tag, data } = sealed();
  for (let i = 0; i < CALLS; i++) {
    own.createHash('sha256').update('x').digest('hex');
    own.createHmac('sha256', KEY).update('x').digest('hex');
    sealed();
    const decipher = own.createDecipheriv('aes-256-gcm', KEY, IV).setAuthTag(tag);
    decipher.update(data);
    decipher.final();
  }
}

function sealed(): { data: Buffer; tag: Buffer } {
  const cipher = own.createCipheriv('aes-256-gcm', KEY, IV);
  const data = cipher.update('x');
  cipher.final();
  return { data, tag: cipher.getAuthTag() };
}

describe('warpdrive/crypto behaves as node:crypto', () => {
  before(async () => {
    const end = performance.now() + 20_000;
    const derive = promisify(own.hkdf);
    while (!stats().accelerated['hkdf'] && performance.now() < end) await derive('sha256', KEY, IV, IV, 16);
    assert.ok(stats().accelerated['hkdf']! > 0, 'the accelerator was not opened');
  });

  for (const { name, see } of [...CRYPTO_BEHAVIOURS, ...CRYPTO_CALL_BEHAVIOURS]) {
    it(name, { timeout: 60_000 }, async () => {
      warm();
      const expected = await see(node as Crypto, node as Crypto);
      const found = await see(own as Crypto, node as Crypto);
      same(found, expected);
    });
  }

  it('counts who did what, and why', () => {
    warm();
    const before = stats();
    own.createHash('sha256').update('x').digest('hex');
    own.createHash('sha256').update('x').update('y').digest('hex');
    own.createHmac('sha256', KEY).update('x').digest('hex');
    sealed();
    const { caller, node: byNode, reasons } = stats();
    for (const name of ['createHash', 'createHmac', 'createCipheriv']) {
      assert.equal(caller[name]! - before.caller[name]!, 1, name);
    }
    assert.equal(byNode['createHash']! - before.node['createHash']!, 1);
    const sum = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0);
    assert.equal(sum(byNode), sum(reasons));
  });
});
