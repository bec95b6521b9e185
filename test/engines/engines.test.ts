import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import zlib from 'node:zlib';
import { open, UnsupportedError } from '../../src/index.js';
import { ENGINE_ALONE, type EngineAlone, FORMATS, reference, sample } from '../support/corpus.js';
import { fails, gather } from '../support/expect.js';

describe('engines', () => {
  for (const [name, disableEngines] of Object.entries(ENGINE_ALONE) as [EngineAlone, readonly string[]][]) {
    it(`${name} does the job where it is alone`, async () => {
      await using acc = await open({ disableEngines: [...disableEngines] });
      const entry = acc.devices()[0]!.engines.find((engine) => engine.name === name)!;
      const present = entry.absent === undefined;
      assert.ok(present || name === 'isa-l' || name === 'libdeflate', `${name} is always there`);
      const expected = present ? name : 'node';
      for (const algorithm of FORMATS) {
        for (const length of [600, 50_000, 700_000]) {
          const data = sample('text', length);
          const { data: packed, info } = await acc.compress(data, { algorithm, level: 2, info: true });
          assert.equal(info.engine, expected);
          assert.ok(reference[algorithm].unpack(packed).equals(data));
          const back = await acc.decompress(packed, { algorithm, info: true });
          assert.equal(back.info.engine, expected);
          assert.ok(back.data.equals(data));
        }
      }
      for (const [other] of Object.entries(ENGINE_ALONE)) {
        const listed = acc.devices()[0]!.engines.find((engine) => engine.name === other)!;
        if (disableEngines.includes(other)) assert.equal(listed.absent, 'turned off');
      }
    });
  }

  it('are chosen by level and size', async () => {
    await using acc = await open();
    const names = acc
      .devices()[0]!
      .engines.filter((e) => e.absent === undefined)
      .map((e) => e.name);
    const first = (order: string[]): string => order.find((name) => names.includes(name))!;
    const engineOf = async (length: number, level: number): Promise<string> =>
      (await acc.compress(sample('text', length), { level, info: true })).info.engine;
    for (const level of [1, 2, 3]) {
      assert.equal(await engineOf(511, level), first(['libdeflate', 'zlib', 'node']));
      assert.equal(await engineOf(512, level), first(['isa-l', 'libdeflate', 'zlib']));
    }
    for (const level of [0, 4, 6, 9]) {
      assert.equal(await engineOf(5000, level), first(['libdeflate', 'zlib', 'node']));
    }
  });

  it('without one that keeps streams decompress whole inputs, of many members too, and say what they cannot', async () => {
    await using acc = await open({ disableEngines: ['isa-l', 'zlib'] });
    assert.ok(!acc.devices()[0]!.flags.includes('streams'));
    const data = sample('text', 3_000_000);
    const packed = zlib.gzipSync(data);
    assert.ok((await acc.decompress(packed)).equals(data));
    assert.ok(acc.decompressSync(packed).equals(data));
    const twice = Buffer.concat([packed, packed]);
    assert.ok((await acc.decompress(twice)).equals(Buffer.concat([data, data])));
    await fails(gather(acc.decompressStream([packed])), UnsupportedError, 'UNSUPPORTED', /no engine/);
  });

  it('cannot all be turned off without an error that says so', async () => {
    await using acc = await open({ disableEngines: ['isa-l', 'libdeflate', 'zlib', 'node'] }).catch(
      (error) => {
        assert.match(error.code, /^ERR_WARPDRIVE_/);
        return { [Symbol.asyncDispose]: async () => {}, compress: undefined };
      },
    );
    if (acc.compress) {
      await fails(acc.compress(Buffer.from('x')), UnsupportedError, 'UNSUPPORTED', /no/);
    }
  });
});
