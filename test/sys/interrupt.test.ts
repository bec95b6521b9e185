import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import {
  closeFd,
  closeFds,
  createEventfd,
  createPipe,
  drainEventfd,
  drainPipe,
  duplicateFd,
  signalEventfd,
  waitReadable,
} from '../../src/sys/fd.js';
import { Interrupt } from '../../src/sys/interrupt.js';

const isPipe = (fd: string): boolean => {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith('pipe:');
  } catch {
    return false;
  }
};
const openFds = (): number => readdirSync('/proc/self/fd').length;

describe('eventfd', () => {
  test('is signalled until it is drained, however often', () => {
    const fd = createEventfd();
    assert.equal(waitReadable(fd, 0), false);
    assert.equal(drainEventfd(fd), false);
    for (let i = 0; i < 3; i++) signalEventfd(fd);
    assert.equal(waitReadable(fd, 0), true);
    assert.equal(drainEventfd(fd), true);
    assert.equal(drainEventfd(fd), false);
    assert.equal(waitReadable(fd, 1), false);
    closeFd(fd);
  });

  test('a copy is the same eventfd', () => {
    const fd = createEventfd();
    const copy = duplicateFd(fd);
    signalEventfd(copy);
    closeFd(copy);
    assert.equal(drainEventfd(fd), true);
    closeFd(fd);
    assert.throws(() => duplicateFd(99999), { syscall: 'fcntl' });
    assert.throws(() => signalEventfd(99999), { syscall: 'write' });
  });

  test('a full pipe counts as signalled', () => {
    const [read, write] = createPipe();
    for (let i = 0; i < 20_000; i++) signalEventfd(write);
    assert.equal(waitReadable(read, 0), true);
    drainPipe(read);
    assert.equal(waitReadable(read, 0), false);
    closeFds([read, write]);
  });

  test('closeFds closes and forgets', () => {
    const before = openFds();
    const fds = [createEventfd(), createEventfd(), ...createPipe()];
    closeFds(fds);
    assert.equal(fds.length, 0);
    assert.equal(openFds(), before);
  });
});

describe('Interrupt', () => {
  test('waits on this thread, and several signals are one', () => {
    const interrupt = new Interrupt();
    assert.equal(interrupt.waitSync(0), false);
    signalEventfd(interrupt.deviceFd);
    signalEventfd(interrupt.deviceFd);
    assert.equal(interrupt.waitSync(10_000), true);
    assert.equal(interrupt.waitSync(0), false);
    interrupt.close();
    interrupt.close();
  });

  test('calls back on the event loop for later signals, too, until it is closed', async () => {
    const before = openFds();
    const interrupt = new Interrupt();
    let calls = 0;
    let wake: () => void = () => {};
    interrupt.listen(() => {
      calls++;
      wake();
    });
    interrupt.ref();
    for (let i = 1; i <= 5; i++) {
      const called = new Promise<void>((resolve) => {
        wake = resolve;
      });
      signalEventfd(interrupt.deviceFd);
      await called;
      assert.equal(calls, i);
    }
    interrupt.unref();
    const sender = duplicateFd(interrupt.deviceFd);
    interrupt.close();
    interrupt.close();
    await new Promise((resolve) => setImmediate(resolve));
    assert.throws(() => signalEventfd(sender), { syscall: 'write' });
    closeFd(sender);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(calls, 5);
    assert.ok(openFds() <= before + 2, 'only what the event loop keeps for itself');
  });

  test('has ended as soon as its descriptor is closed, for whoever waits synchronously', async () => {
    const before = new Set(readdirSync('/proc/self/fd').filter(isPipe));
    const interrupt = new Interrupt();
    let told = false;
    interrupt.listen(
      () => {},
      () => {
        told = true;
      },
    );
    interrupt.ref();
    interrupt.handOver();
    const readFd = readdirSync('/proc/self/fd').find((fd) => !before.has(fd) && isPipe(fd))!;
    assert.ok(readFd);
    while (isPipe(readFd)) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(told, false, 'the event loop has not said so yet');
    assert.equal(interrupt.ended, true);
    interrupt.close();
  });

  test('one that never listened leaves no descriptor', () => {
    const before = openFds();
    for (let i = 0; i < 10; i++) new Interrupt().close();
    assert.equal(openFds(), before);
  });
});

describe('Interrupt over an eventfd', () => {
  test('waits on this thread, before and after it listens', () => {
    const interrupt = new Interrupt('eventfd');
    assert.equal(interrupt.waitSync(0), false);
    signalEventfd(interrupt.deviceFd);
    assert.equal(interrupt.waitSync(10_000), true);
    interrupt.listen(() => {});
    signalEventfd(interrupt.deviceFd);
    assert.equal(interrupt.waitSync(10_000), true);
    assert.equal(interrupt.waitSync(0), false);
    assert.equal(interrupt.ended, false);
    interrupt.close();
    interrupt.close();
  });

  test('calls back on the event loop, and leaves nothing behind', async () => {
    new Interrupt('eventfd').close();
    const before = openFds();
    for (let round = 0; round < 3; round++) {
      const interrupt = new Interrupt('eventfd');
      interrupt.handOver();
      let wake: () => void = () => {};
      let ends = 0;
      interrupt.listen(
        () => wake(),
        () => ends++,
      );
      interrupt.ref();
      for (let i = 0; i < 5; i++) {
        const called = new Promise<void>((resolve) => {
          wake = resolve;
        });
        signalEventfd(interrupt.deviceFd);
        signalEventfd(interrupt.deviceFd);
        await called;
      }
      interrupt.close();
      await new Promise((resolve) => setImmediate(resolve));
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(ends, 0);
    }
    assert.ok(openFds() <= before + 2, 'only what the event loop keeps for itself');
  });

  test('a thread that is signalled all the time can be terminated at any moment', async () => {
    for (let round = 0; round < 10; round++) {
      const worker = new Worker(new URL('./support-signalled.js', import.meta.url));
      const [fd] = (await once(worker, 'message')) as [number];
      const storm = setInterval(() => signalEventfd(fd), 0);
      for (let i = 0; i < round * 20; i++) signalEventfd(fd);
      await worker.terminate();
      clearInterval(storm);
      closeFd(fd);
    }
  });
});
