import assert from 'node:assert/strict';
import { closeSync, constants, openSync } from 'node:fs';
import { describe, test } from 'node:test';
import { OPCODE, SQE } from '../../src/abi/queue.js';
import { IRQ, REGION } from '../../src/abi/registers.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import type { SystemError } from '../../src/errors.js';
import { QueuePair } from '../../src/queue/queue-pair.js';
import {
  closeFds,
  createEventfd,
  createPipe,
  drainEventfd,
  drainPipe,
  signalEventfd,
} from '../../src/sys/fd.js';
import { bind, ERRNO } from '../../src/sys/libc.js';
import { createMemfd } from '../../src/sys/memfd.js';
import { createSocketPair } from '../../src/sys/socket.js';
import { execute, put, type TestDevice, until, withDevice } from './support-device.js';
import { rings, setUp } from './support-setup.js';

const fcntl = bind<(fd: number, command: number, argument: number) => number>(
  'int fcntl(int fd, int cmd, int arg)',
);
const F_SETFL = 4;

/** An armed queue whose interrupt is the given descriptor completes one request; `other` must go on being served. */
async function interruptInto(
  device: TestDevice,
  irq: number,
  whileArmed: () => void = () => {},
): Promise<void> {
  const other = await device.queue(8);
  const memory = await device.memory(4096);
  try {
    await device.transport.setIrqs(IRQ.msix, 40, [irq]);
  } catch (error) {
    // To be refused at the door is as good.
    assert.equal((error as SystemError).errno, ERRNO.EINVAL);
    assert.equal((await execute(other, { requestId: 9 })).requestId, 9);
    return;
  }
  const set = await setUp(device.transport, {
    queue: 40,
    depth: 8,
    vector: 40,
    ...rings(memory.iova, memory.iova + 8 * SQE.bytes),
  });
  assert.equal(set.outcome, 0);
  const words = memory.mapping.words;
  const pair = new QueuePair({
    depth: 8,
    startIndex: 0,
    token: set.token | 0,
    sq: words.subarray(0, 128),
    cq: words.subarray(128, 192),
    doorbell: device.page(40),
    status: device.status.words,
    wakeFd: (await device.transport.wakeFds(REGION.doorbells)).map(({ fd }) => fd)[0]!,
  });
  whileArmed();
  for (let i = 0; i < 4; i++) {
    assert.ok(pair.arm(1));
    put(pair, { opcode: OPCODE.noop, requestId: i });
    pair.publish();
    await until(() => pair.peek() >= 0 || pair.failed, 'a completion', 10_000);
    assert.equal(pair.failed, false, 'the device has not failed');
    pair.advance();
    assert.equal((await execute(other, { requestId: i })).requestId, i);
  }
}

