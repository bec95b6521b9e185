import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { after, before, describe, it } from 'node:test';
import zlib from 'node:zlib';
import {
  type Accelerator,
  ArgumentError,
  type Bytes,
  ClosedError,
  CorruptDataError,
  DeadlineError,
  DeviceError,
  DeviceLostError,
  open,
  STATUS,
} from '../../src/index.js';
import { MIB, reference, sample } from '../support/corpus.js';
import { fails, gather, settles } from '../support/expect.js';

/** Every way to ask for something, to be tried where each must fail the same way. */
function requests(acc: Accelerator): (() => unknown)[] {
  const data = Buffer.from('some data');
  const packed = zlib.gzipSync(data);
  return [
    () => acc.compress(data),
    () => acc.compressSync(data),
    () => acc.compress(sample('text', 2 * MIB)),
    () => acc.compressSync(sample('text', 2 * MIB)),
    () => acc.compressMany([data, data]),
    () => acc.decompress(packed),
    () => acc.decompressSync(packed),
    () => acc.decompressMany([packed]),
    () => gather(acc.compressStream([data])),
    () => gather(acc.decompressStream([packed])),
    () => acc.noop(),
    () => acc.noopSync(),
    () => acc.requestQueue(),
  ];
}

describe('close', () => {
  it('settles requests in flight and waiting, with the right data', async () => {
    const acc = await open({ queueDepth: 4 });
    const inputs = Array.from({ length: 60 }, (_, index) => sample('text', 20_000, index * 100));
    const packing = inputs.map((input) => acc.compress(input));
    const unpacking = inputs.map((input) => acc.decompress(zlib.gzipSync(input)));
    const closing = acc.close();
    for (const [index, input] of inputs.entries()) {
      assert.ok(zlib.gunzipSync(await settles(packing[index]!, 'compress')).equals(input));
      assert.ok((await settles(unpacking[index]!, 'decompress')).equals(input));
    }
    await settles(closing, 'close');
  });

  it('settles those that take several requests, too', async () => {
    const random = sample('random', 4 * MIB);
    const works: Record<string, (acc: Accelerator) => Promise<void>> = {
      'a large compression': async (acc) => {
        const packed = await acc.compress(random, { level: 1 });
        assert.ok(zlib.gunzipSync(packed).equals(random));
      },
      'a large decompression': async (acc) => {
        assert.ok((await acc.decompress(zlib.gzipSync(random, { level: 1 }))).equals(random));
      },
      'a decompression with a large result': async (acc) => {
        const zeros = Buffer.alloc(5 * MIB);
        assert.ok((await acc.decompress(zlib.gzipSync(zeros))).equals(zeros));
      },
      'many members': async (acc) => {
        const member = zlib.gzipSync('abc');
        assert.equal(String(await acc.decompress(Buffer.concat([member, member]))), 'abcabc');
      },
    };
    const hung: string[] = [];
    for (const [name, work] of Object.entries(works)) {
      const acc = await open();
      const result = work(acc);
      result.catch(() => {});
      await settles(acc.close(), `close during ${name}`);
      await settles(result, name, 4000).catch((error: Error) => hung.push(error.message));
    }
    assert.deepEqual(hung, []);
  });

  it('does not wait for what was never sent', async () => {
    const acc = await open();
    const inputs = (function* () {
      yield Buffer.from('one');
      yield Buffer.from('two');
      throw new Error('no more');
    })();
    await assert.rejects(acc.compressMany(inputs), /no more/);
    await settles(acc.close(), 'close after compressMany was cut short', 4000);
  });

  it('can be called any number of times, and waits for the same end', async () => {
    const acc = await open();
    const work = acc.compress(sample('text', 100_000));
    await Promise.all([acc.close(), acc.close(), acc[Symbol.asyncDispose]()]);
    await acc.close();
    assert.ok((await work).length > 0);
  });

  it('turns everything later away', async () => {
    const acc = await open();
    const session = acc.session();
    await acc.close();
    const more = [
      () => acc.alloc(10),
      () => acc.session(),
      () => session.compress(Buffer.from('x')),
      () => session.compressSync(Buffer.from('x')),
    ];
    for (const request of [...requests(acc), ...more]) {
      await fails(request, ClosedError, 'CLOSED', /accelerator is closed/);
    }
  });

  it('turns requests away that come while it closes', async () => {
    const acc = await open();
    const early = acc.compress(sample('text', 300_000));
    const closing = acc.close();
    await fails(acc.compress(Buffer.from('x')), ClosedError, 'CLOSED', /closed/);
    assert.ok((await early).length > 0);
    await closing;
  });

  it('comes with the end of a block', async () => {
    let outside: Accelerator;
    {
      await using acc = await open();
      outside = acc;
      await acc.noop();
    }
    await fails(outside.noop(), ClosedError, 'CLOSED', /closed/);
  });
});

