import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { isDeepStrictEqual, promisify } from 'node:util';
import node from 'node:zlib';
import * as web from '../../src/compat/web/index.js';
import zlib, { stats } from '../../src/compat/zlib/index.js';
import { WEB_STREAM_BEHAVIOURS } from './behaviours-web-streams.js';

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
      if (!isDeepStrictEqual(found, expected)) assert.deepEqual(found, expected);
    });
  }

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
