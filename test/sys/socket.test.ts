import assert from 'node:assert/strict';
import { fstatSync, readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { closeFd, closeFds, createEventfd, drainEventfd, signalEventfd } from '../../src/sys/fd.js';
import { bind } from '../../src/sys/libc.js';
import { addressOf } from '../../src/sys/memory.js';
import { createSocketPair, MAX_FDS, receiveBytes, sendBytes } from '../../src/sys/socket.js';

const openFds = (): number => readdirSync('/proc/self/fd').length;
const fcntl = bind<(fd: number, command: number, argument: number) => number>(
  'int fcntl(int fd, int cmd, int arg)',
);
const sendmsg = bind<(fd: number, message: Uint8Array, flags: number) => number>(
  'int64_t sendmsg(int fd, void *msg, int flags)',
);
const F_GETFD = 1;

/** Sends one byte with any number of descriptors, as a peer that keeps to no limit does. */
function sendMany(fd: number, fds: number[]): number {
  const control = Buffer.alloc(16 + ((fds.length * 4 + 7) & ~7));
  control.writeBigUInt64LE(BigInt(16 + fds.length * 4), 0);
  control.writeInt32LE(1, 8);
  control.writeInt32LE(1, 12);
  fds.forEach((value, index) => {
    control.writeInt32LE(value, 16 + index * 4);
  });
  const data = Buffer.from('x');
  const iovec = Buffer.alloc(16);
  iovec.writeBigUInt64LE(BigInt(addressOf(data)), 0);
  iovec.writeBigUInt64LE(1n, 8);
  const message = Buffer.alloc(56);
  message.writeBigUInt64LE(BigInt(addressOf(iovec)), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(BigInt(addressOf(control)), 32);
  message.writeBigUInt64LE(BigInt(control.length), 40);
  return sendmsg(fd, message, 0);
}

describe('sockets', () => {
  test('bytes arrive as sent; nothing waiting is -1, and the end is 0', () => {
    const [a, b] = createSocketPair();
    const into = Buffer.alloc(64);
    assert.equal(receiveBytes(b, into, []), -1);
    assert.equal(sendBytes(a, Buffer.from('hello'), []), 5);
    assert.equal(receiveBytes(b, into.subarray(0, 2), []), 2);
    assert.equal(receiveBytes(b, into.subarray(2), []), 3);
    assert.equal(into.subarray(0, 5).toString(), 'hello');
    closeFd(a);
    assert.equal(receiveBytes(b, into, []), 0);
    assert.throws(() => sendBytes(b, Buffer.from('x'), []), {
      code: 'ERR_WARPDRIVE_SYSTEM',
      syscall: 'sendmsg',
    });
    closeFd(b);
  });

  test('a full socket is -1, and a large message goes in pieces', () => {
    const [a, b] = createSocketPair();
    const large = Buffer.alloc(4 << 20, 7);
    let sent = 0;
    let received = 0;
    let full = 0;
    const into = Buffer.alloc(65536);
    while (received < large.length) {
      while (sent < large.length) {
        const count = sendBytes(a, large.subarray(sent), []);
        if (count < 0) break;
        sent += count;
      }
      if (sent < large.length) full++;
      const count = receiveBytes(b, into, []);
      if (count > 0) received += count;
    }
    assert.equal(received, large.length);
    assert.ok(full > 0);
    closeFds([a, b]);
  });

  for (const count of [1, 2, MAX_FDS - 1, MAX_FDS]) {
    test(`${count} descriptors arrive as the same files, closed on exec`, () => {
      const before = openFds();
      const [a, b] = createSocketPair();
      const sent = Array.from({ length: count }, () => createEventfd());
      assert.equal(sendBytes(a, Buffer.from('fd'), sent), 2);
      const got: number[] = [];
      assert.equal(receiveBytes(b, Buffer.alloc(16), got), 2);
      assert.equal(got.length, count);
      got.forEach((fd, index) => {
        assert.notEqual(fd, sent[index]);
        assert.equal(fcntl(fd, F_GETFD, 0), 1, 'closed on exec');
        signalEventfd(fd);
        assert.equal(drainEventfd(sent[index]!), true, 'the same eventfd');
      });
      closeFds([a, b, ...sent]);
      for (const fd of got) fstatSync(fd);
      closeFds(got);
      assert.equal(openFds(), before);
    });
  }

  test('descriptors come with the first bytes, and are not repeated', () => {
    const [a, b] = createSocketPair();
    const eventfd = createEventfd();
    sendBytes(a, Buffer.from('abcd'), [eventfd]);
    const got: number[] = [];
    receiveBytes(b, Buffer.alloc(1), got);
    assert.equal(got.length, 1);
    receiveBytes(b, Buffer.alloc(3), got);
    assert.equal(got.length, 1);
    closeFds([a, b, eventfd, ...got]);
  });

  test('sending more than allowed is refused', () => {
    const [a, b] = createSocketPair();
    const fds = new Array(MAX_FDS + 1).fill(a);
    assert.throws(() => sendBytes(a, Buffer.from('x'), fds));
    assert.equal(receiveBytes(b, Buffer.alloc(1), []), -1, 'nothing was sent');
    closeFds([a, b]);
  });

  for (const count of [MAX_FDS + 1, 100, 253]) {
    test(`receiving ${count} is refused, and none stays open`, () => {
      const [a, b] = createSocketPair();
      const eventfd = createEventfd();
      const before = openFds();
      assert.equal(sendMany(a, new Array(count).fill(eventfd)), 1);
      const got: number[] = [];
      assert.throws(() => receiveBytes(b, Buffer.alloc(1), got), { code: 'ERR_WARPDRIVE_PROTOCOL' });
      assert.equal(got.length, 0);
      assert.equal(openFds(), before);
      closeFds([a, b, eventfd]);
    });
  }
});
