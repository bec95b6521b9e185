import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { LOADED_ENGINE_NAMES } from '../../src/device/engines/registry.js';
import {
  type Accelerator,
  ArgumentError,
  type CompressOptions,
  type DecompressOptions,
  type OpenOptions,
  open,
  UnsupportedError,
} from '../../src/index.js';
import { fails } from '../support/expect.js';

describe('arguments', () => {
  let acc: Accelerator;
  before(async () => {
    acc = await open();
  });
  after(() => acc.close());

  const stillGood = async (): Promise<void> => {
    assert.equal(String(await acc.decompress(await acc.compress(Buffer.from('good')))), 'good');
    assert.equal(String(acc.decompressSync(acc.compressSync(Buffer.from('good')))), 'good');
  };

  it('refuses an unknown algorithm and lists those there are', async () => {
    for (const algorithm of ['brotli', 'GZIP', '', 'toString', '__proto__', 7, null, {}, 1n, ['gzip']]) {
      const options = { algorithm } as unknown as CompressOptions;
      const attempts = [
        () => acc.compress(Buffer.from('x'), options),
        () => acc.compressSync(Buffer.from('x'), options),
        () => acc.compressMany([Buffer.from('x')], options),
        () => acc.compressStream([], options).next(),
        () => acc.decompress(Buffer.from('x'), options),
        () => acc.decompressSync(Buffer.from('x'), options),
        () => acc.decompressMany([Buffer.from('x')], options),
        () => acc.decompressStream([], options).next(),
        () => acc.session(options),
      ];
      for (const attempt of attempts) {
        await fails(attempt, UnsupportedError, 'UNSUPPORTED', /deflate-raw, deflate, gzip/);
      }
    }
    await stillGood();
  });

  it('takes zlib as another name for deflate', async () => {
    const packed = await acc.compress(Buffer.from('x'), { algorithm: 'zlib' });
    assert.equal(packed[0], 0x78);
    assert.equal(String(await acc.decompress(packed, { algorithm: 'zlib' })), 'x');
  });

  it('refuses a level that is not there and lists those that are', async () => {
    const { max } = acc.devices()[0]!.levels;
    for (const level of [-1, max + 1, 100, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '6', null, {}, 2n]) {
      const options = { level } as unknown as CompressOptions;
      for (const attempt of [
        () => acc.compress(Buffer.from('x'), options),
        () => acc.compressSync(Buffer.from('x'), options),
        () => acc.compressStream([], options).next(),
        () => acc.session(options),
      ]) {
        await fails(attempt, UnsupportedError, 'UNSUPPORTED', new RegExp(`0 to ${max}`));
      }
    }
    await stillGood();
  });

  it('offers levels 10 to 12 with libdeflate only', async () => {
    const plain = await open({ disableEngines: ['libdeflate'] });
    assert.equal(plain.devices()[0]!.levels.max, 9);
    await fails(plain.compress(Buffer.from('x'), { level: 10 }), UnsupportedError, 'UNSUPPORTED', /0 to 9/);
    await plain.close();
  });

  it('refuses limits on the result that are no limits', async () => {
    for (const maxOutputLength of [-1, 1.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY, '10', null]) {
      const options = { maxOutputLength } as unknown as DecompressOptions;
      for (const attempt of [
        () => acc.decompress(Buffer.from('x'), options),
        () => acc.decompressSync(Buffer.from('x'), options),
        () => acc.session(options),
      ]) {
        await fails(attempt, ArgumentError, 'ARGUMENT', /maxOutputLength must be a whole number from 0/);
      }
    }
    const options = { trailingData: 'keep' } as unknown as DecompressOptions;
    await fails(() => acc.decompressSync(Buffer.from('x'), options), ArgumentError, 'ARGUMENT', /'ignore'/);
    await stillGood();
  });

  it('refuses deadlines and signals that are none', async () => {
    for (const deadlineMs of [-1, Number.NaN, 2 ** 31, 'soon']) {
      const options = { deadlineMs } as { deadlineMs: number };
      await fails(acc.compress(Buffer.from('x'), options), ArgumentError, 'ARGUMENT', /deadlineMs must be/);
      await fails(acc.decompress(Buffer.from('x'), options), ArgumentError, 'ARGUMENT', /deadlineMs must be/);
      await fails(acc.compressMany([], options), ArgumentError, 'ARGUMENT', /deadlineMs must be/);
    }
    for (const signal of [5, {}, 'stop']) {
      const options = { signal } as unknown as { signal: AbortSignal };
      await fails(acc.compress(Buffer.from('x'), options), ArgumentError, 'ARGUMENT', /AbortSignal/);
    }
    await stillGood();
  });

  it('refuses what is not bytes', async () => {
    for (const input of [undefined, null, 'text', 7, {}, [1, 2], { length: 3 }, () => {}, Symbol('s'), 1n]) {
      const bytes = input as unknown as Uint8Array;
      const session = acc.session();
      for (const attempt of [
        () => acc.compress(bytes),
        () => acc.compressSync(bytes),
        () => acc.decompress(bytes),
        () => acc.decompressSync(bytes),
        () => acc.compressMany([bytes]),
        () => acc.decompressMany([bytes]),
        () => session.compress(bytes),
        () => session.decompressSync(bytes),
      ]) {
        await fails(
          attempt,
          ArgumentError,
          'ARGUMENT',
          /bytes are wanted, as an ArrayBufferView or a buffer/,
        );
      }
    }
    await stillGood();
  });

  it('refuses lengths and depths that cannot be', async () => {
    for (const length of [0, -1, 1.5, Number.NaN, 2 ** 40, '5']) {
      await fails(acc.alloc(length as number), ArgumentError, 'ARGUMENT', /length from 1/);
    }
    for (const depth of [0, 1, 3, -4, 65_536, 2.5, Number.NaN, '8']) {
      const options = { depth: depth as number };
      await fails(acc.requestQueue(options), ArgumentError, 'ARGUMENT', /power of two from 2 to/);
    }
    await stillGood();
  });
});

