import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { COMMAND, HEADER, MAX_MESSAGE_BYTES, VERSION_FIXED } from '../../src/abi/vfio-user.js';
import { closeFds, createEventfd, createPipe } from '../../src/sys/fd.js';
import { createMemfd } from '../../src/sys/memfd.js';
import { createSocketPair, receiveBytes, sendBytes } from '../../src/sys/socket.js';
import { connectUnix } from '../../src/sys/unix-socket.js';
import { randomNumbers } from '../device/support-device.js';
import { message, words } from '../support/hostile-client.js';

/*
 * A hostile client that sends spoilt messages over many connections and waits for none of the answers:
 * SOCKET SEED MESSAGES CONNECTIONS. It says what it has done as JSON.
 */

const REGION = 0x10000;
/** Messages sent on one connection before the next has its turn. */
const BURST = 8;
/** How long a connection that is held back is left alone before it is given up. */
const MAX_TURNS_FULL = 20_000;
/** A connection is left after so many messages, whatever became of them. */
const MESSAGES_PER_CONNECTION = 1500;
/** One that has lied about a size is left soon: what follows is taken for the rest of that message. */
const MESSAGES_AFTER_LIE = 8;

const [socket, seedText, messagesText, connectionsText] = process.argv.slice(2);
const random = randomNumbers(Number(seedText));
const pick = <T>(values: readonly T[]): T => values[random() % values.length]!;

const memfd = createMemfd('storm', REGION);
const eventfd = createEventfd();
const kinds = [
  ...[memfd, eventfd, ...createPipe(), ...createSocketPair()],
  ...[openSync('/dev/null', 'r+'), openSync('/dev/zero', 'r+'), openSync(tmpdir(), 'r')],
  openSync(process.execPath, 'r'),
];

const VERSION = Buffer.concat([Buffer.alloc(VERSION_FIXED.bytes), Buffer.from('{}\0')]);
const TEMPLATES: [number, Buffer, number[]][] = [
  [COMMAND.version, VERSION, []],
  [
    COMMAND.version,
    Buffer.from('\0\0\x01\0{"capabilities":{"max_msg_fds":8,"twin_socket":{"supported":true}}}\0'),
    [],
  ],
  [COMMAND.dmaMap, words(32, 3, 0, 0, REGION, 1, REGION, 0), [memfd]],
  [COMMAND.dmaMap, words(32, 3, 0, 0, REGION, 2, REGION, 0), []],
  [COMMAND.dmaMap, words(32, 1, 4096, 0, 0x100000, 1, 4096, 0), [memfd]],
  [COMMAND.dmaUnmap, words(24, 0, REGION, 1, REGION, 0), []],
  [COMMAND.dmaUnmap, words(24, 2, 0, 0, 0, 0), []],
  [COMMAND.getInfo, words(16, 0, 0, 0), []],
  [COMMAND.getRegionInfo, words(4096, 0, 2, 0, 0, 0, 0, 0), []],
  [COMMAND.getRegionIoFds, words(4096, 0, 2, 0), []],
  [COMMAND.getIrqInfo, words(16, 0, 2, 0), []],
  [COMMAND.setIrqs, words(20, 0x24, 2, 3, 1), [eventfd]],
  [COMMAND.setIrqs, words(20, 0x24, 3, 0, 1), [eventfd]],
  [COMMAND.setIrqs, words(20, 0x21, 2, 0, 64), []],
  [COMMAND.regionRead, words(0, 0, 0, 256), []],
  [COMMAND.regionRead, words(0, 0, 5, 64), []],
  [COMMAND.regionWrite, words(0x100, 0, 0, 48, 0, 8, 0, 3, REGION, 1, REGION + 4096, 1, 1, 0, 0, 0), []],
  [COMMAND.regionWrite, words(0x100, 0, 0, 48, 1, 4, 0, 3, REGION, 2, REGION + 4096, 2, 1, 0, 0, 0), []],
  [COMMAND.regionWrite, words(0x100, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0), []],
  [COMMAND.regionWrite, words(4096, 0, 2, 4, 12345), []],
  [COMMAND.writeMulti, words(1, 0, 64, 0, 2, 4, 12345, 0), []],
  [COMMAND.dmaRead, words(REGION, 1, 64, 0), []],
  [COMMAND.reset, Buffer.alloc(0), []],
];
const ODD = [0, 1, 2, 3, 4, 8, 15, 16, 255, 256, 4095, 4096, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffff000];

