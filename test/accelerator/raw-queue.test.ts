import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import {
  type Accelerator,
  type AcceleratorQueue,
  ALGORITHM,
  ArgumentError,
  ClosedError,
  Completion,
  CQE_FLAG,
  DeviceLostError,
  OPCODE,
  open,
  SQE_FLAG,
  STATUS,
  Submission,
} from '../../src/index.js';
import { FORMATS, reference, sample } from '../support/corpus.js';
import { fails, settles } from '../support/expect.js';

const LIMIT_MS = 10_000;

for (const [mode, options] of Object.entries({
  'shared addresses': { engines: 2 },
  'mapped memory': { engines: 2, sva: false },
})) {
  describe(`a queue of one's own with ${mode}`, () => {
    let acc: Accelerator;
    before(async () => {
      acc = await open(options);
    });
    after(() => settles(acc.close(), 'close'));

    it('compresses and decompresses in reserved memory', async () => {
      const queue = await acc.requestQueue({ depth: 8 });
      const data = sample('text', 10_000);
      const [source, middle, target] = await Promise.all([1, 2, 3].map(() => queue.reserveMemory(20_000)));
      data.copy(source!.buffer);
      const submission = new Submission();
      const completion = new Completion();
      for (const algorithm of FORMATS) {
        submission.operation = OPCODE.compress;
        submission.algorithm = ALGORITHM[algorithm];
        submission.level = 6;
        submission.flags = SQE_FLAG.crc32 | SQE_FLAG.timed;
        submission.requestId = 0xabcd;
        submission.source = source!.address;
        submission.sourceLength = data.length;
        submission.destination = middle!.address;
        submission.capacity = 20_000;
        assert.equal(queue.send(submission), true);
        assert.equal(queue.recvSync(completion, LIMIT_MS), true);
        assert.equal(completion.status, STATUS.ok);
        assert.equal(completion.requestId, 0xabcd);
        assert.equal(completion.consumed, data.length);
        assert.equal(completion.result >>> 0, zlib.crc32(data));
        assert.ok(completion.engine > 0);
        const packedBytes = completion.produced;
        const packed = middle!.buffer.subarray(0, packedBytes);
        assert.ok(reference[algorithm].unpack(packed).equals(data));

        submission.operation = OPCODE.decompress;
        submission.level = 0;
        submission.flags = 0;
        submission.source = middle!.address;
        submission.sourceLength = packedBytes;
        submission.destination = target!.address + 100;
        submission.capacity = 15_000;
        assert.equal(queue.send(submission), true);
        await settles(queue.wait(), 'wait');
        assert.equal(queue.recv(completion), true);
        assert.equal(completion.status, STATUS.ok);
        assert.equal(completion.produced, data.length);
        assert.equal(completion.consumed, packedBytes);
        assert.equal(completion.flags & CQE_FLAG.streamEnd, CQE_FLAG.streamEnd);
        assert.ok(target!.buffer.subarray(100, 100 + data.length).equals(data));
      }
      assert.equal(queue.inFlight, 0);
      assert.equal(queue.recv(completion), false);
      await queue.release();
    });

    it('says how a request ended', async () => {
      const queue = await acc.requestQueue({ depth: 4 });
      const memory = await queue.reserveMemory(65_536);
      const half = memory.address + 32_768;
      const packed = zlib.gzipSync(sample('random', 3000));
      const run = (given: Partial<Submission>, input: Uint8Array): Completion => {
        memory.buffer.fill(0x55);
        memory.buffer.set(input);
        const submission = Object.assign(new Submission(), {
          operation: OPCODE.decompress,
          algorithm: ALGORITHM.gzip,
          source: memory.address,
          sourceLength: input.length,
          destination: half,
          capacity: 10_000,
          ...given,
        });
        assert.ok(queue.send(submission));
        const completion = new Completion();
        assert.ok(queue.recvSync(completion, LIMIT_MS));
        return completion;
      };
      const damaged = Buffer.from(packed);
      damaged[packed.length - 6]! ^= 4;
      const compress = OPCODE.compress;
      const cases: [number, Partial<Submission>, Uint8Array][] = [
        [STATUS.ok, {}, packed],
        [STATUS.corrupt, {}, damaged],
        [STATUS.truncated, {}, packed.subarray(0, -1)],
        [STATUS.noSpace, { capacity: 2999 }, packed],
        [STATUS.noSpace, { operation: compress, level: 6, capacity: 20 }, packed],
        [STATUS.unsupported, { algorithm: 77 }, packed],
        [STATUS.unsupported, { operation: compress, level: 13 }, packed],
        [STATUS.badOpcode, { operation: 200 }, packed],
        [STATUS.badField, { flags: 0x80 }, packed],
        [STATUS.badField, { flags: SQE_FLAG.crc32 | SQE_FLAG.adler32 }, packed],
        [STATUS.badField, { flags: SQE_FLAG.piece }, packed],
        [STATUS.badLength, { capacity: 0 }, packed],
        [STATUS.badSession, { session: 99 }, packed],
        [STATUS.badSession, { operation: OPCODE.sessionClose, session: 5 }, packed],
      ];
      let refused = 0;
      for (const [status, given, input] of cases) {
        const completion = run(given, input);
        assert.equal(completion.status, status, JSON.stringify(given));
        if (status !== STATUS.ok && status < STATUS.noSpace) refused++;
        const beyond = memory.buffer.subarray(32_768 + (given.capacity ?? 10_000));
        assert.ok(
          beyond.every((byte) => byte === 0x55),
          'nothing lies beyond the room that was given',
        );
      }
      const counters = await queue.counters();
      assert.equal(counters.completed, cases.length);
      assert.equal(counters.refused, refused);
      assert.deepEqual([counters.wrongRings, counters.staleSlots, counters.isolated], [0, 0, false]);
      await queue.release();
    });

    it('pushes back when it is full', async () => {
      const queue = await acc.requestQueue({ depth: 4 });
      const submission = new Submission();
      const completion = new Completion();
      for (let round = 0; round < 50; round++) {
        for (let index = 0; index < 4; index++) {
          submission.requestId = index;
          assert.equal(queue.send(submission, true), true);
        }
        assert.equal(queue.inFlight, 4);
        submission.requestId = 99;
        // Full: refused, and what was batched is published nevertheless.
        assert.equal(queue.send(submission, true), false);
        for (let index = 0; index < 4; index++) {
          assert.equal(queue.recvSync(completion, LIMIT_MS), true);
          assert.equal(completion.requestId, index);
        }
        assert.equal(queue.recvSync(completion, LIMIT_MS), false);
      }
      await queue.release();
    });

    it('publishes a batch with one flush', async () => {
      const queue = await acc.requestQueue({ depth: 64 });
      const submission = new Submission();
      const completion = new Completion();
      for (let round = 0; round < 20; round++) {
        for (let index = 0; index < 40; index++) {
          submission.requestId = round * 100 + index;
          assert.ok(queue.send(submission, true));
        }
        assert.equal(queue.recv(completion), false, 'nothing was published yet');
        queue.flush();
        for (let index = 0; index < 40; index++) {
          assert.ok(queue.recvSync(completion, LIMIT_MS));
          assert.equal(completion.requestId, round * 100 + index);
        }
      }
      queue.flush();
      await queue.release();
    });

    it('refuses memory that it did not hand out', async () => {
      const queue = await acc.requestQueue({ depth: 4 });
      const other = await acc.requestQueue({ depth: 4 });
      const memory = await queue.reserveMemory(8192);
      const foreign = await other.reserveMemory(8192);
      const good = {
        operation: OPCODE.compress,
        algorithm: ALGORITHM.gzip,
        level: 1,
        source: memory.address,
        sourceLength: 100,
        destination: memory.address + 4096,
        capacity: 4096,
      };
      const { address } = memory;
      const bad: Partial<Submission>[] = [
        { source: 0 },
        { source: 4096 },
        { source: address - 1 },
        { source: address + 8192 - 99 },
        { source: foreign.address },
        { sourceLength: 8193 },
        { destination: 0 },
        { destination: address - 1 },
        { destination: foreign.address },
        { capacity: 4097 },
        { source: Number.NaN },
        { capacity: 2 ** 31 },
      ];
      for (const change of bad) {
        const submission = Object.assign(new Submission(), good, change);
        await fails(
          () => queue.send(submission),
          ArgumentError,
          'ARGUMENT',
          /memory reserved from this queue/,
        );
      }
      const completion = new Completion();
      assert.equal(queue.inFlight, 0);
      assert.ok(queue.send(Object.assign(new Submission(), good)));
      assert.ok(queue.recvSync(completion, LIMIT_MS));
      assert.equal(completion.status, STATUS.ok);
      await Promise.all([queue.release(), other.release()]);
    });

    it('is over after release', async () => {
      const queue = await acc.requestQueue({ depth: 4 });
      const memory = await queue.reserveMemory(100);
      await Promise.all([queue.release(), queue.release()]);
      await queue.release();
      for (const use of [
        () => queue.send(new Submission()),
        () => queue.flush(),
        () => queue.recv(new Completion()),
        () => queue.recvSync(new Completion(), 10),
        () => queue.reserveMemory(100),
      ]) {
        await fails(use, ClosedError, 'CLOSED', /queue was released/);
      }
      await settles(queue.wait(), 'wait on a released queue');
      await fails(acc.releaseQueue(queue), ArgumentError, 'ARGUMENT', /not one of this accelerator/);
      memory.buffer.fill(1);
      const next = await acc.requestQueue({ depth: 4 });
      assert.equal(next.id, queue.id, 'its number is free again');
      await acc.releaseQueue(next);
    });

    it('can be released with requests in flight', async () => {
      for (let round = 0; round < 10; round++) {
        const queue = await acc.requestQueue({ depth: 16 });
        const memory = await queue.reserveMemory(400_000);
        sample('text', 300_000).copy(memory.buffer);
        const submission = Object.assign(new Submission(), {
          operation: OPCODE.compress,
          algorithm: ALGORITHM.gzip,
          level: 9,
          source: memory.address,
          sourceLength: 10_000 * (round + 1),
          destination: memory.address + 300_000,
          capacity: 100_000,
        });
        for (let index = 0; index < 16; index++) assert.ok(queue.send(submission, round % 2 === 0));
        if (round % 3 === 0) queue.flush();
        await settles(queue.release(), 'release');
      }
      assert.ok((await acc.compress(Buffer.from('x'))).length > 0);
    });

    it('runs out of queues with an error, and gets them back', async () => {
      const { max } = acc.devices()[0]!.queues;
      const queues: AcceleratorQueue[] = [];
      try {
        for (let count = 1; count < max; count++) queues.push(await acc.requestQueue({ depth: 2 }));
        assert.equal(acc.devices()[0]!.queues.open, max);
        await fails(acc.requestQueue({ depth: 2 }), ArgumentError, 'ARGUMENT', /release a queue first/);
        const completion = new Completion();
        for (const queue of queues) {
          assert.ok(queue.send(new Submission()));
          assert.ok(queue.recvSync(completion, LIMIT_MS));
        }
      } finally {
        await Promise.all(queues.map((queue) => queue.release()));
      }
      await (await acc.requestQueue({ depth: 2 })).release();
    });

    it('carries 100,000 requests around a ring of four', async () => {
      const queue = await acc.requestQueue({ depth: 4 });
      await carry(queue, 100_000);
      assert.equal((await queue.counters()).completed, 100_000);
      await queue.release();
    });

    for (const startIndex of [
      0x7ffffff0, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffff8, 0xfffffffb, 0xfffffffc, 0xfffffffe,
      0xffffffff,
    ]) {
      it(`lets its indexes overflow from 0x${startIndex.toString(16)}`, async () => {
        const queue = await acc.requestQueue({ depth: 8, startIndex });
        try {
          const completion = new Completion();
          for (let index = 0; index < 20; index++) {
            assert.equal(queue.recv(completion), false, `an idle queue has no completion, ${index}`);
            assert.ok(queue.send(Object.assign(new Submission(), { requestId: 7000 + index })));
            assert.ok(queue.recvSync(completion, LIMIT_MS));
            assert.equal(completion.requestId, 7000 + index);
          }
          await carry(queue, 1000);
          const counters = await queue.counters();
          assert.equal(counters.completed, 1020);
          assert.deepEqual([counters.wrongRings, counters.staleSlots, counters.refused], [0, 0, 0]);
        } finally {
          await queue.release();
        }
      });
    }

    it('gives each completion its own request, in whatever order they end', async () => {
      const queue = await acc.requestQueue({ depth: 16, startIndex: 0xffffff00 });
      const slotBytes = 150_000;
      const memory = await queue.reserveMemory(16 * 2 * slotBytes);
      await fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.record({
              length: fc.integer({ min: 1, max: 100_000 }),
              level: fc.integer({ min: 1, max: 9 }),
            }),
            { minLength: 1, maxLength: 40 },
          ),
          async (requests) => {
            const free = Array.from({ length: 16 }, (_, slot) => slot);
            const submission = new Submission();
            const completion = new Completion();
            const inFlight = new Map<number, { slot: number; data: Buffer }>();
            const take = (): void => {
              assert.ok(queue.recvSync(completion, LIMIT_MS));
              assert.equal(completion.status, STATUS.ok);
              const { slot, data } = inFlight.get(completion.requestId)!;
              inFlight.delete(completion.requestId);
              const at = (2 * slot + 1) * slotBytes;
              const packed = memory.buffer.subarray(at, at + completion.produced);
              assert.ok(zlib.gunzipSync(packed).equals(data));
              assert.equal(completion.result >>> 0, zlib.crc32(data));
              free.push(slot);
            };
            for (const [index, { length, level }] of requests.entries()) {
              if (free.length === 0) take();
              const slot = free.pop()!;
              const data = sample('text', length, index * 777);
              data.copy(memory.buffer, 2 * slot * slotBytes);
              Object.assign(submission, {
                operation: OPCODE.compress,
                algorithm: ALGORITHM.gzip,
                level,
                flags: SQE_FLAG.crc32,
                requestId: index,
                source: memory.address + 2 * slot * slotBytes,
                sourceLength: length,
                destination: memory.address + (2 * slot + 1) * slotBytes,
                capacity: slotBytes,
              });
              inFlight.set(index, { slot, data });
              assert.ok(queue.send(submission, index % 3 === 1));
            }
            queue.flush();
            while (inFlight.size > 0) take();
            assert.equal(queue.inFlight, 0);
          },
        ),
        { numRuns: 25 },
      );
      await queue.release();
    });
  });
}

