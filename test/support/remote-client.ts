import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { CQE, DOORBELL, SQE } from '../../src/abi/queue.js';
import { QUEUE_COMMAND, QUEUE_SETUP, QUEUE_SETUP_OFFSET, REGION } from '../../src/abi/registers.js';
import { COMMAND, DMA_ACCESS, DMA_MAP, HEADER, MESSAGE_TYPE } from '../../src/abi/vfio-user.js';
import { closeFds } from '../../src/sys/fd.js';
import { receiveBytes, sendBytes } from '../../src/sys/socket.js';
import { encodeVersion } from '../../src/transport/vfio-user/version.js';
import { message, type Receiver, words } from './hostile-client.js';

/** A message as it came; its descriptors are the receiver's. */
export interface Incoming {
  id: number;
  command: number;
  flags: number;
  error: number;
  body: Buffer;
  fds: number[];
}

/** A DMA command of the server. */
export interface DmaCommand {
  id: number;
  command: number;
  address: number;
  count: number;
  data: Buffer;
}

/** What is sent instead of the right answer to a DMA command; nothing at all if undefined. */
export type Misbehaviour = (right: Buffer, command: DmaCommand) => Buffer | undefined;

const TURNS = 2_000_000;

/** One socket's messages. */
class Stream {
  readonly fd: number;
  #pending = Buffer.alloc(0);
  #fds: number[] = [];
  ended = false;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** What has come, in whole messages. */
  read(): Incoming[] {
    const chunk = Buffer.alloc(1 << 20);
    while (!this.ended) {
      let count: number;
      try {
        count = receiveBytes(this.fd, chunk, this.#fds);
      } catch {
        count = 0;
      }
      if (count < 0) break;
      if (count === 0) this.ended = true;
      this.#pending = Buffer.concat([this.#pending, chunk.subarray(0, count)]);
    }
    const messages: Incoming[] = [];
    for (let bytes = this.#pending; bytes.length >= HEADER.bytes; bytes = this.#pending) {
      const size = bytes.readUInt32LE(HEADER.offset.size);
      if (bytes.length < size) break;
      this.#pending = bytes.subarray(size);
      messages.push({
        id: bytes.readUInt16LE(HEADER.offset.id),
        command: bytes.readUInt16LE(HEADER.offset.command),
        flags: bytes.readUInt32LE(HEADER.offset.flags),
        error: bytes.readUInt32LE(HEADER.offset.error),
        body: bytes.subarray(HEADER.bytes, size),
        fds: this.#fds.splice(0),
      });
    }
    return messages;
  }

  async write(bytes: Uint8Array, fds: readonly number[], server: Receiver): Promise<void> {
    let rest = bytes;
    let attached = fds;
    while (rest.byteLength > 0 && !this.ended) {
      let sent: number;
      try {
        sent = sendBytes(this.fd, rest, attached);
      } catch {
        this.ended = true;
        return;
      }
      if (sent > 0) {
        rest = rest.subarray(sent);
        attached = [];
      }
      server.receive();
      if (sent < 0) await turn();
    }
  }
}

export interface RemoteClientOptions {
  twin?: boolean;
  maxTransferBytes?: number;
}

/**
 * A client that maps nothing and shares no descriptors: its memory lies in a buffer, which the server reads and writes by
 * messages. It answers them right, or as `misbehave` says.
 */
export class RemoteClient {
  static readonly iova = 0x77_0000_0000;
  readonly memory: Buffer;
  readonly #main: Stream;
  readonly #server: Receiver;
  #twin: Stream | undefined;
  #nextId = 0x100;
  #closed = false;
  readonly #replies = new Map<number, Incoming>();
  misbehave: Misbehaviour | undefined;
  /** Every DMA command that came, without its data. */
  readonly dma: Omit<DmaCommand, 'data'>[] = [];

