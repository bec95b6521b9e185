import { setTimeout as sleep } from 'node:timers/promises';
import { IRQ, REGION } from '../abi/registers.js';
import {
  CAP_HEADER,
  CAP_SPARSE_MMAP,
  COMMAND,
  DEVICE_FLAG,
  DEVICE_INFO,
  DMA_FLAG,
  DMA_MAP,
  DMA_UNMAP,
  IO_FD_ENTRY,
  IO_FD_TYPE,
  IRQ_FLAG,
  IRQ_INFO,
  IRQ_SET,
  IRQ_SET_FLAG,
  MAX_TRANSFER_BYTES,
  MESSAGE_FLAG,
  MESSAGE_TYPE,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR,
  REGION_ACCESS,
  REGION_FLAG,
  REGION_INFO,
  REGION_IO_FDS,
  SPARSE_AREA,
  SPARSE_MMAP,
  VERSION_FIXED,
} from '../abi/vfio-user.js';
import { MemoryError, SystemError } from '../errors.js';
import { closeFds } from '../sys/fd.js';
import { ERRNO } from '../sys/libc.js';
import { MAX_FDS } from '../sys/socket.js';
import { Connection, type Message } from '../transport/vfio-user/connection.js';
import type { Device } from './device.js';
import type { ClientOptions, DeviceFunction } from './function.js';

interface Reply {
  body: Buffer;
  fds?: number[];
}

/** What counts against `setupsPerSecond`. */
const SETUP_COMMANDS: ReadonlySet<number> = new Set([
  COMMAND.dmaMap,
  COMMAND.dmaUnmap,
  COMMAND.setIrqs,
  COMMAND.regionWrite,
  COMMAND.reset,
]);

const EMPTY: Reply = { body: Buffer.alloc(0) };

/** The server end of vfio-user: one connection, one function of the device. Commands are carried out in order. */
export class DeviceServer {
  readonly #device: Device;
  readonly #function: DeviceFunction;
  readonly #connection: Connection;
  readonly #gone: () => void;
  #negotiated = false;
  #ended = false;
  #work: Promise<void> = Promise.resolve();

