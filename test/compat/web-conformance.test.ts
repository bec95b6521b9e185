import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import node from 'node:zlib';
import * as web from '../../src/compat/web/index.js';
import zlib, { stats } from '../../src/compat/zlib/index.js';
import { SUBTLE_BEHAVIOURS } from './behaviours-subtle.js';
import { SUBTLE_KEY_BEHAVIOURS } from './behaviours-subtle-keys.js';
import { WEB_STREAM_BEHAVIOURS } from './behaviours-web-streams.js';
import { same } from './support-behaviour.js';

/* One table of behaviours, seen of Node's Web streams and of what stands for them: they must be the same. */

process.env['WARPDRIVE_DEVICE'] = 'embedded';

describe('warpdrive/web behaves as the globals', () => {
  before(async () => {
    const end = performance.now() + 20_000;
    while (stats().accelerated.calls === 0 && performance.now() < end) await promisify(zlib.gzip)('x');
    assert.ok(stats().accelerated.calls > 0, 'the accelerator was not opened');
  });

  for (const { name, see } of WEB_STREAM_BEHAVIOURS) {
    it(name, { timeout: 60_000 }, async () => {
      const expected = await see(globalThis);
      const found = await see(web as unknown as typeof globalThis);
      same(found, expected);
    });
  }

  for (const { name, see } of [...SUBTLE_BEHAVIOURS, ...SUBTLE_KEY_BEHAVIOURS]) {
    it(name, { timeout: 60_000 }, async () => {
      const expected = await see(webcrypto.subtle, webcrypto.subtle);
      const found = await see(web.subtle, webcrypto.subtle);
      same(found, expected);
    });
  }

  it('counts what Node does for subtle, and what the accelerator does', async () => {
    const before = web.stats().subtle;
    await web.subtle.digest('SHA-256', Buffer.from('text'));
    await web.subtle.digest('SHA-256', new Uint8Array(0));
    const { accelerated, node, reasons } = web.stats().subtle;
    assert.equal(accelerated['digest']! - before.accelerated['digest']!, 1);
    assert.equal(node['digest']! - before.node['digest']!, 1);
    const sum = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0);
    assert.equal(sum(node), sum(reasons));
    for (const method of ['encrypt', 'decrypt', 'sign', 'verify', 'deriveBits'])
      assert.ok(accelerated[method]! > 0, method);
  });

  it('leaves nothing of a key in memory that other Buffers share', async () => {
    const raw = webcrypto.getRandomValues(new Uint8Array(32));
    for (const name of ['AES-GCM', 'HKDF', 'none']) {
      const usages: 'encrypt'[] = name === 'AES-GCM' ? ['encrypt'] : [];
      await web.subtle.importKey('raw', raw, name, false, usages).catch(() => {});
    }
    assert.equal(Buffer.from(Buffer.allocUnsafe(1).buffer).indexOf(raw), -1);
  });

  it('has the accelerator do it, both ways', async () => {
    const before = web.stats().zlib.accelerated.streams;
    const packed = new Blob(['text '.repeat(50_000)]).stream().pipeThrough(new web.CompressionStream('gzip'));
    const text = await new Response(packed.pipeThrough(new web.DecompressionStream('gzip'))).text();
    assert.equal(text.length, 250_000);
    assert.equal(web.stats().zlib.accelerated.streams - before, 2);
  });

  it('leaves node:zlib as it is', () => {
    const { createGzip } = node;
    new web.CompressionStream('gzip');
    assert.equal(node.createGzip, createGzip);
    assert.throws(() => new web.CompressionStream('zip' as 'gzip'), TypeError);
    assert.equal(node.createGzip, createGzip);
  });
});
