import assert from 'node:assert/strict';
import { closeSync, constants, ftruncateSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, SQE, STATUS } from '../../src/abi/queue.js';
import { COMMAND } from '../../src/abi/vfio-user.js';
import { SystemError } from '../../src/errors.js';
import { closeFd, closeFds, createEventfd, createPipe } from '../../src/sys/fd.js';
import { bind, ERRNO } from '../../src/sys/libc.js';
import { addSeals, createMemfd, SEAL } from '../../src/sys/memfd.js';
import { addressOf } from '../../src/sys/memory.js';
import { createSocketPair } from '../../src/sys/socket.js';
import { recordedSeed, sampleText } from '../device/support-device.js';
import type { FlipperData } from '../device/support-flipper.js';
import { HostileClient, message } from '../support/hostile-client.js';
import { Attack } from './support-attack.js';
import { HostileDevice } from './support-hostile-queue.js';

const PAGE = 4096;
const BYTES = 16 * PAGE;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;

const memfdCreate = bind<(name: string, flags: number) => number>(
  'int memfd_create(const char *name, unsigned int flags)',
);

/** A memfd that nothing keeps from shrinking. */
function unsealed(length: number): number {
  const fd = memfdCreate('hostile', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ftruncateSync(fd, length);
  return fd;
}

/** The errno of what fails. */
async function errnoOf(work: Promise<unknown>): Promise<number> {
  try {
    await work;
    return 0;
  } catch (error) {
    assert.ok(error instanceof SystemError, String(error));
    return error.errno;
  }
}

describe('memory of a hostile client', () => {
  test('descriptors that are no sealed memory, or less of it than stated, are refused', async (t) => {
    const attack = await Attack.start(t);
    const hostile = await HostileDevice.connect(attack.broker.socket);
    const file = join(attack.broker.folder, 'file');
    writeFileSync(file, Buffer.alloc(BYTES));
    const truncated = unsealed(BYTES);
    ftruncateSync(truncated, PAGE);
    addSeals(truncated, SEAL.shrink);
    const sealed = createMemfd('hostile', BYTES);
    const readOnly = openSync(`/proc/self/fd/${sealed}`, 'r');
    const writeSealed = unsealed(BYTES);
    addSeals(writeSealed, SEAL.shrink | SEAL.write);
    const [pipe, socket] = [createPipe(), createSocketPair()];
    const map = (fd: number, length = BYTES, offset = 0, writable = true): Promise<number> =>
      errnoOf(hostile.transport.dmaMap({ fd, offset, iova: BYTES, length, writable }));
    const shrinking = unsealed(BYTES);
    assert.equal(await map(shrinking), ERRNO.EINVAL, 'not sealed');
    ftruncateSync(shrinking, 0);
    assert.equal(await map(shrinking), ERRNO.EINVAL, 'truncated, and not sealed');
    assert.equal(await map(truncated), ERRNO.EINVAL, 'truncated before it was sealed');
    assert.equal(await map(sealed, 2 * BYTES), ERRNO.EINVAL, 'smaller than stated');
    assert.equal(await map(sealed, BYTES, PAGE), ERRNO.EINVAL, 'smaller than stated, from an offset');
    assert.equal(await map(sealed, PAGE, 1), ERRNO.EINVAL, 'an offset that is no page');
    assert.equal(await map(readOnly), ERRNO.EACCES, 'not to be written to');
    assert.equal(await map(writeSealed), ERRNO.EPERM, 'sealed against writing');
    const others = [
      openSync('/dev/null', 'r+'),
      openSync('/dev/zero', 'r+'),
      openSync(attack.broker.folder, 'r'),
      openSync(file, 'r'),
      openSync(file, 'r+'),
      openSync('/proc/self/maps', 'r'),
      openSync(file, constants.O_RDONLY | 0o10000000),
    ];
    for (const fd of [...pipe, ...socket, ...others, hostile.wakeFd, createEventfd()]) {
      for (const writable of [true, false]) assert.equal(await map(fd, BYTES, 0, writable), ERRNO.EINVAL);
    }
    assert.equal(await map(readOnly, BYTES, 0, false), 0, 'it may be mapped to be read');
    for (const [fd, length] of [
      [sealed, 0],
      [sealed, BYTES - 1],
    ] as const) {
      assert.throws(() => ftruncateSync(fd, length), { code: 'EPERM' }, 'sealed memory cannot shrink');
    }
    closeFds([...pipe, ...socket, sealed]);
    for (const fd of [...others, truncated, readOnly, writeSealed, shrinking]) closeSync(fd);
    await hostile.close();
    await attack.survived();
  });

  test('maps at the edges of 64 bits, and over each other, are refused and change nothing', async (t) => {
    const attack = await Attack.start(t);
    const client = new HostileClient(attack.broker.open(), { receive: () => {} });
    await client.negotiate();
    const fd = createMemfd('hostile', BYTES);
    const ask = async (command: number, values: readonly bigint[], flags: number): Promise<number> => {
      const body = Buffer.alloc(8 + values.length * 8);
      body.writeUInt32LE(body.length, 0);
      body.writeUInt32LE(flags, 4);
      values.forEach((value, index) => {
        body.writeBigUInt64LE(BigInt.asUintN(64, value), 8 + index * 8);
      });
      await client.send(message(command, body), command === COMMAND.dmaMap && flags < 4 ? [fd] : []);
      return (await client.receive())!.error;
    };
    const map = (offset: bigint, iova: bigint, length: bigint): Promise<number> =>
      ask(COMMAND.dmaMap, [offset, iova, length], 3);
    const page = BigInt(PAGE);
    const edges = [0n, 1n, page, 2n ** 31n, 2n ** 32n, 2n ** 47n, 2n ** 53n, 2n ** 63n, 2n ** 64n].flatMap(
      (edge) => [edge - page, edge - 1n, edge, edge + 1n, edge + page],
    );
    const base = 1n << 30n;
    assert.equal(await map(0n, base, 4n * page), 0);
    const whole = 4n * page;
    for (const edge of edges) {
      const value = BigInt.asUintN(64, edge);
      const isPage = value % page === 0n;
      const at = `${edge}`;
      // An address: nothing is mapped but whole pages below 2^47.
      const mayBe = isPage && value + page <= 2n ** 47n;
      assert.equal((await map(0n, edge, page)) === 0, mayBe, at);
      assert.equal((await ask(COMMAND.dmaUnmap, [edge, page], 0)) === 0, mayBe, at);
      // A length, an offset, both: nothing but what lies in the memory.
      const isInside = isPage && value > 0n && value <= BigInt(BYTES);
      if (!isInside) assert.notEqual(await map(0n, 2n * base, edge), 0, at);
      if (!isInside || value === BigInt(BYTES)) {
        if (value !== 0n) assert.notEqual(await map(edge, 2n * base, page), 0, at);
        if (value !== 0n) assert.notEqual(await map(edge, 2n * base, -edge), 0, at);
      }
      // A region is unmapped as a whole.
      if (value !== whole) assert.notEqual(await ask(COMMAND.dmaUnmap, [base, edge], 0), 0, at);
      if (value !== 0n) assert.notEqual(await ask(COMMAND.dmaUnmap, [base + edge, whole], 0), 0, at);
      assert.notEqual(await map(0n, base + page, edge + page), 0, at);
    }
    for (const [at, length] of [
      [base, 4n * page],
      [base - page, 2n * page],
      [base - page, 6n * page],
      [base + 3n * page, page],
      [base + page, page],
    ] as const) {
      assert.equal(await map(0n, at, length), ERRNO.EEXIST);
    }
    assert.ok(await client.answers());
    client.close();
    closeFd(fd);
    await attack.survived();
  });

  test('memory that is unmapped with requests in flight: each is done or refused', async (t) => {
    const attack = await Attack.start(t);
    const hostile = await HostileDevice.connect(attack.broker.socket);
    const queue = await hostile.queue(0, 64);
    const text = sampleText(1 << 16);
    for (let round = 0; round < 12; round++) {
      const iova = 2 ** 40 + round * 2 ** 24;
      const { mapping } = await hostile.memory(1 << 18, true, iova);
      mapping.bytes.set(text);
      for (let requestId = 0; requestId < 64; requestId++) {
        queue.put({
          opcode: OPCODE.compress,
          algorithm: ALGORITHM.deflate,
          level: 1 + (requestId % 6),
          source: iova,
          sourceLength: text.length,
          destination: iova + (1 << 17),
          capacity: 1 << 17,
          requestId,
        });
      }
      queue.ring();
      await hostile.transport.dmaUnmap(iova, 1 << 18);
      for (let taken = 0; taken < 64; taken++) {
        const { status } = await queue.next();
        // Two engines write to one destination: what they compressed is then not what they read again.
        assert.ok(
          [STATUS.ok, STATUS.badAddress].some((each) => each === status),
          `status ${status}`,
        );
      }
      mapping.unmap();
    }
    assert.equal(await errnoOf(hostile.transport.dmaUnmap(0x10000000, 8192)), ERRNO.EBUSY, 'rings stay');
    await hostile.close();
    await attack.survived();
  });

  for (const [what, offsets] of [
    ['submissions and lengths', [1, 3, 4, 5, 6, 7, 8, 9, 10]],
    ['sequences', [0]],
    ['sources', []],
  ] as const) {
    test(`${what} that change while the device reads them`, async (t) => {
      const seed = recordedSeed();
      const attack = await Attack.start(t);
      const hostile = await HostileDevice.connect(attack.broker.socket);
      const queue = await hostile.queue(0, 16);
      const memory = await hostile.memory(1 << 17);
      const text = sampleText(1 << 15, seed);
      memory.mapping.bytes.set(text);
      const known = new Set<number>(Object.values(STATUS));
      const control = new SharedArrayBuffer(8);
      const isSource = offsets.length === 0;
      const workerData: FlipperData = {
        control,
        address: isSource ? memory.mapping.address : addressOf(queue.sq),
        length: isSource ? text.length : queue.depth * SQE.bytes,
        recordWords: 16,
        offsets: isSource ? Array.from({ length: 16 }, (_, word) => word) : [...offsets],
        values: [0, 1, -1, 0x10101, 0x20101, 4096, 1 << 17, 0x7fffffff, memory.iova, memory.iova + 65536],
      };
      const flipper = new Worker(new URL('../device/support-flipper.js', import.meta.url), { workerData });
      const flips = (): number => Atomics.load(new Int32Array(control), 1);
      while (flips() === 0) await new Promise((resolve) => setImmediate(resolve));
      const statuses = new Set<number>();
      for (let round = 0; round < 200; round++) {
        for (let requestId = 0; requestId < queue.depth; requestId++) {
          queue.put({
            opcode: isSource && requestId % 2 === 0 ? OPCODE.decompress : OPCODE.compress,
            algorithm: ALGORITHM['deflate-raw'],
            level: requestId % 13,
            source: memory.iova,
            sourceLength: 2048,
            destination: memory.iova + 65536,
            capacity: 4096,
            requestId,
          });
        }
        queue.ring();
        for (let taken = 0; taken < queue.depth; taken++) {
          const { status, produced } = await queue.next();
          assert.ok(known.has(status), `status ${status}, seed ${seed}`);
          assert.ok(produced <= 1 << 17);
          statuses.add(status);
        }
      }
      Atomics.store(new Int32Array(control), 0, 1);
      await new Promise((resolve) => flipper.once('exit', resolve));
      console.log(`${flips()} changes, ${statuses.size} kinds of answers`);
      await hostile.close();
      await attack.survived();
    });
  }
});