  /**
   * Takes over a connected socket; `receive` must be called when something has come. `onGone` is called once the
   * client has gone and all it had is freed.
   */
  constructor(device: Device, fd: number, client: ClientOptions, onGone: () => void) {
    this.#device = device;
    this.#function = device.createFunction(client);
    this.#gone = onGone;
    this.#connection = new Connection(
      fd,
      (message) => {
        this.#connection.started();
        this.#work = this.#work.then(() => this.#handle(message)).then(() => this.#connection.finished());
      },
      () => this.#end(),
    );
  }

  /** What the client has of the device. */
  get served(): DeviceFunction {
    return this.#function;
  }

  /** The client has agreed on a version. */
  get negotiated(): boolean {
    return this.#negotiated;
  }

  /** Receives by itself whatever comes, for as long as the client stays; it keeps the event loop alive. */
  listen(): void {
    this.#connection.listen();
  }

  /** Hangs up: what the client had is freed as if it had gone by itself. */
  close(): void {
    this.#connection.close();
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
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

  async #handle(message: Message): Promise<void> {
    const { id, command } = message;
    try {
      // What a client has asked for before it went is not worth waiting for.
      if (message.isReply || this.#ended) return;
      const reply = await this.#carryOut(message);
      if (message.wantsReply)
        this.#connection.send(id, command, MESSAGE_TYPE.reply, 0, reply.body, reply.fds);
    } catch (error) {
      const errno = errnoOf(error);
      if (message.wantsReply) {
        this.#connection.send(id, command, MESSAGE_TYPE.reply | MESSAGE_FLAG.error, errno);
      }
    } finally {
      closeFds(message.fds);
    }
  }

  async #carryOut(message: Message): Promise<Reply> {
    const { command, body, fds } = message;
    if (command === COMMAND.version) return this.#version(need(body, VERSION_FIXED.bytes));
    if (!this.#negotiated) throw failure(ERRNO.EINVAL, 'a version must be agreed on first');
    if (SETUP_COMMANDS.has(command)) {
      const waitMs = this.#function.account.spendSetup();
      if (waitMs > 0) await sleep(waitMs);
    }
    switch (command) {
      case COMMAND.getInfo:
        return this.#info();
      case COMMAND.getRegionInfo:
        return this.#regionInfo(need(body, REGION_INFO.bytes));
      case COMMAND.getRegionIoFds:
        return this.#regionIoFds(need(body, REGION_IO_FDS.bytes));
      case COMMAND.getIrqInfo:
        return this.#irqInfo(need(body, IRQ_INFO.bytes));
      case COMMAND.setIrqs:
        return this.#setIrqs(need(body, IRQ_SET.bytes), fds);
      case COMMAND.regionRead:
        return this.#regionRead(need(body, REGION_ACCESS.bytes));
      case COMMAND.regionWrite:
        return this.#regionWrite(need(body, REGION_ACCESS.bytes));
      case COMMAND.dmaMap:
        return this.#dmaMap(need(body, DMA_MAP.bytes), fds);
      case COMMAND.dmaUnmap:
        return this.#dmaUnmap(need(body, DMA_UNMAP.bytes));
      case COMMAND.reset:
        await this.#function.reset();
        return EMPTY;
      default:
        throw failure(ERRNO.EOPNOTSUPP, `command ${command} is not supported`);
    }
  }

  #version(body: Buffer): Reply {
    if (body.readUInt16LE(VERSION_FIXED.offset.major) !== PROTOCOL_MAJOR) {
      throw failure(ERRNO.EINVAL, 'unknown major version');
    }
    const minor = Math.min(body.readUInt16LE(VERSION_FIXED.offset.minor), PROTOCOL_MINOR);
    const fixed = Buffer.alloc(VERSION_FIXED.bytes);
    fixed.writeUInt16LE(PROTOCOL_MAJOR, VERSION_FIXED.offset.major);
    fixed.writeUInt16LE(minor, VERSION_FIXED.offset.minor);
    const capabilities = { max_msg_fds: MAX_FDS, max_data_xfer_size: MAX_TRANSFER_BYTES };
    this.#negotiated = true;
    return { body: Buffer.concat([fixed, Buffer.from(`${JSON.stringify({ capabilities })}\0`)]) };
  }

  #info(): Reply {
    const body = Buffer.alloc(DEVICE_INFO.bytes);
    body.writeUInt32LE(DEVICE_INFO.bytes, DEVICE_INFO.offset.argsz);
    body.writeUInt32LE(DEVICE_FLAG.reset | DEVICE_FLAG.pci, DEVICE_INFO.offset.flags);
    body.writeUInt32LE(this.#function.regionCount, DEVICE_INFO.offset.numRegions);
    body.writeUInt32LE(this.#function.irqCount, DEVICE_INFO.offset.numIrqs);
    return { body };
  }

  #regionInfo(request: Buffer): Reply {
    const index = request.readUInt32LE(REGION_INFO.offset.index);
    const argsz = request.readUInt32LE(REGION_INFO.offset.argsz);
    if (argsz < REGION_INFO.bytes) throw failure(ERRNO.EINVAL, 'argsz is too small');
    const region = this.#function.region(index);
    const mappable = region.fd !== undefined;
    const sparseAt = REGION_INFO.bytes;
    const size = mappable ? sparseAt + CAP_HEADER.bytes + SPARSE_MMAP.bytes + SPARSE_AREA.bytes : sparseAt;
    const body = Buffer.alloc(size);
    let flags = (region.read ? REGION_FLAG.read : 0) | (region.write ? REGION_FLAG.write : 0);
    if (mappable) {
      flags |= REGION_FLAG.mmap | REGION_FLAG.caps;
      body.writeUInt32LE(sparseAt, REGION_INFO.offset.capOffset);
      body.writeUInt16LE(CAP_SPARSE_MMAP, sparseAt + CAP_HEADER.offset.id);
      body.writeUInt16LE(1, sparseAt + CAP_HEADER.offset.version);
      const areasAt = sparseAt + CAP_HEADER.bytes;
      body.writeUInt32LE(1, areasAt + SPARSE_MMAP.offset.areas);
      body.writeBigUInt64LE(BigInt(region.length), areasAt + SPARSE_MMAP.bytes + SPARSE_AREA.offset.size);
    }
    body.writeUInt32LE(size, REGION_INFO.offset.argsz);
    body.writeUInt32LE(flags, REGION_INFO.offset.flags);
    body.writeUInt32LE(index, REGION_INFO.offset.index);
    body.writeBigUInt64LE(BigInt(region.length), REGION_INFO.offset.size);
    // Where the client left no room for the capabilities it gets the fixed part, asks again, and is sent the memory then.
    if (argsz < size) return { body: body.subarray(0, REGION_INFO.bytes) };
    return mappable ? { body, fds: [region.fd!] } : { body };
  }

  #regionIoFds(request: Buffer): Reply {
    const index = request.readUInt32LE(REGION_IO_FDS.offset.index);
    this.#function.region(index);
    const entries = index === REGION.doorbells ? 1 : 0;
    const size = REGION_IO_FDS.bytes + entries * IO_FD_ENTRY.bytes;
    const room = request.readUInt32LE(REGION_IO_FDS.offset.argsz) >= size;
    const body = Buffer.alloc(room ? size : REGION_IO_FDS.bytes);
    body.writeUInt32LE(size, REGION_IO_FDS.offset.argsz);
    body.writeUInt32LE(index, REGION_IO_FDS.offset.index);
    body.writeUInt32LE(entries, REGION_IO_FDS.offset.count);
    if (!room || entries === 0) return { body };
    const at = REGION_IO_FDS.bytes;
    body.writeBigUInt64LE(BigInt(this.#function.region(index).length), at + IO_FD_ENTRY.offset.size);
    body.writeUInt32LE(IO_FD_TYPE.ioeventfd, at + IO_FD_ENTRY.offset.type);
    return { body, fds: [this.#device.wakeFd] };
  }

  #irqInfo(request: Buffer): Reply {
    const index = request.readUInt32LE(IRQ_INFO.offset.index);
    const body = Buffer.alloc(IRQ_INFO.bytes);
    body.writeUInt32LE(IRQ_INFO.bytes, IRQ_INFO.offset.argsz);
    body.writeUInt32LE(IRQ_FLAG.eventfd | IRQ_FLAG.noresize, IRQ_INFO.offset.flags);
    body.writeUInt32LE(index, IRQ_INFO.offset.index);
    body.writeUInt32LE(this.#function.irqs(index), IRQ_INFO.offset.count);
    return { body };
  }

  async #setIrqs(request: Buffer, fds: number[]): Promise<Reply> {
    const flags = request.readUInt32LE(IRQ_SET.offset.flags);
    const index = request.readUInt32LE(IRQ_SET.offset.index);
    const start = request.readUInt32LE(IRQ_SET.offset.start);
    const count = request.readUInt32LE(IRQ_SET.offset.count);
    if (index !== IRQ.msix && index !== IRQ.error) throw failure(ERRNO.EINVAL, 'no such interrupts');
    const wanted = IRQ_SET_FLAG.eventfd | IRQ_SET_FLAG.trigger;
    const none = IRQ_SET_FLAG.none | IRQ_SET_FLAG.trigger;
    if (flags !== wanted && !(flags === none && fds.length === 0)) {
      throw failure(ERRNO.EINVAL, 'only eventfd triggers are supported');
    }
    if (flags === wanted && fds.length !== count) throw failure(ERRNO.EINVAL, 'one eventfd per interrupt');
    await this.#function.setIrqs(index, start, count, fds);
    return EMPTY;
  }

  #regionRead(request: Buffer): Reply {
    const { region, offset, count } = access(request);
    const data = this.#function.read(region, offset, count);
    return { body: Buffer.concat([request.subarray(0, REGION_ACCESS.bytes), data]) };
  }

  async #regionWrite(request: Buffer): Promise<Reply> {
    const { region, offset, count } = access(request);
    const data = need(request, REGION_ACCESS.bytes + count).subarray(
      REGION_ACCESS.bytes,
      REGION_ACCESS.bytes + count,
    );
    await this.#function.write(region, offset, data);
    return { body: request.subarray(0, REGION_ACCESS.bytes) };
  }

  #dmaMap(request: Buffer, fds: number[]): Reply {
    const flags = request.readUInt32LE(DMA_MAP.offset.flags);
    const fd = fds[0];
    if (fd === undefined || fds.length !== 1) {
      throw failure(ERRNO.EOPNOTSUPP, 'memory without a descriptor cannot be reached');
    }
    if ((flags & DMA_FLAG.read) === 0 || (flags & ~(DMA_FLAG.read | DMA_FLAG.write)) !== 0) {
      throw failure(ERRNO.EINVAL, 'a DMA region must be readable');
    }
    this.#function.dmaMap({
      fd,
      offset: number(request, DMA_MAP.offset.offset),
      iova: number(request, DMA_MAP.offset.address),
      length: number(request, DMA_MAP.offset.size),
      writable: (flags & DMA_FLAG.write) !== 0,
    });
    return EMPTY;
  }

  async #dmaUnmap(request: Buffer): Promise<Reply> {
    if (request.readUInt32LE(DMA_UNMAP.offset.flags) !== 0) throw failure(ERRNO.EINVAL, 'unknown flags');
    await this.#function.dmaUnmap(
      number(request, DMA_UNMAP.offset.address),
      number(request, DMA_UNMAP.offset.size),
    );
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
