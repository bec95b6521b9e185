import assert from 'node:assert/strict';
import { COMMAND, DEVICE_INFO, HEADER, VERSION_FIXED } from '../../src/abi/vfio-user.js';
import { closeFds } from '../../src/sys/fd.js';
import { receiveBytes, sendBytes } from '../../src/sys/socket.js';

/** What a hostile client talks to: something that receives when told to. */
export interface Receiver {
  receive(): void;
}

/** One message as it came, its descriptors already closed. */
export interface Received {
  id: number;
  command: number;
  size: number;
  flags: number;
  error: number;
  body: Buffer;
  fdCount: number;
}

/** Turns of the event loop that an answer may take before the test gives up. */
const PATIENCE_TURNS = 200_000;

/** Builds a message, right in every respect unless told otherwise. */
export function message(
  command: number,
  body: Uint8Array = Buffer.alloc(0),
  header: { id?: number; size?: number; flags?: number; error?: number } = {},
): Buffer {
  const bytes = Buffer.alloc(HEADER.bytes + body.byteLength);
  bytes.writeUInt16LE(header.id ?? 1, HEADER.offset.id);
  bytes.writeUInt16LE(command, HEADER.offset.command);
  bytes.writeUInt32LE(header.size ?? bytes.length, HEADER.offset.size);
  bytes.writeUInt32LE(header.flags ?? 0, HEADER.offset.flags);
  bytes.writeUInt32LE(header.error ?? 0, HEADER.offset.error);
  bytes.set(body, HEADER.bytes);
  return bytes;
}

/** A message body of 32-bit words. */
export function words(...values: number[]): Buffer {
  const body = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => {
    body.writeUInt32LE(value >>> 0, index * 4);
  });
  return body;
}

/** The end of a socket whose owner sends any bytes and any descriptors. */
export class HostileClient {
  readonly fd: number;
  readonly #server: Receiver;
  #pending = Buffer.alloc(0);
  #pendingFds: number[] = [];
  /** The other end has hung up. */
  ended = false;
  #closed = false;

  constructor(fd: number, server: Receiver) {
    this.fd = fd;
    this.#server = server;
  }

  /** Sends bytes and lets the other end receive them; descriptors stay the caller's. False once it has hung up. */
  async send(bytes: Uint8Array, fds: readonly number[] = []): Promise<boolean> {
    let rest = bytes;
    let attached = fds;
    while (rest.byteLength > 0) {
      let sent: number;
      try {
        sent = sendBytes(this.fd, rest, attached);
      } catch {
        return false;
      }
      if (sent > 0) {
        rest = rest.subarray(sent);
        attached = [];
      }
      this.#server.receive();
      if (sent < 0) await new Promise((resolve) => setImmediate(resolve));
    }
    return true;
  }

  /** Sends once, without waiting for room; how many bytes went, or -1 when the socket is full. */
  trySend(bytes: Uint8Array): number {
    const sent = sendBytes(this.fd, bytes, []);
    this.#server.receive();
    return sent;
  }

  /** The next message, or undefined once the other end has hung up. */
  async receive(): Promise<Received | undefined> {
    for (let turn = 0; turn < PATIENCE_TURNS; turn++) {
      const whole = this.#take();
      if (whole) return whole;
      if (this.ended) return undefined;
      if (!this.#read()) {
        this.#server.receive();
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    assert.fail('the server neither answered nor hung up');
  }

  #read(): boolean {
    const chunk = Buffer.alloc(65536);
    let count: number;
    try {
      count = receiveBytes(this.fd, chunk, this.#pendingFds);
    } catch {
      count = 0;
    }
    if (count < 0) return false;
    if (count === 0) this.ended = true;
    this.#pending = Buffer.concat([this.#pending, chunk.subarray(0, count)]);
    return true;
  }

  #take(): Received | undefined {
    const bytes = this.#pending;
    if (bytes.length < HEADER.bytes) return undefined;
    const size = bytes.readUInt32LE(HEADER.offset.size);
    assert.ok(size >= HEADER.bytes, 'the server sends well-formed headers');
    if (bytes.length < size) return undefined;
    this.#pending = bytes.subarray(size);
    const fdCount = this.#pendingFds.length;
    closeFds(this.#pendingFds);
    return {
      id: bytes.readUInt16LE(HEADER.offset.id),
      command: bytes.readUInt16LE(HEADER.offset.command),
      size,
      flags: bytes.readUInt32LE(HEADER.offset.flags),
      error: bytes.readUInt32LE(HEADER.offset.error),
      body: bytes.subarray(HEADER.bytes, size),
      fdCount,
    };
  }

  /** Sends a message and waits for its answer. */
  async ask(command: number, body?: Uint8Array, fds: readonly number[] = []): Promise<Received | undefined> {
    await this.send(message(command, body), fds);
    return this.receive();
  }

  /** Agrees on a version, as a client must before anything else. */
  async negotiate(): Promise<void> {
    const body = Buffer.concat([Buffer.alloc(VERSION_FIXED.bytes), Buffer.from('{}\0')]);
    const reply = await this.ask(COMMAND.version, body);
    assert.equal(reply?.flags, 1);
  }

  /** Whether the server still answers a plain question, and nothing else is before the answer. */
  async answers(): Promise<boolean> {
    await this.send(message(COMMAND.getInfo, words(DEVICE_INFO.bytes, 0, 0, 0), { id: 0xfffe }));
    const reply = await this.receive();
    if (!reply) return false;
    assert.equal(reply.id, 0xfffe);
    assert.equal(reply.error, 0);
    return true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeFds(this.#pendingFds);
    closeFds([this.fd]);
    this.#server.receive();
  }
}