describe('open', () => {
  it('refuses a device that is not there', async () => {
    for (const device of ['gpu0', 'EMBEDDED', ' ']) {
      await fails(open(device), UnsupportedError, 'UNSUPPORTED', /there is "embedded"/);
      await fails(open({ device }), UnsupportedError, 'UNSUPPORTED', /there is "embedded"/);
    }
  });

  it('refuses options that cannot be, and says what can', async () => {
    const wrong: [object, RegExp][] = [
      [{ engines: 0 }, /engines must be a whole number from 1 to 64/],
      [{ engines: 65 }, /engines must be a whole number from 1 to 64/],
      [{ engines: 1.5 }, /engines must be a whole number/],
      [{ engines: '2' }, /engines must be a whole number/],
      [{ queueDepth: 3 }, /queueDepth must be a power of two from 2 to 32768/],
      [{ queueDepth: 1 }, /queueDepth must be a power of two/],
      [{ queueDepth: 65_536 }, /queueDepth must be a power of two/],
      [{ memoryBytes: 1024 }, /memoryBytes must be a power of two from 4194304/],
      [{ memoryBytes: 5_000_000 }, /memoryBytes must be a power of two/],
      [{ memoryBytes: 2 ** 31 }, /memoryBytes must be a power of two/],
      [{ spinMicroseconds: -1 }, /spinMicroseconds must be a whole number from 0/],
      [{ disableEngines: ['qat'] }, /there are isa-l, libdeflate, zlib, node/],
      [{ disableEngines: 'isa-l' }, /there are isa-l, libdeflate, zlib, node/],
      [{ inject: ['explode:compress'] }, /kill:compress:3/],
      [{ inject: ['kill:compress:'] }, /kill:compress:3/],
      [{ inject: ['fail:everything'] }, /kill:compress:3/],
    ];
    for (const [options, message] of wrong) {
      await fails(open(options as OpenOptions), ArgumentError, 'ARGUMENT', message);
    }
  });

  it('reads the environment, and refuses what is wrong there', async () => {
    const cases: [string, string, RegExp][] = [
      ['WARPDRIVE_ENGINES', 'many', /WARPDRIVE_ENGINES must be a whole number/],
      ['WARPDRIVE_SPIN_US', '-5', /WARPDRIVE_SPIN_US must be a whole number/],
      ['WARPDRIVE_DISABLE_ENGINES', 'isa-l,qat', /there is no engine "qat"/],
      ['WARPDRIVE_INJECT', 'boom', /cannot read the fault "boom"/],
    ];
    for (const [variable, value, message] of cases) {
      process.env[variable] = value;
      try {
        await fails(open(), ArgumentError, 'ARGUMENT', message);
      } finally {
        delete process.env[variable];
      }
    }
    process.env['WARPDRIVE_DISABLE_ENGINES'] = 'isa-l, libdeflate';
    process.env['WARPDRIVE_ENGINES'] = '3';
    try {
      const acc = await open();
      const [device] = acc.devices();
      assert.equal(device!.maxThreads, 3);
      const absent = device!.engines.filter((engine) => engine.absent === 'turned off');
      assert.deepEqual(absent.map((engine) => engine.name).sort(), ['isa-l', 'libdeflate']);
      await acc.close();
    } finally {
      delete process.env['WARPDRIVE_DISABLE_ENGINES'];
      delete process.env['WARPDRIVE_ENGINES'];
    }
  });

  it('lists what there is', async () => {
    await using acc = await open({ queueDepth: 8, sva: false, engines: 2 });
    const queue = await acc.requestQueue({ depth: 4 });
    const [device] = acc.devices();
    assert.equal(acc.devices().length, 1);
    assert.equal(device!.name, 'embedded');
    assert.equal(device!.driver, 'wva');
    assert.equal(device!.queues.open, 2);
    assert.equal(device!.queues.depth, 8);
    assert.equal(device!.maxThreads, 2);
    const formats = device!.algorithms['compress']!;
    for (const always of ['deflate-raw', 'deflate', 'gzip', 'lz4', 'lz4-block', 'br']) {
      assert.ok(formats.includes(always), always);
    }
    assert.deepEqual(device!.flags, ['mapped-memory', 'streams']);
    assert.deepEqual(device!.engines.map((engine) => engine.name).sort(), [...LOADED_ENGINE_NAMES].sort());
    for (const engine of device!.engines) {
      assert.ok(engine.absent !== undefined || (engine.library && engine.version), engine.name);
    }
    await acc.releaseQueue(queue);
    assert.equal(acc.devices()[0]!.queues.open, 1);
    await using shared = await open();
    assert.ok(shared.devices()[0]!.flags.includes('sva'));
  });
});
