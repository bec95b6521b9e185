import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readSync } from 'node:fs';
import { describe, test } from 'node:test';
import { closeFds, createEventfd, createPipe } from '../../src/sys/fd.js';
import { bind } from '../../src/sys/libc.js';
import { createMemfd } from '../../src/sys/memfd.js';
import { SIGNAL_KIND, Signaller, signalKind } from '../../src/sys/signal.js';
import { createSocketPair } from '../../src/sys/socket.js';

const fcntl = bind<(fd: number, command: number, argument: number) => number>(
  'int fcntl(int fd, int cmd, int arg)',
);
const F_SETFL = 4;
/** Without O_NONBLOCK: a write to a full one blocks. */
const BLOCKING = 0;

function withSignaller(body: (signaller: Signaller) => void): void {
  const source = createMemfd('signal-test', 4096);
  const signaller = new Signaller(source);
  try {
    body(signaller);
  } finally {
    signaller.close();
    closeFds([source]);
  }
}

describe('signalling descriptors of others', () => {
  test('an eventfd counts each signal', () =>
    withSignaller((signaller) => {
      const fd = createEventfd();
      assert.equal(signalKind(fd), SIGNAL_KIND.eventfd);
      for (let i = 0; i < 3; i++) assert.ok(signaller.signal(fd, SIGNAL_KIND.eventfd));
      const count = Buffer.alloc(8);
      readSync(fd, count);
      assert.equal(count.readBigUInt64LE(), 3n);
      for (let i = 0; i < 10_000; i++) assert.ok(signaller.signal(fd, SIGNAL_KIND.eventfd));
      readSync(fd, count);
      assert.equal(count.readBigUInt64LE(), 10_000n);
      closeFds([fd]);
    }));

  test('a pipe and a socket get eight bytes each time', () =>
    withSignaller((signaller) => {
      for (const [kind, [read, write]] of [
        [SIGNAL_KIND.pipe, createPipe()],
        [SIGNAL_KIND.socket, createSocketPair()],
      ] as const) {
        assert.equal(signalKind(write), kind);
        assert.ok(signaller.signal(write, kind));
        assert.ok(signaller.signal(write, kind));
        assert.equal(readSync(read, Buffer.alloc(64)), 16);
        closeFds([read, write]);
      }
    }));

  test('what is full and would block does not', () =>
    withSignaller((signaller) => {
      const [read, write] = createPipe();
      const [near, far] = createSocketPair();
      const eventfd = createEventfd();
      const writeWord = bind<(fd: number, word: BigUint64Array, n: number) => number>(
        'int64_t write(int fd, void *buf, uint64_t count)',
      );
      writeWord(eventfd, new BigUint64Array([0xfffffffffffffffen]), 8);
      for (const fd of [write, near, eventfd]) fcntl(fd, F_SETFL, BLOCKING);
      for (let i = 0; i < 100_000; i++) {
        if (!signaller.signal(write, SIGNAL_KIND.pipe)) assert.fail('a full pipe is as good as signalled');
        if (!signaller.signal(near, SIGNAL_KIND.socket)) assert.fail('a full socket is as good as signalled');
      }
      assert.ok(signaller.signal(eventfd, SIGNAL_KIND.eventfd));
      closeFds([read, write, near, far, eventfd]);
    }));

  test('an owner that fills it again and again catches nobody', async () => {
    const [read, write] = createPipe();
    fcntl(write, F_SETFL, BLOCKING);
    // The owner: fills the pipe for as long as there is room, without ever reading it.
    const owner = spawn('cat', ['/dev/zero'], { stdio: ['ignore', write, 'ignore'] });
    await once(owner, 'spawn');
    withSignaller((signaller) => {
      for (let i = 0; i < 20_000; i++) assert.ok(signaller.signal(write, SIGNAL_KIND.pipe));
    });
    owner.kill('SIGKILL');
    await once(owner, 'exit');
    closeFds([read, write]);
  });

  test('what leads nowhere says so', () =>
    withSignaller((signaller) => {
      const [read, write] = createPipe();
      assert.equal(signalKind(read), SIGNAL_KIND.none, 'the read end of a pipe');
      closeFds([read]);
      assert.equal(signaller.signal(write, SIGNAL_KIND.pipe), false);
      closeFds([write]);
      const [near, far] = createSocketPair();
      closeFds([far]);
      assert.equal(signaller.signal(near, SIGNAL_KIND.socket), false);
      closeFds([near]);
      assert.equal(signaller.signal(write, SIGNAL_KIND.eventfd), false, 'closed');
      for (const path of ['/dev/null', '/proc/self/status', '/']) {
        const fd = openSync(path, 'r');
        assert.equal(signalKind(fd), SIGNAL_KIND.none, path);
        closeSync(fd);
      }
    }));
});
