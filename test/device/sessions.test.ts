import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { CQE_FLAG, LIMITS, OPCODE, STATUS, statusName } from '../../src/abi/queue.js';
import { wva } from '../../src/driver/wva/wva.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { execute, next, put, sampleText, withDevice } from './support-device.js';
import { LocalDevice } from './support-local-device.js';

async function open(queue: WvaQueue, algorithm: number = ALGORITHM['deflate-raw']): Promise<number> {
  const done = await execute(queue, { opcode: OPCODE.sessionOpen, algorithm });
  assert.equal(statusName(done.status), 'ok');
  return done.result;
}

async function close(queue: WvaQueue, session: number): Promise<string> {
  return statusName((await execute(queue, { opcode: OPCODE.sessionClose, session })).status);
}

describe('sessions', () => {
  test('a stream comes back whole, cut anywhere', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(8);
      const memory = await device.memory(1 << 18);
      const text = sampleText(20000);
      for (const [algorithm, packed] of [
        [ALGORITHM['deflate-raw'], deflateRawSync(text)],
        [ALGORITHM.gzip, gzipSync(text)],
      ] as const) {
        const session = await open(queue, algorithm);
        memory.mapping.bytes.set(packed);
        const parts: Buffer[] = [];
        let ended = false;
        for (let at = 0; !ended; ) {
          const done = await execute(queue, {
            opcode: OPCODE.decompress,
            algorithm,
            session,
            source: memory.iova + at,
            sourceLength: Math.min(777, packed.length - at),
            destination: memory.iova + 65536,
            capacity: 1000,
          });
          assert.equal(statusName(done.status), 'ok');
          assert.ok(done.consumed + done.produced > 0, 'it moves on');
          parts.push(Buffer.from(memory.mapping.bytes.slice(65536, 65536 + done.produced)));
          at += done.consumed;
          ended = (done.flags & CQE_FLAG.streamEnd) !== 0;
        }
        assert.ok(Buffer.concat(parts).equals(text));
        assert.equal(await close(queue, session), 'ok');
      }
    }));

  test('a session that is closed, of another format, or made up is refused', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(8);
      const memory = await device.memory(8192);
      memory.mapping.bytes.fill(0xa5);
      const session = await open(queue);
      const use = async (number: number, algorithm: number): Promise<string> => {
        const done = await execute(queue, {
          opcode: OPCODE.decompress,
          algorithm,
          session: number,
          source: memory.iova,
          sourceLength: 16,
          destination: memory.iova + 4096,
          capacity: 100,
        });
        return statusName(done.status);
      };
      assert.equal(await use(session, ALGORITHM.gzip), 'badSession');
      for (const wrong of [session + 1, session - 1, session + 4096, session ^ 0x80000000, -session]) {
        assert.equal(await use(wrong, ALGORITHM['deflate-raw']), 'badSession', `session ${wrong}`);
        assert.equal(await close(queue, wrong), 'badSession');
      }
      const compressed = await execute(queue, {
        opcode: OPCODE.compress,
        algorithm: ALGORITHM['deflate-raw'],
        session,
        source: memory.iova,
        sourceLength: 16,
        destination: memory.iova + 4096,
        capacity: 100,
      });
      assert.equal(statusName(compressed.status), 'badSession', 'a stream decompresses');
      assert.equal(await close(queue, session), 'ok');
      assert.equal(await close(queue, session), 'badSession', 'closing twice');
      assert.equal(await use(session, ALGORITHM['deflate-raw']), 'badSession', 'after closing');
      // The next session takes the same slot, under another number.
      const again = await open(queue);
      assert.notEqual(again, session);
      assert.equal(await use(session, ALGORITHM['deflate-raw']), 'badSession', 'the number from before');
      assert.equal(await close(queue, session), 'badSession');
      assert.equal(await close(queue, again), 'ok');
      assert.ok(memory.mapping.bytes.every((byte) => byte === 0xa5));
    }));

  test('sessions run out, and a reset frees them all', () =>
    withDevice({}, async (device) => {
      const before = await device.queue(32);
      const openAll = async (queue: WvaQueue): Promise<Set<number>> => {
        const numbers = new Set<number>();
        for (let opened = 0; opened < LIMITS.maxSessions; ) {
          const batch = Math.min(queue.depth, LIMITS.maxSessions - opened);
          for (let i = 0; i < batch; i++)
            put(queue.pair, { opcode: OPCODE.sessionOpen, algorithm: 1 + (i % 3) });
          queue.publish();
          for (let i = 0; i < batch; i++) {
            const done = await next(queue);
            assert.equal(statusName(done.status), 'ok');
            numbers.add(done.result);
          }
          opened += batch;
        }
        return numbers;
      };
      const numbers = await openAll(before);
      assert.equal(numbers.size, LIMITS.maxSessions);
      assert.ok(!numbers.has(0));
      for (let i = 0; i < 3; i++) {
        const done = await execute(before, { opcode: OPCODE.sessionOpen, algorithm: 1 });
        assert.equal(statusName(done.status), 'noResources');
      }
      const [some] = numbers;
      assert.equal(await close(before, some!), 'ok');
      const reused = await open(before);
      assert.ok(!numbers.has(reused));
      await device.transport.reset();
      const after = await device.queue(32);
      for (const number of [...numbers].slice(0, 50)) assert.equal(await close(after, number), 'badSession');
      assert.equal((await openAll(after)).size, LIMITS.maxSessions);
      await before.release();
    }));

  test("another client's session is nobody else's, and goes with its client", async (t) => {
    const local = await LocalDevice.start(t, 2);
    const mine = await local.connect();
    const theirs = await local.connect();
    const mineDevice = await wva.open(mine);
    const theirDevice = await wva.open(theirs);
    const myQueue = (await mineDevice.createQueue({ depth: 8 })) as WvaQueue;
    const theirQueue = (await theirDevice.createQueue({ depth: 8 })) as WvaQueue;
    const memory = await mineDevice.allocate(8192);
    const session = await open(theirQueue);
    const used = await execute(myQueue, {
      opcode: OPCODE.decompress,
      algorithm: ALGORITHM['deflate-raw'],
      session,
      source: memory.iova,
      sourceLength: 16,
      destination: memory.iova + 4096,
      capacity: 100,
    });
    assert.equal(used.status, STATUS.badSession);
    assert.equal(await close(myQueue, session), 'badSession');
    assert.equal(await close(theirQueue, session), 'ok', 'it was left alone');
    // Memory, too: what the other has mapped is not in this address space.
    const theirMemory = await theirDevice.allocate(8192);
    const across = await execute(myQueue, {
      opcode: OPCODE.compress,
      algorithm: ALGORITHM['deflate-raw'],
      level: 1,
      source: theirMemory.iova,
      sourceLength: 16,
      destination: memory.iova,
      capacity: 100,
    });
    assert.equal(across.status, STATUS.badAddress);
    const kept: number[] = [];
    for (let i = 0; i < 20; i++) kept.push(await open(theirQueue));
    await theirDevice.close();
    while (local.gone === 0) await new Promise((resolve) => setImmediate(resolve));
    for (const number of kept) assert.equal(await close(myQueue, number), 'badSession');
    for (let i = 0; i < LIMITS.maxSessions; i++) await open(myQueue);
    await mineDevice.close();
    await theirMemory.free();
    await memory.free();
    await local.stop();
  });
});