interface Connection {
  fd: number;
  sent: number;
  /** Left when it has sent so many. */
  most: number;
  /** What is left of a message that did not go in one piece. */
  rest: Uint8Array;
  fullFor: number;
}

/** A message that is right but for a few bytes, or hardly at all. */
function spoilt(): [Buffer, number[]] {
  const [command, template, templateFds] = pick(TEMPLATES);
  let body = Buffer.from(template);
  for (let n = random() % 3; n > 0 && body.length >= 4; n--) {
    if (random() % 2 === 0) body[random() % body.length] = random();
    else body.writeUInt32LE(pick(ODD), (random() % (body.length >> 2)) * 4);
  }
  if (random() % 12 === 0) body = body.subarray(0, random() % (body.length + 1));
  if (random() % 40 === 0) body = Buffer.alloc(random() % 3000, random());
  if (random() % 2000 === 0) body = Buffer.alloc(MAX_MESSAGE_BYTES - HEADER.bytes, random());
  const bytes = message(random() % 20 === 0 ? random() & 0xffff : command, body, { id: random() & 0xffff });
  if (random() % 12 === 0) bytes.writeUInt32LE(random() & 0x3f, HEADER.offset.flags);
  if (random() % 40 === 0) bytes[random() % HEADER.bytes] = random();
  if (random() % 200 === 0) bytes.writeUInt32LE(pick(ODD), HEADER.offset.size);
  const odd = random() % 8 === 0;
  return [bytes, odd ? Array.from({ length: random() % 17 }, () => pick(kinds)) : templateFds];
}

const sink = new Uint8Array(1 << 18);
const taken: number[] = [];

/** Throws away what was answered; false once the other end has hung up. */
function drain(fd: number): boolean {
  try {
    const count = receiveBytes(fd, sink, taken);
    closeFds(taken);
    return count !== 0;
  } catch {
    return false;
  }
}

/** Sends what goes; false once the connection is of no more use. */
function send(connection: Connection): boolean {
  for (let burst = 0; burst < BURST; burst++) {
    const isNew = connection.rest.byteLength === 0;
    const [bytes, fds] = isNew ? spoilt() : [connection.rest, []];
    let count: number;
    try {
      count = sendBytes(connection.fd, bytes, fds);
    } catch {
      return false;
    }
    if (count < 0) {
      // Held back: what it was about to say is another thing by the time there is room.
      return ++connection.fullFor < MAX_TURNS_FULL;
    }
    connection.fullFor = 0;
    connection.rest = bytes.subarray(count);
    if (!isNew) continue;
    connection.sent++;
    const lies =
      bytes.length !== new DataView(bytes.buffer, bytes.byteOffset).getUint32(HEADER.offset.size, true);
    if (lies) connection.most = Math.min(connection.most, connection.sent + MESSAGES_AFTER_LIE);
  }
  return connection.sent < connection.most;
}

/** Waits for room on the way to the broker, which takes a few connections at a time. */
async function connect(): Promise<Connection> {
  for (;;) {
    try {
      const fd = connectUnix(socket!);
      // Most connections begin as they should, so that what follows is looked at.
      if (random() % 20 !== 0) sendBytes(fd, message(COMMAND.version, VERSION), []);
      return { fd, sent: 0, most: MESSAGES_PER_CONNECTION, rest: new Uint8Array(0), fullFor: 0 };
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

const total = Number(messagesText);
const width = Number(connectionsText);
let connections: Connection[] = [];
let sent = 0;
let made = 0;
while (sent < total) {
  while (connections.length < width) {
    connections.push(await connect());
    made++;
  }
  const staying: Connection[] = [];
  for (const connection of connections) {
    const before = connection.sent;
    const isOpen = drain(connection.fd) && send(connection);
    sent += connection.sent - before;
    if (isOpen) staying.push(connection);
    else closeFds([connection.fd]);
  }
  connections = staying;
  await new Promise((resolve) => setImmediate(resolve));
}
closeFds(connections.map(({ fd }) => fd));
closeFds(kinds);
assert.ok(made > width);
console.log(JSON.stringify({ sent, connections: made }));
