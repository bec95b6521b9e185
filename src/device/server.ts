import { setTimeout as sleep } from 'node:timers/promises';
import { LIMITS } from '../abi/queue.js';
import { REGION } from '../abi/registers.js';
import {
  COMMAND,
  DMA_FLAG,
  DMA_MAP,
  DMA_UNMAP,
  DMA_UNMAP_FLAG,
  IRQ_INFO,
  IRQ_SET,
  MAX_TRANSFER_BYTES,
  MESSAGE_FLAG,
  MESSAGE_TYPE,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR,
  REGION_ACCESS,
  REGION_INFO,
  REGION_IO_FDS,
  WRITE_MULTI,
  WRITE_MULTI_DATA_BYTES,
  WRITE_MULTI_ENTRY,
} from '../abi/vfio-user.js';
import { ClosedError, MemoryError, SystemError } from '../errors.js';
import { closeFds, makeBlocking } from '../sys/fd.js';
import { ERRNO } from '../sys/libc.js';
import { PAGE_BYTES } from '../sys/memory.js';
import { createSocketPair, MAX_FDS } from '../sys/socket.js';
import { Connection, type Message } from '../transport/vfio-user/connection.js';
import { decodeVersion, encodeVersion } from '../transport/vfio-user/version.js';
import { type ClientDescriptors, noDescriptors } from './descriptor-budget.js';
import type { Device } from './device.js';
import { DmaChannel } from './dma-channel.js';
import type { ClientOptions, DeviceFunction } from './function.js';
import type { Reply } from './replies.js';
import * as replies from './replies.js';
import { setIrqs } from './set-irqs.js';

/** What counts against `setupsPerSecond`, beside writes to registers: doorbells do not. */
const SETUP_COMMANDS: ReadonlySet<number> = new Set([
  COMMAND.dmaMap,
  COMMAND.dmaUnmap,
  COMMAND.setIrqs,
  COMMAND.reset,
]);

/** What was agreed on with the client, as far as it binds the server. */
interface Agreement {
  /** The most bytes that the client takes, or gives, at once. */
  transferBytes: number;
  /** Whether it takes descriptors at all; no message of this device carries more than one. */
  takesFds: boolean;
  writesMultiple: boolean;
}

/** The server end of vfio-user: one connection, one function of the device. Commands are carried out in order. */
export class DeviceServer {
  readonly #device: Device;
  readonly #function: DeviceFunction;
  readonly #descriptors: ClientDescriptors;
  readonly #connection: Connection;
  readonly #gone: () => void;
  #agreement: Agreement | undefined;
  #twin: Connection | undefined;
  #dma: DmaChannel | undefined;
  #ended = false;
  #work: Promise<void> = Promise.resolve();

  /**
   * Takes over a connected socket, unless it throws: then the socket stays the caller's, who may have an answer to send
   * or has to close it. `receive` must be called when something has come. `onGone` is called once the client has gone
   * and all it had is freed.
   * @throws SystemError EBUSY where the device has no more functions, EMFILE or MemoryError where there is no room.
   */
  constructor(device: Device, fd: number, client: ClientOptions, onGone: () => void) {
    this.#device = device;
    this.#function = device.createFunction(client);
    this.#descriptors = this.#function.descriptors;
    this.#gone = onGone;
    this.#connection = new Connection(
      fd,
      (message) => {
        if (message.isReply) {
          this.#answered(this.#connection, message);
          return;
        }
        const carriesFds = message.fds.length > 0;
        this.#connection.started(carriesFds);
        this.#work = this.#work
          .then(() => this.#handle(message))
          .then(() => this.#connection.finished(carriesFds));
      },
      (reason) => {
        this.#end(reason);
      },
      this.#descriptors,
    );
  }

  /** What the client has of the device. */
  get served(): DeviceFunction {
    return this.#function;
  }

  /** The client has agreed on a version. */
  get negotiated(): boolean {
    return this.#agreement !== undefined;
  }

  /** Receives by itself whatever comes, for as long as the client stays; it keeps the event loop alive. */
  listen(): void {
    this.#connection.listen();
  }

  /** Hangs up: what the client had is freed as if it had gone by itself. */
  close(): void {
    this.#connection.close();
    this.#end(new ClosedError('the device hung up'));
  }

  #end(reason: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    // Before the work that may be waiting for an answer.
    this.#dma?.close(reason);
    this.#twin?.close();
    this.#work = this.#work.then(() => this.#release());
  }