describe('limits on a request', () => {
  /** Every compression takes a while here, so that a request can be given up under way. */
  let slow: Accelerator;
  before(async () => {
    slow = await open({ inject: ['delay=40:compress', 'delay=40:decompress'], engines: 1, queueDepth: 2 });
  });
  after(() => settles(slow.close(), 'close'));

  const stillGood = async (): Promise<void> => {
    const data = sample('text', 700);
    assert.ok(zlib.gunzipSync(await settles(slow.compress(data), 'compress')).equals(data));
    assert.ok(zlib.gunzipSync(slow.compressSync(data)).equals(data));
  };

  it('rejects with the reason of a signal that was aborted before', async () => {
    const reason = { why: 'test' };
    const signal = AbortSignal.abort(reason);
    const packed = zlib.gzipSync('x');
    const refused = (error: unknown): boolean => error === reason;
    await assert.rejects(slow.compress(Buffer.from('x'), { signal }), refused);
    await assert.rejects(slow.decompress(packed, { signal }), refused);
    await assert.rejects(slow.compressMany([Buffer.from('x')], { signal }), refused);
    await assert.rejects(slow.decompressMany([packed], { signal }), refused);
    await assert.rejects(slow.session().compress(Buffer.from('x'), { signal }), refused);
    await stillGood();
  });

  it('rejects with the reason of a signal that is aborted during it', async () => {
    const data = sample('text', 3 * MIB);
    const packed = zlib.gzipSync(data);
    const works: ((options: { signal: AbortSignal }) => Promise<unknown>)[] = [
      (options) => slow.compress(data.subarray(0, 1000), options),
      (options) => slow.compress(data, options),
      (options) => slow.decompress(zlib.gzipSync('x'), options),
      (options) => slow.decompress(packed, options),
      (options) => slow.compressMany(Array<Bytes>(20).fill(data.subarray(0, 900)), options),
      (options) => slow.session().decompress(packed, options),
    ];
    for (const work of works) {
      for (const pause of [false, true]) {
        const controller = new AbortController();
        const reason = new Error('enough');
        const result = work({ signal: controller.signal });
        result.catch(() => {});
        if (pause) await new Promise((resolve) => setTimeout(resolve, 10));
        controller.abort(reason);
        await assert.rejects(settles(result, 'an aborted request'), (error) => error === reason);
      }
    }
    await stillGood();
  });

  it('gives up requests that still wait for a place, and serves the others', async () => {
    const controller = new AbortController();
    const data = sample('text', 800);
    const kept = Array.from({ length: 4 }, () => slow.compress(data));
    const given = Array.from({ length: 10 }, () => slow.compress(data, { signal: controller.signal }));
    const last = slow.compress(data);
    for (const work of given) work.catch(() => {});
    controller.abort();
    for (const work of given) await assert.rejects(work, { name: 'AbortError' });
    for (const work of [...kept, last]) assert.ok(zlib.gunzipSync(await work).equals(data));
    await stillGood();
  });

  it('leaves nothing behind on the signal', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    await Promise.all([1, 2, 3].map(() => slow.compress(Buffer.from('x'), { signal })));
    await assert.rejects(slow.decompress(Buffer.from('no stream'), { signal }), CorruptDataError);
    assert.equal(getEventListeners(signal, 'abort').length, 0);
    controller.abort();
    await stillGood();
  });

  it('rejects with DeadlineError when the result comes too late', async () => {
    const data = sample('text', 3 * MIB);
    const attempts = [
      () => slow.compress(data.subarray(0, 600), { deadlineMs: 2 }),
      () => slow.compress(data, { deadlineMs: 2 }),
      () => slow.decompress(zlib.gzipSync(data), { deadlineMs: 2 }),
      () => slow.compressMany([data.subarray(0, 10), data.subarray(0, 20)], { deadlineMs: 2 }),
      () => slow.session().compress(data.subarray(0, 600), { deadlineMs: 0 }),
    ];
    for (const attempt of attempts) {
      await fails(settles<unknown>(attempt(), 'a deadline'), DeadlineError, 'DEADLINE', /after \d ms/);
    }
    assert.ok((await slow.compress(data.subarray(0, 600), { deadlineMs: 60_000 })).length > 0);
    await stillGood();
  });
});

