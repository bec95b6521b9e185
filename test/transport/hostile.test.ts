import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { COMMAND, HEADER, MAX_MESSAGE_BYTES, MESSAGE_FLAG, MESSAGE_TYPE } from '../../src/abi/vfio-user.js';
import { closeFd, closeFds, createEventfd } from '../../src/sys/fd.js';
import { ERRNO } from '../../src/sys/libc.js';
import { createMemfd } from '../../src/sys/memfd.js';
import { MAX_FDS } from '../../src/sys/socket.js';
import { randomNumbers, recordedSeed } from '../device/support-device.js';
import { LocalDevice } from '../device/support-local-device.js';
import { type HostileClient, message, words } from '../support/hostile-client.js';

const openFds = (): number => readdirSync('/proc/self/fd').length;

/** Waits until the server has let go of its clients, and holds no more descriptors than before they came. */
async function nothingLeft(local: LocalDevice, clients: number, before: number): Promise<void> {
  for (let turn = 0; local.gone < clients && turn < 100_000; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(local.gone, clients, 'the client was let go');
  assert.equal(openFds(), before, 'no descriptor is left');
}

/** Commands with the least body that each takes. */
const BODIES: [number, number][] = [
  [COMMAND.version, 4],
  [COMMAND.dmaMap, 32],
  [COMMAND.dmaUnmap, 24],
  [COMMAND.getInfo, 0],
  [COMMAND.getRegionInfo, 32],
  [COMMAND.getRegionIoFds, 16],
  [COMMAND.getIrqInfo, 16],
  [COMMAND.setIrqs, 20],
  [COMMAND.regionRead, 16],
  [COMMAND.regionWrite, 16],
  [COMMAND.reset, 0],
];

describe('a hostile vfio-user client', () => {
  async function start(
    t: Parameters<typeof LocalDevice.start>[0],
  ): Promise<[LocalDevice, HostileClient, number]> {
    const local = await LocalDevice.start(t, 64);
    const before = openFds();
    return [local, local.hostile(), before];
  }

  test('messages in pieces of one byte, and many at once, are each answered in order', async (t) => {
    const [local, client, before] = await start(t);
    const version = message(COMMAND.version, Buffer.from([0, 0, 1, 0, ...Buffer.from('{}\0')]), { id: 1 });
    const info = message(COMMAND.getInfo, words(16, 0, 0, 0), { id: 2 });
    for (const byte of Buffer.concat([version, info])) assert.ok(await client.send(Buffer.from([byte])));
    assert.equal((await client.receive())?.id, 1);
    assert.equal((await client.receive())?.id, 2);
    const many = Array.from({ length: 500 }, (_, index) =>
      message(COMMAND.getInfo, words(16, 0, 0, 0), { id: index }),
    );
    await client.send(Buffer.concat(many));
    for (let i = 0; i < 500; i++) assert.equal((await client.receive())?.id, i);
    client.close();
    await nothingLeft(local, 1, before);
  });

  test('a command before VERSION is refused, and VERSION still works', async (t) => {
    const [local, client, before] = await start(t);
    for (const [command, bytes] of BODIES.filter(([each]) => each !== COMMAND.version)) {
      const reply = await client.ask(command, Buffer.alloc(bytes));
      assert.equal(reply!.error, ERRNO.EINVAL);
      assert.equal(reply!.flags, MESSAGE_TYPE.reply | MESSAGE_FLAG.error);
      assert.equal(reply!.size, HEADER.bytes);
    }
    assert.equal((await client.ask(COMMAND.version, Buffer.from([1, 0, 0, 0])))!.error, ERRNO.EINVAL);
    await client.negotiate();
    assert.ok(await client.answers());
    client.close();
    await nothingLeft(local, 1, before);
  });

  test('a body that is too short is refused, whatever the command', async (t) => {
    const [local, client, before] = await start(t);
    await client.negotiate();
    for (const [command, bytes] of BODIES) {
      for (let length = 0; length < bytes; length++) {
        const reply = await client.ask(command, Buffer.alloc(length));
        assert.equal(reply!.error, ERRNO.EINVAL, `command ${command}, ${length} bytes`);
      }
    }
    const short = await client.ask(COMMAND.regionWrite, words(0x100, 0, 0, 100));
    assert.equal(short!.error, ERRNO.EINVAL, 'fewer bytes than announced');
    assert.ok(await client.answers());
    client.close();
    await nothingLeft(local, 1, before);
  });

  test('unknown commands are refused', async (t) => {
    const [local, client, before] = await start(t);
    await client.negotiate();
    for (const command of [0, COMMAND.dmaRead, COMMAND.dmaWrite, 14, 15, 16, 17, 18, 255, 0x7fff, 0xffff]) {
      assert.equal((await client.ask(command, Buffer.alloc(64)))!.error, ERRNO.EOPNOTSUPP);
    }
    assert.ok(await client.answers());
    client.close();
    await nothingLeft(local, 1, before);
  });

  test('a reply that nobody asked for is dropped, and so is the answer that nobody wants', async (t) => {
    const [local, client, before] = await start(t);
    await client.negotiate();
    const irq = createEventfd();
    await client.send(message(COMMAND.getInfo, Buffer.alloc(16), { flags: MESSAGE_TYPE.reply }), [irq]);
    await client.send(
      message(COMMAND.reset, undefined, { flags: MESSAGE_TYPE.reply | MESSAGE_FLAG.error, error: 5 }),
    );
    await client.send(message(COMMAND.getInfo, Buffer.alloc(16), { flags: MESSAGE_FLAG.noReply }));
    await client.send(message(99, undefined, { flags: MESSAGE_FLAG.noReply }), [irq]);
    assert.ok(await client.answers());
    closeFd(irq);
    client.close();
    await nothingLeft(local, 1, before);
  });

  for (const size of [0, 1, 15, MAX_MESSAGE_BYTES + 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
    test(`a message of ${size} bytes ends the connection`, async (t) => {
      const [local, client, before] = await start(t);
      await client.negotiate();
      await client.send(message(COMMAND.getInfo, Buffer.alloc(0), { size }));
      assert.equal(await client.receive(), undefined);
      client.close();
      await nothingLeft(local, 1, before);
    });
  }

  test('the largest message is taken', async (t) => {
    const [local, client, before] = await start(t);
    await client.negotiate();
    const reply = await client.ask(COMMAND.getInfo, Buffer.alloc(MAX_MESSAGE_BYTES - HEADER.bytes));
    assert.equal(reply!.error, 0);
    client.close();
    await nothingLeft(local, 1, before);
  });

  test('half a header, half a body, or nothing, and then the end', async (t) => {
    const local = await LocalDevice.start(t, 64);
    const before = openFds();
    const info = message(COMMAND.getInfo, Buffer.alloc(16));
    let clients = 0;
    for (const length of [0, 1, 8, 15, 16, 20, info.length - 1]) {
      const client = local.hostile();
      clients++;
      if (length > 4) await client.negotiate();
      const irq = createEventfd();
      if (length > 0) await client.send(info.subarray(0, length), [irq, irq]);
      closeFd(irq);
      client.close();
      await nothingLeft(local, clients, before);
    }
  });

  test('descriptors on commands that take none are closed', async (t) => {
    const [local, client, before] = await start(t);
    await client.negotiate();
    const fds = Array.from({ length: MAX_FDS }, () => createEventfd());
    const held = openFds();
    for (const [command, bytes] of BODIES) {
      for (let i = 0; i < 5; i++) await client.ask(command, Buffer.alloc(bytes), fds);
    }
    await client.ask(77, undefined, fds);
    assert.ok(await client.answers());
    assert.equal(openFds(), held, 'all were closed');
    closeFds(fds);
    client.close();
    await nothingLeft(local, 1, before);
  });

  test('SET_IRQS with more or fewer descriptors than interrupts is refused, and closes them', async (t) => {
    const [local, client, before] = await start(t);
    await client.negotiate();
    const fds = Array.from({ length: MAX_FDS }, () => createEventfd());
    const held = openFds();
    for (const [flags, index, first, count, attached] of [
      [0x24, 2, 0, 1, 2],
      [0x24, 2, 0, 0xffffffff, 3],
      [0x24, 2, 0xffffffff, 1, 1],
      [0x24, 2, 60, 16, 16],
      [0x21, 2, 0, 1, 1],
      [0x21, 2, 0, 0xffffffff, 0],
      [0x22, 2, 0, 1, 1],
      [0x28, 2, 0, 1, 1],
      [0x30, 2, 0, 1, 1],
      [0, 2, 0, 1, 1],
      [0xffffffff, 2, 0, 1, 1],
      [0x24, 3, 1, 1, 1],
      [0x24, 9, 0, 1, 1],
    ] as const) {
      const reply = await client.ask(
        COMMAND.setIrqs,
        words(20, flags, index, first, count),
        fds.slice(0, attached),
      );
      assert.equal(reply!.error, ERRNO.EINVAL, `${flags} ${index} ${first} ${count} ${attached}`);
      assert.equal(openFds(), held);
    }
    closeFds(fds);
    client.close();
    await nothingLeft(local, 1, before);
  });

  test('one message never carries more descriptors than allowed, in however many pieces', async (t) => {
    const [local, client, before] = await start(t);
    await client.negotiate();
    const fds = Array.from({ length: MAX_FDS }, () => createEventfd());
    const held = openFds();
    await client.send(message(COMMAND.getInfo, Buffer.alloc(16), { size: 100_000 }), fds);
    let most = 0;
    for (let i = 0; i < 20; i++) {
      if (!(await client.send(Buffer.alloc(1), fds))) break;
      most = Math.max(most, openFds() - held);
    }
    assert.ok(most <= MAX_FDS, `the server held ${most} descriptors for one message`);
    closeFds(fds);
    client.close();
    await nothingLeft(local, 1, before);
  });

  test('a client that reads no answers is held back: what waits for it is bounded', async (t) => {
    const [local, client, before] = await start(t);
    await client.negotiate();
    // Each of 32 bytes asks for a quarter of a megabyte.
    const read = message(COMMAND.regionRead, words(0, 0, 2, 262144));
    let accepted = 0;
    let full = false;
    for (let i = 0; i < 400 && !full; i++) {
      const sent = client.trySend(read);
      if (sent !== read.length) full = true;
      else accepted++;
      await new Promise((resolve) => setImmediate(resolve));
      if (accepted * 262144 > 64 << 20) {
        // The socket takes a few thousand such requests itself: the server must have stopped reading them.
        break;
      }
    }
    const { arrayBuffers } = process.memoryUsage();
    assert.ok(
      arrayBuffers < 48 << 20,
      `${arrayBuffers >> 20} MiB of answers wait for a client that reads none`,
    );
    client.close();
    await nothingLeft(local, 1, before);
  });

  test('thousands of mutated messages: each is answered once, or ends the connection, and nothing leaks', async (t) => {
    const seed = recordedSeed();
    const random = randomNumbers(seed);
    const local = await LocalDevice.start(t, 64);
    const before = openFds();
    const memfd = createMemfd('fuzz', 65536);
    const irq = createEventfd();
    const held = openFds();
    const templates: [number, Buffer, number[]][] = [
      [COMMAND.version, Buffer.from([0, 0, 1, 0, ...Buffer.from('{"capabilities":{}}\0')]), []],
      [COMMAND.dmaMap, words(32, 3, 0, 0, 0x10000, 1, 65536, 0), [memfd]],
      [COMMAND.dmaMap, words(32, 1, 4096, 0, 0x100000, 1, 4096, 0), [memfd]],
      [COMMAND.dmaUnmap, words(24, 0, 0x10000, 1, 65536, 0), []],
      [COMMAND.dmaUnmap, words(24, 0, 0x100000, 1, 4096, 0), []],
      [COMMAND.getInfo, words(16, 0, 0, 0), []],
      [COMMAND.getRegionInfo, words(4096, 0, 2, 0, 0, 0, 0, 0), []],
      [COMMAND.getRegionIoFds, words(4096, 0, 2, 0), []],
      [COMMAND.getIrqInfo, words(16, 0, 2, 0), []],
      [COMMAND.setIrqs, words(20, 0x24, 2, 3, 1), [irq]],
      [COMMAND.setIrqs, words(20, 0x24, 3, 0, 1), [irq]],
      [COMMAND.regionRead, words(0, 0, 0, 256), []],
      [COMMAND.regionRead, words(0, 0, 5, 64), []],
      [COMMAND.regionWrite, words(0x100, 0, 0, 48, 0, 8, 0, 3, 0x10000, 1, 0x11000, 1, 1, 0, 0, 0), []],
      [COMMAND.regionWrite, words(0x100, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0), []],
      [COMMAND.regionWrite, words(64, 0, 2, 4, 12345), []],
      [COMMAND.reset, Buffer.alloc(0), []],
    ];
    const odd = [
      0, 1, 2, 3, 4, 8, 15, 16, 255, 256, 4095, 4096, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffff000,
    ];
    let client: HostileClient | undefined;
    let clients = 0;
    let answered = 0;
    let refused = 0;
    let ended = 0;
    for (let i = 0; i < 6000; i++) {
      if (!client) {
        if (clients === 60) break;
        client = local.hostile();
        clients++;
        await client.negotiate();
      }
      const [command, template, templateFds] = templates[random() % templates.length]!;
      let body = Buffer.from(template);
      for (let n = random() % 3; n > 0 && body.length > 0; n--) {
        if (random() % 2 === 0) body[random() % body.length] = random();
        else if (body.length >= 4)
          body.writeUInt32LE(odd[random() % odd.length]!, (random() % (body.length >> 2)) * 4);
      }
      if (random() % 12 === 0) body = body.subarray(0, random() % (body.length + 1));
      if (random() % 12 === 0) body = Buffer.concat([body, Buffer.alloc(random() % 5000, random())]);
      const fds =
        random() % 8 === 0 ? new Array(random() % 17).fill(random() % 2 ? irq : memfd) : templateFds;
      const flags = random() % 12 === 0 ? random() & 0x3f : 0;
      const id = random() & 0x7fff;
      const commandSent = random() % 20 === 0 ? random() & 0xff : command;
      const breaksFraming = random() % 150 === 0;
      const size = breaksFraming ? odd[random() % odd.length]! : undefined;
      const bytes = message(commandSent, body, size === undefined ? { id, flags } : { id, flags, size });
      const context = `seed ${seed}, message ${i}: ${bytes.subarray(0, 96).toString('hex')}`;
      await client.send(bytes, fds);
      if (breaksFraming && size !== bytes.length) {
        // It answers, waits for the rest, or hangs up: all that is asked is that it survives.
        client.close();
        client = undefined;
        ended++;
        continue;
      }
      const expectsReply = (flags & 0xf) !== MESSAGE_TYPE.reply && (flags & MESSAGE_FLAG.noReply) === 0;
      if (expectsReply) {
        const reply = await client.receive();
        assert.ok(reply, `hung up: ${context}`);
        assert.equal(reply.id, id, context);
        assert.equal(reply.command, commandSent, context);
        if (reply.error !== 0) refused++;
        answered++;
      }
      assert.ok(await client.answers(), context);
    }
    console.log(
      `${answered} answered, ${refused} of them refused; ${ended} connections broken, ${clients} clients`,
    );
    assert.ok(answered > 1000);
    client?.close();
    for (let turn = 0; local.gone < clients && turn < 100_000; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(openFds(), held, 'no descriptor is left');
    closeFds([memfd, irq]);
    assert.equal(openFds(), before);
    // And an honest client is served as if nothing had been.
    const transport = await local.connect();
    await transport.close();
  });
});