describe('interrupts', () => {
  test('an armed owner is signalled, once it has its completions, and not before', () =>
    withDevice({}, async (device) => {
      const queue: WvaQueue = await device.queue(16);
      for (let i = 0; i < 5; i++) await execute(queue, {});
      assert.equal(queue.interrupt.waitSync(0), false, 'who has not armed is not signalled');
      assert.equal(queue.arm(3), true);
      for (let i = 0; i < 2; i++) put(queue.pair, {});
      queue.publish();
      await until(async () => (await device.driver.counters(queue.id)).completed === 7, 'two completions');
      assert.equal(queue.interrupt.waitSync(0), false, 'two of three');
      put(queue.pair, {});
      queue.publish();
      assert.equal(queue.interrupt.waitSync(30_000), true);
      assert.equal(queue.interrupt.waitSync(0), false, 'once');
      assert.equal(queue.arm(3), false, 'they are there already');
    }));

  test('vectors out of range, in use, or without a descriptor are refused', () =>
    withDevice({}, async (device) => {
      const { transport } = device;
      const queue = await device.queue(8);
      const irqs = [createEventfd(), createEventfd()];
      await assert.rejects(transport.setIrqs(IRQ.msix, queue.id, [irqs[0]!]), { errno: ERRNO.EBUSY });
      await assert.rejects(transport.setIrqs(IRQ.msix, 63, irqs), { errno: ERRNO.EINVAL });
      await assert.rejects(transport.setIrqs(IRQ.msix, 0xffffffff, [irqs[0]!]), { errno: ERRNO.EINVAL });
      await assert.rejects(transport.setIrqs(IRQ.error, 0, irqs), { errno: ERRNO.EINVAL });
      for (const index of [0, 1, 4, 5, 0xffffffff]) {
        await assert.rejects(transport.setIrqs(index, 0, [irqs[0]!]), { errno: ERRNO.EINVAL });
      }
      await transport.setIrqs(IRQ.msix, 62, irqs);
      closeFds(irqs);
    }));

  const hostile: [string, () => { irq: number; also?: number[] }][] = [
    ['an eventfd that is full', () => fullEventfd()],
    ['a pipe whose other end is closed', () => brokenPipe()],
    [
      'the read end of a pipe',
      () => {
        const [read, write] = createPipe();
        return { irq: read, also: [write] };
      },
    ],
    ['a file opened for reading', () => ({ irq: openSync('/proc/self/status', constants.O_RDONLY) })],
    ['/dev/full', () => ({ irq: openSync('/dev/full', constants.O_WRONLY) })],
    ['/dev/null', () => ({ irq: openSync('/dev/null', constants.O_WRONLY) })],
    ['a memfd', () => ({ irq: createMemfd('irq', 4096) })],
    [
      'a socket whose other end is closed',
      () => {
        const [mine, theirs] = createSocketPair();
        closeFds([theirs]);
        return { irq: mine };
      },
    ],
    ['a directory', () => ({ irq: openSync('/', constants.O_RDONLY) })],
  ];
  for (const [name, make] of hostile) {
    test(`an interrupt into ${name} harms nobody`, () =>
      withDevice({}, async (device) => {
        const { irq, also = [] } = make();
        try {
          await interruptInto(device, irq);
        } finally {
          // A thread that was caught in a write gets out of it.
          drainEventfd(irq);
          closeFds([irq, ...also]);
        }
      }));
  }

  test('an interrupt into a full pipe that blocks holds up nobody', () =>
    withDevice({}, async (device) => {
      const [read, write] = createPipe();
      while (true) {
        // Until it is full: a non-blocking write of eight bytes fails, and signalEventfd takes that as signalled.
        const before = fullness(read);
        signalEventfd(write);
        if (fullness(read) === before) break;
      }
      try {
        await interruptInto(device, write, () => {
          fcntl(write, F_SETFL, 0);
        });
      } finally {
        drainPipe(read);
        closeFds([read, write]);
      }
    }));

  test('an owner whose interrupt has gone, say because it died, does not take the device with it', () =>
    withDevice({}, async (device) => {
      const queue = await device.queue(8);
      const other = await device.queue(8);
      queue.interrupt.close();
      queue.arm(1);
      put(queue.pair, {});
      queue.publish();
      await until(() => queue.ready || queue.failed, 'a completion', 10_000);
      assert.equal((await execute(other, { requestId: 1 })).requestId, 1);
    }));
});

const ioctl = bind<(fd: number, request: number, argument: Int32Array) => number>(
  'int ioctl(int fd, uint64_t request, void *arg)',
);
const FIONREAD = 0x541b;

/** Bytes that wait in a pipe. */
function fullness(fd: number): number {
  const bytes = new Int32Array(1);
  ioctl(fd, FIONREAD, bytes);
  return bytes[0]!;
}

function brokenPipe(): { irq: number } {
  const [read, write] = createPipe();
  closeSync(read);
  return { irq: write };
}

const writeWord = bind<(fd: number, word: BigUint64Array, n: number) => number>(
  'int64_t write(int fd, void *buf, uint64_t count)',
);

function fullEventfd(): { irq: number } {
  const irq = createEventfd();
  writeWord(irq, new BigUint64Array([0xfffffffffffffffen]), 8);
  fcntl(irq, F_SETFL, 0);
  return { irq };
}
