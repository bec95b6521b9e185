import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { deflateRawSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { DOORBELL, LIMITS, OPCODE, STATUS } from '../../src/abi/queue.js';
import { IRQ } from '../../src/abi/registers.js';
import { COMMAND } from '../../src/abi/vfio-user.js';
import { closeFd, closeFds, createEventfd, createPipe, makeBlocking } from '../../src/sys/fd.js';
import { bind } from '../../src/sys/libc.js';
import { createSocketPair, receiveBytes, sendBytes } from '../../src/sys/socket.js';
import { until } from '../broker/support-broker.js';
import { randomNumbers, recordedSeed, sampleText } from '../device/support-device.js';
import { HostileClient, message, words } from '../support/hostile-client.js';
import { Attack } from './support-attack.js';
import type { DrainerData } from './support-drainer.js';
import { HostileDevice } from './support-hostile-queue.js';

const writeTo = bind<(fd: number, data: Uint8Array, length: number) => number>(
  'int64_t write(int fd, void *buf, uint64_t count)',
);

/** Writes to a descriptor until it takes no more, and makes it one that waits from then on. */
function fillUp(fd: number, piece: Uint8Array): void {
  while (writeTo(fd, piece, piece.byteLength) > 0);
  makeBlocking(fd);
}

describe('neighbours of a hostile client', () => {
  test('tokens that are guessed execute nothing, and the queue is isolated soon', async (t) => {
    const random = randomNumbers(recordedSeed());
    const attack = await Attack.start(t);
    const hostile = await HostileDevice.connect(attack.broker.socket);
    for (let life = 0; life < 5; life++) {
      const queue = await hostile.queue(life, 16);
      const memory = await hostile.memory(8192);
      const sqe = { opcode: OPCODE.compress, algorithm: ALGORITHM.gzip, level: 1, sourceLength: 100 };
      queue.put({ ...sqe, source: memory.iova, destination: memory.iova + 4096, capacity: 4096 });
      for (let ring = 1; ring <= LIMITS.wrongRings; ring++) {
        // A guess that could be right by chance is none.
        let word = random() | 0;
        while ((word - queue.token) >>> 0 <= queue.depth) word = random() | 0;
        queue.ringWord(word);
        await until(
          async () => (await queue.counters()).wrongRings === ring,
          `wrong ring ${ring} is counted`,
        );
      }
      assert.deepEqual(await queue.counters(), {
        wrongRings: LIMITS.wrongRings,
        completed: 0,
        isolated: true,
      });
      queue.ring();
      await attack.honestGoesOn();
      assert.equal((await queue.counters()).completed, 0, 'the right token comes too late');
      assert.ok(memory.mapping.bytes.subarray(4096).every((byte) => byte === 0));
      await queue.disable();
    }
    await hostile.close();
    await attack.survived();
  });

  test("another client's addresses, sessions and queues are nobody else's", async (t) => {
    const attack = await Attack.start(t);
    const victim = await HostileDevice.connect(attack.broker.socket);
    const hostile = await HostileDevice.connect(attack.broker.socket);
    const algorithm = ALGORITHM['deflate-raw'];
    const text = sampleText(40_000);
    const packed = deflateRawSync(text);
    const own = await victim.memory(1 << 17, true, 2 ** 41);
    own.mapping.bytes.set(packed);
    const mine = await hostile.memory(1 << 16, true, 2 ** 42);
    const victims = await victim.queue(0, 16);
    const session = (await victims.execute({ opcode: OPCODE.sessionOpen, algorithm })).result;
    const feed = async (from: number, to: number, at: number): Promise<number> => {
      const done = await victims.execute({
        opcode: OPCODE.decompress,
        algorithm,
        session,
        source: own.iova + from,
        sourceLength: to - from,
        destination: own.iova + 65536 + at,
        capacity: 65536 - at,
      });
      assert.equal(done.status, STATUS.ok);
      assert.equal(done.consumed, to - from);
      return done.produced;
    };
    const half = packed.length >> 1;
    const produced = await feed(0, half, 0);

    const queue = await hostile.queue(1, 16);
    const good = { source: mine.iova, sourceLength: 100, destination: mine.iova + 4096, capacity: 4096 };
    const compress = { ...good, opcode: OPCODE.compress, algorithm, level: 1 };
    const theirs = own.iova + 65536;
    assert.equal((await queue.execute({ ...compress, source: own.iova })).status, STATUS.badAddress);
    assert.equal((await queue.execute({ ...compress, destination: theirs })).status, STATUS.badAddress);
    for (const [opcode, number] of [
      [OPCODE.decompress, session],
      [OPCODE.sessionClose, session],
      [OPCODE.decompress, session + 1],
      [OPCODE.sessionClose, session ^ 4096],
    ] as const) {
      const done = await queue.execute({ ...good, opcode, algorithm, session: number });
      assert.equal(done.status, STATUS.badSession);
    }
    for (let number = 0; number < 4096; number++) {
      queue.put({ opcode: OPCODE.sessionClose, session: (session & ~4095) | number });
      if (queue.tail % queue.depth !== 0) continue;
      queue.ring();
      while (queue.head !== queue.tail) assert.equal((await queue.next()).status, STATUS.badSession);
    }
    // The victim's queue, in the hostile client's own function: its doorbell page, and its set-up.
    const page = hostile.doorbells.words.subarray(0, DOORBELL.pageBytes >> 2);
    for (const word of [victims.tail + victims.token, victims.tail + victims.token + 1, victims.token]) {
      Atomics.store(page, DOORBELL.tailWord, word | 0);
      hostile.wake();
    }
    const sameNumber = await hostile.queue(0, 16);
    await sameNumber.disable();
    await hostile.transport.reset();
    await hostile.transport.dmaUnmap(mine.iova, 1 << 16);

    const rest = await feed(half, packed.length, produced);
    assert.equal(produced + rest, text.length);
    assert.ok(Buffer.from(own.mapping.bytes.subarray(65536, 65536 + text.length)).equals(text));
    assert.deepEqual(await victims.counters(), { wrongRings: 0, completed: 3, isolated: false });
    await hostile.close();
    await victim.close();
    await attack.survived();
  });

  test('half a header, or half a message, and then silence', async (t) => {
    const attack = await Attack.start(t, { handshakeSeconds: 2 });
    const info = message(COMMAND.getInfo, words(16, 0, 0, 0));
    const early = [0, 1, 8, 15].map((length) => {
      const fd = attack.broker.open();
      if (length > 0) sendBytes(fd, info.subarray(0, length), []);
      return fd;
    });
    const late: HostileClient[] = [];
    for (const length of [1, 15, 16, 20]) {
      const client = new HostileClient(attack.broker.open(), { receive: () => {} });
      await client.negotiate();
      const irq = createEventfd();
      await client.send(info.subarray(0, length), [irq]);
      closeFd(irq);
      late.push(client);
    }
    await attack.honestGoesOn(20);
    for (const fd of early) {
      await until(() => {
        try {
          return receiveBytes(fd, new Uint8Array(64), []) === 0;
        } catch {
          return true;
        }
      }, 'who agrees on nothing is hung up on');
    }
    closeFds(early);
    for (const client of late) client.close();
    await attack.survived();
  });

  test('hundreds of connections that are held open', async (t) => {
    const attack = await Attack.start(t, { maxClients: 320, handshakeSeconds: 60 });
    const room = Math.min(300, attack.room);
    const held: HostileClient[] = [];
    for (let made = 0; made < 300; made++) {
      const client = new HostileClient(attack.broker.open(), { receive: () => {} });
      held.push(client);
      if (made < room) await client.negotiate();
      if (made % 50 === 0) await attack.honestGoesOn(1);
    }
    await attack.honestGoesOn(20);
    console.log(`${room} of ${held.length} connections have a device`);
    for (const client of held.slice(0, room)) assert.ok(await client.answers());
    for (const client of held) client.close();
    await attack.survived();
  });

  test('a client that takes no completions, with all of its queues full', async (t) => {
    const attack = await Attack.start(t);
    const hostile = await HostileDevice.connect(attack.broker.socket);
    const queues = [];
    for (let id = 0; id < LIMITS.maxQueues; id++) queues.push(await hostile.queue(id, 16));
    for (let lap = 0; lap < 2; lap++) {
      for (const queue of queues) {
        for (let slot = 0; slot < queue.depth; slot++) queue.put({ opcode: OPCODE.noop });
        queue.ring();
      }
      for (const queue of queues) {
        await until(async () => (await queue.counters()).completed === queue.depth, 'a full ring');
      }
      await attack.honestGoesOn(20);
    }
    for (const queue of queues.slice(0, 4)) assert.equal((await queue.counters()).completed, queue.depth);
    await hostile.close();
    await attack.survived();
  });

  test('interrupt descriptors that are full, and would make whoever writes to them wait', async (t) => {
    const attack = await Attack.start(t);
    const hostile = await HostileDevice.connect(attack.broker.socket);
    const eventfd = createEventfd();
    fillUp(eventfd, new Uint8Array(new BigUint64Array([0xfffffffffffffffen]).buffer));
    const [pipeEnd, pipe] = createPipe();
    fillUp(pipe, new Uint8Array(4096));
    const [socketEnd, socket] = createSocketPair();
    fillUp(socket, new Uint8Array(4096));
    const fds = [eventfd, pipe, socket];
    await hostile.transport.setIrqs(IRQ.msix, 0, fds);
    for (let id = 0; id < fds.length; id++) {
      const queue = await hostile.queue(id, 16);
      for (let round = 0; round < 50; round++) {
        Atomics.store(queue.page, DOORBELL.armWord, (queue.head + 1) | 0);
        assert.equal((await queue.execute({ opcode: OPCODE.noop, requestId: round })).requestId, round);
      }
      await attack.honestGoesOn();
    }
    closeFds([...fds, pipeEnd, socketEnd]);
    await hostile.close();
    await attack.survived();
  });

  test('a client that takes the signals out of its wake descriptor harms itself alone', async (t) => {
    const attack = await Attack.start(t);
    const hostile = await HostileDevice.connect(attack.broker.socket);
    const control = new Int32Array(new SharedArrayBuffer(8));
    const workerData: DrainerData = { fd: hostile.wakeFd, control: control.buffer as SharedArrayBuffer };
    const drainer = new Worker(new URL('./support-drainer.js', import.meta.url), { workerData });
    await until(() => Atomics.load(control, 1) > 0, 'the thread drains');
    const queue = await hostile.queue(0, 16);
    for (let round = 0; round < 50; round++) {
      queue.put({ opcode: OPCODE.noop });
      // Told again and again, the device hears of it at last.
      await until(() => {
        queue.ring();
        return queue.take() !== undefined;
      }, 'a completion in spite of all');
    }
    await attack.honestGoesOn(20);
    Atomics.store(control, 0, 1);
    await new Promise((resolve) => drainer.once('exit', resolve));
    assert.equal((await queue.execute({ opcode: OPCODE.noop })).status, STATUS.ok);
    await hostile.close();
    await attack.survived();
  });
});