  constructor(fd: number, server: Receiver, memoryBytes: number) {
    this.#main = new Stream(fd);
    this.#server = server;
    this.memory = Buffer.alloc(memoryBytes);
  }

  get ended(): boolean {
    return this.#main.ended;
  }

  /** Takes what has come, on either socket, and answers the server's commands. */
  async #pump(): Promise<void> {
    this.#server.receive();
    for (const stream of [this.#main, this.#twin]) {
      if (!stream || this.#closed) continue;
      for (const each of stream.read()) {
        if ((each.flags & MESSAGE_TYPE.mask) === MESSAGE_TYPE.reply) {
          assert.equal(stream, this.#main, 'answers come where the commands went');
          this.#replies.set(each.id, each);
        } else {
          assert.equal(
            stream,
            this.#twin ?? this.#main,
            'commands come on the twin socket where there is one',
          );
          await this.#serve(stream, each);
        }
      }
    }
    await turn();
  }

  async #serve(stream: Stream, { id, command, body }: Incoming): Promise<void> {
    const address = Number(body.readBigUInt64LE(DMA_ACCESS.offset.address));
    const count = Number(body.readBigUInt64LE(DMA_ACCESS.offset.count));
    const data = body.subarray(DMA_ACCESS.bytes);
    this.dma.push({ id, command, address, count });
    const at = address - RemoteClient.iova;
    assert.ok(at >= 0 && at + count <= this.memory.length, 'the server names only what was mapped');
    const flags = MESSAGE_TYPE.reply;
    let answer: Buffer;
    if (command === COMMAND.dmaRead) {
      const content = this.memory.subarray(at, at + count);
      answer = message(command, Buffer.concat([body.subarray(0, DMA_ACCESS.bytes), content]), { id, flags });
    } else {
      assert.equal(command, COMMAND.dmaWrite);
      assert.equal(data.length, count);
      data.copy(this.memory, at);
      answer = message(command, body.subarray(0, 12), { id, flags });
    }
    const said = this.misbehave ? this.misbehave(answer, { id, command, address, count, data }) : answer;
    if (said) await stream.write(said, [], this.#server);
  }

  /** Sends a command without waiting. */
  async send(command: number, body: Uint8Array, fds: readonly number[] = []): Promise<number> {
    const id = this.#nextId++ & 0xffff;
    await this.#main.write(message(command, body, { id }), fds, this.#server);
    return id;
  }

  /** The answer to a command, or undefined once the server has hung up. Meanwhile the server's commands are answered. */
  async reply(id: number): Promise<Incoming | undefined> {
    await this.until(() => this.#replies.has(id) || this.ended, `an answer to ${id}`);
    const reply = this.#replies.get(id);
    this.#replies.delete(id);
    return reply;
  }

  async ask(command: number, body: Uint8Array, fds: readonly number[] = []): Promise<Incoming | undefined> {
    return this.reply(await this.send(command, body, fds));
  }

  /** Serves the server's commands until a condition holds. */
  async until(condition: () => boolean, what: string): Promise<void> {
    for (let i = 0; i < TURNS; i++) {
      if (condition()) return;
      await this.#pump();
    }
    assert.fail(`gave up waiting for ${what}`);
  }

  async negotiate(options: RemoteClientOptions = {}): Promise<unknown> {
    const reply = await this.ask(
      COMMAND.version,
      encodeVersion(0, 1, {
        maxMessageFds: 8,
        ...(options.twin ? { twinSocket: true } : {}),
        ...(options.maxTransferBytes ? { maxTransferBytes: options.maxTransferBytes } : {}),
      }),
    );
    assert.equal(reply?.error, 0);
    const said = JSON.parse(reply.body.toString('utf8', 4, reply.body.length - 1)).capabilities;
    assert.equal(said.twin_socket?.supported ?? false, options.twin ?? false);
    if (options.twin) this.#twin = new Stream(reply.fds[said.twin_socket.fd_index]!);
    else assert.equal(reply.fds.length, 0);
    return said;
  }

  /** Lets the server name the memory, or a part of it. */
  async map(offset = 0, length = this.memory.length, flags = 3, fds: number[] = []): Promise<number> {
    const body = Buffer.alloc(DMA_MAP.bytes);
    body.writeUInt32LE(DMA_MAP.bytes, DMA_MAP.offset.argsz);
    body.writeUInt32LE(flags, DMA_MAP.offset.flags);
    body.writeBigUInt64LE(BigInt(RemoteClient.iova + offset), DMA_MAP.offset.address);
    body.writeBigUInt64LE(BigInt(length), DMA_MAP.offset.size);
    const reply = await this.ask(COMMAND.dmaMap, body, fds);
    return reply!.error;
  }

  unmap(offset: number, length: number): Promise<Incoming | undefined> {
    const iova = RemoteClient.iova + offset;
    return this.ask(COMMAND.dmaUnmap, words(24, 0, iova % 2 ** 32, Math.floor(iova / 2 ** 32), length, 0));
  }

  async writeRegion(region: number, offset: number, data: Uint8Array): Promise<number> {
    const reply = await this.ask(
      COMMAND.regionWrite,
      Buffer.concat([words(offset, 0, region, data.byteLength), data]),
    );
    return reply?.error ?? -1;
  }

  async readRegion(region: number, offset: number, length: number): Promise<Buffer> {
    const reply = await this.ask(COMMAND.regionRead, words(offset, 0, region, length));
    assert.equal(reply?.error, 0);
    return reply.body.subarray(16);
  }

  /** Fills in the set-up registers, and reads them back. */
  async setUp(
    fields: Partial<Record<keyof typeof QUEUE_SETUP.offset, number>>,
  ): Promise<(field: keyof typeof QUEUE_SETUP.offset) => number> {
    const setup = Buffer.alloc(QUEUE_SETUP.bytes);
    for (const [name, value] of Object.entries({ command: QUEUE_COMMAND.enable, ...fields })) {
      setup.writeUInt32LE(value >>> 0, QUEUE_SETUP.offset[name as keyof typeof QUEUE_SETUP.offset]);
    }
    await this.writeRegion(REGION.registers, QUEUE_SETUP_OFFSET, setup);
    const read = await this.readRegion(REGION.registers, QUEUE_SETUP_OFFSET, QUEUE_SETUP.bytes);
    return (field) => read.readUInt32LE(QUEUE_SETUP.offset[field]);
  }

  /** Sends a late answer, on whatever socket the server's commands come. */
  async answer(bytes: Buffer): Promise<void> {
    await (this.#twin ?? this.#main).write(bytes, [], this.#server);
  }

  closeTwin(): void {
    closeFds([this.#twin!.fd]);
    this.#twin = undefined;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#main.ended = true;
    closeFds([this.#main.fd, ...(this.#twin ? [this.#twin.fd] : [])]);
    this.#twin = undefined;
    this.#server.receive();
  }
}

/** A queue of such a client: both rings in its memory, rung by message. */
export class RemoteQueue {
  readonly #client: RemoteClient;
  readonly #id: number;
  readonly #depth: number;
  readonly #sqAt: number;
  readonly #cqAt: number;
  readonly #token: number;
  #tail: number;
  #head: number;

  private constructor(client: RemoteClient, facts: QueueFacts, token: number) {
    this.#client = client;
    this.#id = facts.id ?? 0;
    this.#depth = facts.depth;
    this.#sqAt = facts.at;
    this.#cqAt = facts.at + facts.depth * SQE.bytes;
    this.#tail = this.#head = facts.startIndex ?? 0;
    this.#token = token;
  }

  static async enable(client: RemoteClient, facts: QueueFacts): Promise<RemoteQueue> {
    const { id = 0, depth, at, startIndex = 0 } = facts;
    const sq = RemoteClient.iova + at;
    const cq = sq + depth * SQE.bytes;
    for (let slot = 0; slot < depth; slot++) {
      client.memory.writeUInt32LE(startIndex >>> 0, at + slot * SQE.bytes);
      const phase = at + depth * SQE.bytes + slot * CQE.bytes + CQE.offset.phase;
      client.memory.writeUInt32LE(startIndex >>> 0, phase);
    }
    const setup = await client.setUp({
      queue: id,
      depth,
      startIndex,
      vector: id,
      sqLow: sq % 2 ** 32,
      sqHigh: Math.floor(sq / 2 ** 32),
      cqLow: cq % 2 ** 32,
      cqHigh: Math.floor(cq / 2 ** 32),
    });
    assert.equal(setup('outcome'), 0);
    return new RemoteQueue(client, facts, setup('token'));
  }

  /** Writes a submission; not rung yet. */
  put(fields: Partial<Record<keyof typeof SQE.offset, number>>): void {
    const { memory } = this.#client;
    const at = this.#sqAt + (this.#tail & (this.#depth - 1)) * SQE.bytes;
    memory.fill(0, at, at + SQE.bytes);
    this.#tail = (this.#tail + 1) | 0;
    for (const [name, value] of Object.entries({ sequence: this.#tail, ...fields })) {
      const offset = at + SQE.offset[name as keyof typeof SQE.offset];
      if (['opcode', 'algorithm', 'level', 'flags'].includes(name)) memory.writeUInt8(value, offset);
      else memory.writeUInt32LE(value >>> 0, offset);
    }
  }

  /** Rings; the word is the right one by default. */
  async ring(word = this.#tail + this.#token): Promise<void> {
    const page = this.#id * DOORBELL.pageBytes;
    const write = (at: number, value: number): Promise<number> =>
      this.#client.writeRegion(REGION.doorbells, page + at * 4, words(value));
    await write(DOORBELL.cqHeadWord, this.#head);
    await write(DOORBELL.tailWord, word);
  }

  async arm(count: number): Promise<void> {
    const at = this.#id * DOORBELL.pageBytes + DOORBELL.armWord * 4;
    await this.#client.writeRegion(REGION.doorbells, at, words(this.#head + count));
  }

  /** Whether a completion is there. */
  get ready(): boolean {
    return this.#peek().readUInt32LE(CQE.offset.phase) === (this.#head + 1) >>> 0;
  }

  #peek(): Buffer {
    const at = this.#cqAt + (this.#head & (this.#depth - 1)) * CQE.bytes;
    return this.#client.memory.subarray(at, at + CQE.bytes);
  }

  /** The next completion. */
  async next(): Promise<{ requestId: number; status: number; produced: number; consumed: number }> {
    await this.#client.until(() => this.ready || this.#client.ended, 'a completion');
    assert.ok(this.ready, 'the server has hung up');
    const cqe = this.#peek();
    this.#head = (this.#head + 1) | 0;
    return {
      requestId: cqe.readUInt32LE(CQE.offset.requestId),
      status: cqe.readUInt8(CQE.offset.status),
      produced: cqe.readUInt32LE(CQE.offset.produced),
      consumed: cqe.readUInt32LE(CQE.offset.consumed),
    };
  }
}

interface QueueFacts {
  id?: number;
  depth: number;
  /** Where in the memory the rings lie. */
  at: number;
  startIndex?: number;
}

/** The source and destination of a submission, as offsets in the client's memory. */
export function data(
  source: number,
  length: number,
  destination: number,
  capacity: number,
): Partial<Record<keyof typeof SQE.offset, number>> {
  const from = RemoteClient.iova + source;
  const to = RemoteClient.iova + destination;
  return {
    sourceLow: from % 2 ** 32,
    sourceHigh: Math.floor(from / 2 ** 32),
    sourceLength: length,
    destinationLow: to % 2 ** 32,
    destinationHigh: Math.floor(to / 2 ** 32),
    destinationCapacity: capacity,
  };
}