describe('results', () => {
  let acc: Accelerator;
  before(async () => {
    acc = await open();
  });
  after(() => settles(acc.close(), 'close'));

  it('tell where they come from, if asked', async () => {
    const data = sample('text', 400_000);
    const packed = await acc.compress(data, { info: true });
    assert.ok(zlib.gunzipSync(packed.data).equals(data));
    const names = acc.devices()[0]!.engines.map((engine) => engine.name);
    const large = sample('text', 2 * MIB);
    const infos = [
      packed.info,
      acc.compressSync(data, { info: true }).info,
      (await acc.decompress(packed.data, { info: true })).info,
      acc.decompressSync(packed.data, { info: true }).info,
      (await acc.compress(large, { info: true, level: 1 })).info,
      acc.decompressSync(zlib.gzipSync(large), { info: true }).info,
    ];
    for (const info of infos) {
      assert.equal(info.device, 'embedded');
      assert.equal(info.queue, 0);
      assert.ok(names.includes(info.engine), info.engine);
      assert.ok(info.thread >= 0 && info.thread < acc.devices()[0]!.maxThreads);
      assert.ok(info.nanoseconds > 0);
    }
    assert.deepEqual(
      infos.slice(0, 2).map((info) => info.requests),
      [1, 1],
    );
    assert.equal(infos[4]!.requests, 4);
    assert.ok(infos[5]!.requests > 1);
    assert.ok(Buffer.isBuffer(await acc.compress(data, { info: false as true })));
  });

  it('of compressMany and decompressMany come in order, from any iterable, in any number', async () => {
    assert.deepEqual(await acc.compressMany([]), []);
    assert.deepEqual(await acc.decompressMany(new Set<Uint8Array>()), []);
    const inputs = Array.from({ length: 1500 }, (_, index) =>
      sample('text', index % 7 === 0 ? 9000 : index % 300, index),
    );
    inputs[700] = sample('text', 2 * MIB);
    for (const algorithm of ['gzip', 'deflate-raw'] as const) {
      const each = (function* () {
        yield* inputs;
      })();
      const packed = await acc.compressMany(each, { algorithm, level: 1 });
      assert.equal(packed.length, inputs.length);
      for (const [index, result] of packed.entries()) {
        assert.ok(reference[algorithm].unpack(result).equals(inputs[index]!), `${index}`);
      }
      const back = await acc.decompressMany(packed, { algorithm });
      for (const [index, result] of back.entries()) assert.ok(result.equals(inputs[index]!));
    }
  });

  it('of a list with one that fails: the failure, and nothing else suffers', async () => {
    const good = zlib.gzipSync('good');
    const list = Array.from({ length: 600 }, (_, index) => (index === 300 ? Buffer.from('bad!') : good));
    await fails(settles(acc.decompressMany(list), 'decompressMany'), CorruptDataError, 'CORRUPT', /damaged/);
    const mixed = [good, 'no bytes' as unknown as Bytes, good];
    await fails(acc.decompressMany(mixed), ArgumentError, 'ARGUMENT', /bytes are wanted/);
    assert.equal((await acc.decompressMany([good, good])).join(), 'good,good');
  });

  it('mix: synchronous calls while others are in flight', async () => {
    const inputs = Array.from({ length: 100 }, (_, index) => sample('text', 5000 + index, index));
    const works = inputs.map((input) => acc.compress(input));
    for (const input of inputs) assert.ok(zlib.gunzipSync(acc.compressSync(input)).equals(input));
    acc.noopSync();
    const packed = await settles(Promise.all(works), 'requests beside synchronous ones');
    for (const [index, input] of inputs.entries()) assert.ok(zlib.gunzipSync(packed[index]!).equals(input));
  });

  it('reuse what a session has set up', async () => {
    const session = acc.session({ algorithm: 'deflate-raw', level: 9, maxOutputLength: 5000 });
    const data = sample('text', 5000);
    const packed = await session.compress(data);
    assert.ok(packed.equals(await acc.compress(data, { algorithm: 'deflate-raw', level: 9 })));
    assert.ok(session.compressSync(data).equals(packed));
    assert.ok((await session.decompress(packed)).equals(data));
    assert.ok(session.decompressSync(packed).equals(data));
    await assert.rejects(session.decompress(session.compressSync(sample('text', 5001))), {
      code: 'ERR_WARPDRIVE_OUTPUT_LIMIT',
    });
    const last = session.compress(data);
    session.close();
    session.close();
    assert.ok((await last).equals(packed));
    for (const attempt of [
      () => session.compress(data),
      () => session.compressSync(data),
      () => session.decompress(packed),
      () => session.decompressSync(packed),
    ]) {
      await fails(attempt, ClosedError, 'CLOSED', /session is closed/);
    }
    {
      using scoped = acc.session();
      scoped.compressSync(data);
    }
    assert.ok((await acc.compress(data)).length > 0);
  });
});