/** Carries no-ops, as many in flight as fit, and checks that each comes back once, in order. */
async function carry(queue: AcceleratorQueue, count: number): Promise<void> {
  const submission = new Submission();
  const completion = new Completion();
  let sent = 0;
  let received = 0;
  while (received < count) {
    submission.requestId = sent;
    if (sent < count && queue.send(submission, sent % 3 === 0)) {
      sent++;
      continue;
    }
    queue.flush();
    if (!queue.recvSync(completion, LIMIT_MS)) assert.fail(`nothing came back after ${received}`);
    if (completion.requestId !== received || completion.status !== STATUS.ok) {
      assert.fail(`${completion.requestId} came back, with status ${completion.status}, for ${received}`);
    }
    received++;
  }
}

describe("a queue of one's own", () => {
  it('goes with its accelerator', async () => {
    const acc = await open();
    const queue = await acc.requestQueue();
    assert.ok(queue.send(new Submission()));
    await settles(acc.close(), 'close');
    await fails(() => queue.send(new Submission()), ClosedError, 'CLOSED', /released/);
    await settles(queue.release(), 'release');
  });

  it('learns that the device has died', async () => {
    const acc = await open({ inject: ['kill:compress:1'], engines: 1 });
    const queue = await acc.requestQueue({ depth: 4 });
    const memory = await queue.reserveMemory(8192);
    const submission = Object.assign(new Submission(), {
      operation: OPCODE.compress,
      algorithm: ALGORITHM.gzip,
      level: 1,
      source: memory.address,
      sourceLength: 100,
      destination: memory.address + 4096,
      capacity: 4096,
    });
    assert.ok(queue.send(submission));
    await fails(() => queue.recvSync(new Completion(), LIMIT_MS), DeviceLostError, 'DEVICE_LOST', /failed/);
    await fails(settles(queue.wait(), 'wait'), DeviceLostError, 'DEVICE_LOST', /failed/);
    await settles(queue.release(), 'release');
    await settles(acc.close(), 'close');
  });

  it('waits for the answer of a slow device, asleep', async () => {
    const acc = await open({ inject: ['delay=60:noop'], engines: 1 });
    const queue = await acc.requestQueue({ depth: 4 });
    const completion = new Completion();
    for (let round = 0; round < 3; round++) {
      assert.ok(queue.send(new Submission()));
      await settles(queue.wait(), 'wait');
      assert.ok(queue.recv(completion));
      assert.ok(queue.send(new Submission()));
      assert.equal(queue.recvSync(completion, 1), false, 'not there yet');
      assert.ok(queue.recvSync(completion));
    }
    await settles(queue.wait(), 'wait for nothing');
    await acc.close();
  });

  it('belongs to one accelerator', async () => {
    await using one = await open();
    await using other = await open();
    const queue = await one.requestQueue();
    await fails(other.releaseQueue(queue), ArgumentError, 'ARGUMENT', /not one of this accelerator/);
    assert.notEqual(queue.id, 0);
    assert.equal(queue.depth, 128);
  });
});