  /** Receives and carries out what has come. */
  receive(): void {
    this.#connection.receive();
  }

  async #release(): Promise<void> {
    await this.#device.releaseFunction(this.#function);
    this.#gone();
  }

  /** An answer to a command of the server: not in line with the client's commands, which may be waiting for it. */
  #answered(connection: Connection, message: Message): void {
    this.#drop(message.fds);
    if (connection === (this.#twin ?? this.#connection)) this.#dma?.receive(message);
  }

  async #handle(message: Message): Promise<void> {
    const { id, command } = message;
    try {
      // What a client has asked for before it went is not worth waiting for.
      if (this.#ended) return;
      if (message.lacksFds) throw noDescriptors();
      const { body, fds, owned } = await this.#carryOut(message);
      if (message.wantsReply) {
        this.#connection.send(id, command, MESSAGE_TYPE.reply, 0, body, fds, owned);
      } else {
        closeFds(owned ?? []);
      }
    } catch (error) {
      const errno = errnoOf(error);
      if (message.wantsReply) {
        this.#connection.send(id, command, MESSAGE_TYPE.reply | MESSAGE_FLAG.error, errno);
      }
    } finally {
      this.#drop(message.fds);
    }
  }

  /** Closes descriptors that came with a message; those that were taken from it are counted by who has them. */
  #drop(fds: number[]): void {
    this.#descriptors.give(fds.length);
    closeFds(fds);
  }

  async #carryOut(message: Message): Promise<Reply> {
    const { command, body, fds } = message;
    if (command === COMMAND.version) return this.#version(body);
    const agreement = this.#agreement;
    if (!agreement) throw failure(ERRNO.EINVAL, 'a version must be agreed on first');
    if (SETUP_COMMANDS.has(command)) await this.#spendSetup();
    const { takesFds } = agreement;
    switch (command) {
      case COMMAND.getInfo:
        return replies.info(this.#function);
      case COMMAND.getRegionInfo:
        return replies.regionInfo(this.#function, need(body, REGION_INFO.bytes), takesFds);
      case COMMAND.getRegionIoFds: {
        const wakeFd = takesFds ? this.#function.wakeFd : undefined;
        return replies.regionIoFds(this.#function, need(body, REGION_IO_FDS.bytes), wakeFd);
      }
      case COMMAND.getIrqInfo:
        return replies.irqInfo(this.#function, need(body, IRQ_INFO.bytes));
      case COMMAND.setIrqs:
        setIrqs(this.#function.interrupts, need(body, IRQ_SET.bytes), fds);
        return replies.EMPTY;
      case COMMAND.regionRead:
        return this.#regionRead(need(body, REGION_ACCESS.bytes), agreement.transferBytes);
      case COMMAND.regionWrite:
        return this.#regionWrite(need(body, REGION_ACCESS.bytes));
      case COMMAND.writeMulti:
        if (!agreement.writesMultiple) throw failure(ERRNO.EOPNOTSUPP, 'write_multiple was not agreed on');
        return this.#writeMulti(need(body, WRITE_MULTI.bytes));
      case COMMAND.dmaMap:
        return this.#dmaMap(need(body, DMA_MAP.bytes), fds, agreement.transferBytes);
      case COMMAND.dmaUnmap:
        return this.#dmaUnmap(need(body, DMA_UNMAP.bytes));
      case COMMAND.reset:
        await this.#function.reset();
        return replies.EMPTY;
      default:
        // DEVICE_FEATURE and migration among them.
        throw failure(ERRNO.EOPNOTSUPP, `command ${command} is not supported`);
    }
  }

  async #spendSetup(): Promise<void> {
    const waitMs = this.#function.account.spendSetup();
    if (waitMs > 0) await sleep(waitMs);
  }

  #version(body: Buffer): Reply {
    if (this.#agreement) throw failure(ERRNO.EINVAL, 'a version is agreed on already');
    const { major, minor, capabilities } = decodeVersion(body);
    if (major !== PROTOCOL_MAJOR) throw failure(ERRNO.EINVAL, 'unknown major version');
    const transferBytes = Math.min(capabilities.maxTransferBytes, MAX_TRANSFER_BYTES);
    if (transferBytes === 0) throw failure(ERRNO.EINVAL, 'a client must take some data');
    const takesFds = capabilities.maxMessageFds > 0;
    const writesMultiple = capabilities.writeMultiple;
    const twinFd = capabilities.twinSocket && takesFds ? this.#openTwin() : undefined;
    this.#agreement = { transferBytes, takesFds, writesMultiple };
    this.#dma = new DmaChannel(this.#twin ?? this.#connection, {
      pieceBytes: transferBytes,
      watches: this.#twin !== undefined,
      onBroken: (reason) => this.#connection.fail(reason),
    });
    this.#function.shadows.connect(this.#dma);
    const reply = encodeVersion(PROTOCOL_MAJOR, Math.min(minor, PROTOCOL_MINOR), {
      maxMessageFds: MAX_FDS,
      maxTransferBytes: MAX_TRANSFER_BYTES,
      maxDmaMaps: LIMITS.maxRegions,
      pageSizes: PAGE_BYTES,
      // Nothing is offered that the client did not propose.
      ...(writesMultiple ? { writeMultiple: true } : {}),
      ...(twinFd === undefined ? {} : { twinSocket: true, twinSocketIndex: 0 }),
    });
    return twinFd === undefined ? { body: reply } : { body: reply, fds: [twinFd], owned: [twinFd] };
  }

  /** Opens the socket for the server's own commands; returns the client's end. */
  #openTwin(): number {
    // The client's end is closed once it has gone, but may wait for that.
    this.#descriptors.need(2);
    const [ours, theirs] = createSocketPair();
    makeBlocking(theirs);
    const twin = new Connection(
      ours,
      (message) => {
        this.#answered(twin, message);
        if (!message.isReply) this.#dma?.fail("a command on the socket of the server's commands");
      },
      (reason) => this.#connection.fail(reason),
      this.#descriptors,
    );
    this.#twin = twin;
    return theirs;
  }

  #regionRead(request: Buffer, transferBytes: number): Reply {
    const { region, offset, count } = access(request);
    if (count > transferBytes) throw failure(ERRNO.EINVAL, 'more than the client takes at once');
    const data = this.#function.read(region, offset, count);
    return { body: Buffer.concat([request.subarray(0, REGION_ACCESS.bytes), data]) };
  }

  async #regionWrite(request: Buffer): Promise<Reply> {
    const { region, offset, count } = access(request);
    const data = need(request, REGION_ACCESS.bytes + count).subarray(
      REGION_ACCESS.bytes,
      REGION_ACCESS.bytes + count,
    );
    await this.#write(region, offset, data);
    return { body: request.subarray(0, REGION_ACCESS.bytes) };
  }

  async #write(region: number, offset: number, data: Buffer): Promise<void> {
    if (region === REGION.registers) await this.#spendSetup();
    await this.#function.write(region, offset, data);
  }

  /** Several small writes. The first that fails ends it: how many were done is the answer, or its error if it was the first. */
  async #writeMulti(request: Buffer): Promise<Reply> {
    const writes = number(request, WRITE_MULTI.offset.count);
    need(request, WRITE_MULTI.bytes + writes * WRITE_MULTI_ENTRY.bytes);
    let done = 0;
    try {
      for (; done < writes; done++) {
        const at = WRITE_MULTI.bytes + done * WRITE_MULTI_ENTRY.bytes;
        const entry = request.subarray(at, at + WRITE_MULTI_ENTRY.bytes);
        const { region, offset, count } = access(entry);
        if (count > WRITE_MULTI_DATA_BYTES) throw failure(ERRNO.EINVAL, 'more data than an entry holds');
        const data = WRITE_MULTI_ENTRY.offset.data;
        await this.#write(region, offset, entry.subarray(data, data + count));
      }
    } catch (error) {
      if (done === 0) throw error;
    }
    const body = Buffer.alloc(WRITE_MULTI.bytes);
    body.writeBigUInt64LE(BigInt(done), WRITE_MULTI.offset.count);
    return { body };
  }

  #dmaMap(request: Buffer, fds: number[], transferBytes: number): Reply {
    const flags = request.readUInt32LE(DMA_MAP.offset.flags);
    if ((flags & DMA_FLAG.read) === 0 || (flags & ~(DMA_FLAG.read | DMA_FLAG.write)) !== 0) {
      throw failure(ERRNO.EINVAL, 'a DMA region must be readable');
    }
    if (fds.length > 1) throw failure(ERRNO.EINVAL, 'a DMA region has one descriptor');
    const region = {
      iova: number(request, DMA_MAP.offset.address),
      length: number(request, DMA_MAP.offset.size),
      writable: (flags & DMA_FLAG.write) !== 0,
    };
    const fd = fds[0];
    if (fd !== undefined) {
      this.#function.dmaMap({ ...region, fd, offset: number(request, DMA_MAP.offset.offset) });
    } else if (transferBytes >= PAGE_BYTES) {
      this.#function.dmaMapRemote(region);
    } else {
      throw failure(ERRNO.EINVAL, 'memory without a descriptor is moved a page at a time, at least');
    }
    return replies.EMPTY;
  }

  async #dmaUnmap(request: Buffer): Promise<Reply> {
    const flags = request.readUInt32LE(DMA_UNMAP.offset.flags);
    const iova = number(request, DMA_UNMAP.offset.address);
    const length = number(request, DMA_UNMAP.offset.size);
    if (flags === DMA_UNMAP_FLAG.dirtyBitmap) {
      throw failure(ERRNO.EOPNOTSUPP, 'what was written is not tracked');
    }
    if (flags === DMA_UNMAP_FLAG.all) {
      if (iova !== 0 || length !== 0) throw failure(ERRNO.EINVAL, 'all regions, or this one');
      await this.#function.dmaUnmap('all');
    } else if (flags === 0) {
      await this.#function.dmaUnmap({ iova, length });
    } else {
      throw failure(ERRNO.EINVAL, 'unknown flags');
    }
    return { body: request.subarray(0, DMA_UNMAP.bytes) };
  }
}

/** What a client is told of an error. */
function errnoOf(error: unknown): number {
  if (error instanceof SystemError) return error.errno;
  return error instanceof MemoryError ? ERRNO.ENOMEM : ERRNO.EINVAL;
}

function need(body: Buffer, bytes: number): Buffer {
  if (body.length < bytes) throw failure(ERRNO.EINVAL, 'the message is too short');
  return body;
}

function access(request: Buffer): { region: number; offset: number; count: number } {
  const count = request.readUInt32LE(REGION_ACCESS.offset.count);
  if (count > MAX_TRANSFER_BYTES) throw failure(ERRNO.EINVAL, 'the transfer is too large');
  return {
    region: request.readUInt32LE(REGION_ACCESS.offset.region),
    offset: number(request, REGION_ACCESS.offset.offset),
    count,
  };
}

/** A 64-bit field; values beyond 2^53 name nothing that exists. */
function number(body: Buffer, offset: number): number {
  const value = body.readBigUInt64LE(offset);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw failure(ERRNO.EINVAL, 'a value is out of range');
  return Number(value);
}

function failure(errno: number, message: string): SystemError {
  return new SystemError('vfio-user', errno, message);
}