describe('back-pressure', () => {
  it('serves 5,000 requests at once through four places and 4 MiB', async () => {
    await using acc = await open({ queueDepth: 4, memoryBytes: 4 * MIB });
    const sizes = [90, 4096, 0, 700, 33_000, 1];
    const works = Array.from({ length: 5000 }, async (_, index) => {
      const data = sample('text', sizes[index % sizes.length]!, index);
      const packed = await acc.compress(data, { level: 1 });
      const back = await acc.decompress(packed);
      assert.ok(back.equals(data), `request ${index}`);
    });
    await settles(Promise.all(works), '5,000 requests', 50_000);
  });

  it('serves large requests together through 4 MiB', async () => {
    await using acc = await open({ queueDepth: 4, memoryBytes: 4 * MIB });
    const data = sample('text', 3 * MIB);
    const packed = zlib.gzipSync(data);
    const works = Array.from({ length: 8 }, async (_, index) => {
      if (index % 2) assert.ok((await acc.decompress(packed)).equals(data));
      else assert.ok(zlib.gunzipSync(await acc.compress(data, { level: 1 })).equals(data));
    });
    await settles(Promise.all(works), 'large requests', 50_000);
  });
});

describe('faults', () => {
  it('an engine thread that dies takes what is in flight with it, and the next open works', async () => {
    for (const options of [{ engines: 1 }, { engines: 2 }, { engines: 1, sva: false }]) {
      const acc = await open({ ...options, inject: ['kill:compress:3'] });
      const queue = await acc.requestQueue({ depth: 4 });
      const outcomes = await settles(
        Promise.allSettled(Array.from({ length: 400 }, () => acc.compress(sample('text', 3000)))),
        'requests to a device that dies',
      );
      const lost = outcomes.filter((outcome) => outcome.status === 'rejected');
      assert.ok(lost.length > 0 && lost.length < 400);
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') {
          await fails(
            Promise.reject(outcome.reason),
            DeviceLostError,
            'DEVICE_LOST',
            /open a new accelerator/,
          );
        } else {
          assert.ok(zlib.gunzipSync(outcome.value).equals(sample('text', 3000)));
        }
      }
      for (const request of requests(acc)) {
        await fails(request, DeviceLostError, 'DEVICE_LOST', /died|failed|ended|lost/);
      }
      await settles(queue.release(), 'release of a queue of a dead device');
      await settles(acc.close(), 'close of a dead device');
      await using next = await open();
      assert.ok((await next.compress(Buffer.from('x'))).length > 0);
    }
  });

  it('a synchronous call learns that the device has died', async () => {
    const acc = await open({ inject: ['kill:compress:1'], engines: 1 });
    await fails(() => acc.compressSync(Buffer.from('x')), DeviceLostError, 'DEVICE_LOST', /new accelerator/);
    await settles(acc.close(), 'close');
  });

  it('a stream and a large request learn that the device has died', async () => {
    for (const run of [
      (acc: Accelerator) => acc.compress(sample('text', 4 * MIB)),
      (acc: Accelerator) => gather(acc.compressStream([sample('text', 4 * MIB)])),
    ]) {
      const acc = await open({ inject: ['kill:compress:2'], engines: 1 });
      await fails(settles(run(acc), 'a lost request'), DeviceLostError, 'DEVICE_LOST', /new accelerator/);
      await settles(acc.close(), 'close');
    }
    const acc = await open({ inject: ['kill:decompress:2'], engines: 1 });
    const packed = zlib.gzipSync(sample('random', 3 * MIB));
    await fails(settles(acc.decompress(packed), 'lost'), DeviceLostError, 'DEVICE_LOST', /new accelerator/);
    await settles(acc.close(), 'close');
  });

  it('an engine that fails one request fails no other', async () => {
    await using acc = await open({ inject: ['fail:compress:2', 'fail:decompress:3'], engines: 1 });
    const data = sample('text', 2000);
    await acc.compress(data);
    const error = await fails(acc.compress(data), DeviceError, 'DEVICE', /engineFailed/);
    assert.equal(error.status, STATUS.engineFailed);
    assert.equal(error.device, 'embedded');
    assert.equal(error.queue, 0);
    const packed = await acc.compress(data);
    await acc.decompress(packed);
    assert.ok(acc.decompressSync(packed).equals(data));
    await fails(() => acc.decompressSync(packed), DeviceError, 'DEVICE', /engineFailed/);
    assert.ok((await acc.decompress(packed)).equals(data));
  });

  it('a slow engine delays, and harms nothing', async () => {
    await using acc = await open({ inject: ['delay=30:compress:2', 'delay=5:noop'] });
    const data = sample('text', 2000);
    for (const packed of await Promise.all([1, 2, 3, 4].map(() => acc.compress(data)))) {
      assert.ok(zlib.gunzipSync(packed).equals(data));
    }
    await acc.noop();
    acc.noopSync();
  });
});
