import { getSystemErrorName } from 'node:util';
import {
  CAP_HEADER,
  CAP_SPARSE_MMAP,
  COMMAND,
  DEVICE_INFO,
  DMA_FLAG,
  DMA_MAP,
  DMA_UNMAP,
  IO_FD_ENTRY,
  IRQ_SET,
  IRQ_SET_FLAG,
  MAX_TRANSFER_BYTES,
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
} from '../../abi/vfio-user.js';
import { ArgumentError, ClosedError, ProtocolError, SystemError } from '../../errors.js';
import { closeFd, closeFds } from '../../sys/fd.js';
import { checkMappable } from '../../sys/memfd.js';
import { Mapping } from '../../sys/memory.js';
import { MAX_FDS } from '../../sys/socket.js';
import type { DmaRegion, RegionInfo, Transport, WakeFd } from '../transport.js';
import { Connection, type Message } from './connection.js';

interface Waiting {
  command: number;
  resolve: (message: Message) => void;
  reject: (error: Error) => void;
}

interface MappedRegion extends RegionInfo {
  /** Where the region starts in its descriptor. */
  fdOffset: number;
  fd: number | undefined;
}

/** Room for a region's information and its capabilities; what the descriptor is sent for (see `argsz`). */
const REGION_INFO_ROOM = 4096;
const MAX_IO_FDS = 8;

/** Names of commands by number, for error messages. */
const COMMAND_NAME = new Map<number, string>(Object.entries(COMMAND).map(([name, value]) => [value, name]));

/** The client end of vfio-user: a Transport over a connected UNIX socket. */
export class VfioUserTransport implements Transport {
  readonly name: string;
  regions = 0;
  irqs = 0;
  readonly #connection: Connection;
  readonly #waiting = new Map<number, Waiting>();
  readonly #regions = new Map<number, MappedRegion>();
  #nextId = 1;
  #lost: Error | undefined;
  #onLost: ((reason: Error) => void) | undefined;
  #closing = false;
  readonly #nudge: () => void;

  private constructor(fd: number, name: string, nudge: () => void) {
    this.name = name;
    this.#nudge = nudge;
    this.#connection = new Connection(
      fd,
      (message) => this.#receive(message),
      (reason) => this.#end(reason),
    );
  }

  /**
   * Takes over a connected socket, agrees on a version and asks what the device offers. `nudge` is called after
   * each message sent, for a device that does not watch its socket.
   */
  static async connect(fd: number, name: string, nudge: () => void = () => {}): Promise<VfioUserTransport> {
    const transport = new VfioUserTransport(fd, name, nudge);
    try {
      await transport.#negotiate();
      return transport;
    } catch (error) {
      await transport.close();
      throw error;
    }
  }

  async #negotiate(): Promise<void> {
    const capabilities = { max_msg_fds: MAX_FDS, max_data_xfer_size: MAX_TRANSFER_BYTES };
    const json = Buffer.from(`${JSON.stringify({ capabilities })}\0`);
    const fixed = Buffer.alloc(VERSION_FIXED.bytes);
    fixed.writeUInt16LE(PROTOCOL_MAJOR, VERSION_FIXED.offset.major);
    fixed.writeUInt16LE(PROTOCOL_MINOR, VERSION_FIXED.offset.minor);
    const version = await this.#ask(COMMAND.version, Buffer.concat([fixed, json]), VERSION_FIXED.bytes);
    const major = version.body.readUInt16LE(VERSION_FIXED.offset.major);
    if (major !== PROTOCOL_MAJOR) {
      throw new ProtocolError(`the device speaks vfio-user ${major}, and only ${PROTOCOL_MAJOR} is known`);
    }
    const request = Buffer.alloc(DEVICE_INFO.bytes);
    request.writeUInt32LE(DEVICE_INFO.bytes, DEVICE_INFO.offset.argsz);
    const info = await this.#ask(COMMAND.getInfo, request, DEVICE_INFO.bytes);
    this.regions = info.body.readUInt32LE(DEVICE_INFO.offset.numRegions);
    this.irqs = info.body.readUInt32LE(DEVICE_INFO.offset.numIrqs);
  }

  async regionInfo(index: number): Promise<RegionInfo> {
    const { fd: _fd, fdOffset: _fdOffset, ...info } = await this.#region(index);
    return info;
  }

  async #region(index: number): Promise<MappedRegion> {
    const known = this.#regions.get(index);
    if (known) return known;
    const request = Buffer.alloc(REGION_INFO.bytes);
    request.writeUInt32LE(REGION_INFO_ROOM, REGION_INFO.offset.argsz);
    request.writeUInt32LE(index, REGION_INFO.offset.index);
    const { body, fds } = await this.#ask(COMMAND.getRegionInfo, request, REGION_INFO.bytes);
    const flags = body.readUInt32LE(REGION_INFO.offset.flags);
    const length = readSize(body, REGION_INFO.offset.size);
    const fd = fds.shift();
    closeFds(fds);
    const region: MappedRegion = {
      index,
      length,
      read: (flags & REGION_FLAG.read) !== 0,
      write: (flags & REGION_FLAG.write) !== 0,
      areas: fd !== undefined && (flags & REGION_FLAG.mmap) !== 0 ? parseAreas(body, flags, length) : [],
      fdOffset: readSize(body, REGION_INFO.offset.offset),
      fd,
    };
    this.#regions.set(index, region);
    return region;
  }

  async readRegion(index: number, offset: number, length: number): Promise<Buffer> {
    const reply = await this.#ask(
      COMMAND.regionRead,
      regionAccess(index, offset, length),
      REGION_ACCESS.bytes + length,
    );
    return reply.body.subarray(REGION_ACCESS.bytes, REGION_ACCESS.bytes + length);
  }

  async writeRegion(index: number, offset: number, data: Uint8Array): Promise<void> {
    const body = Buffer.concat([regionAccess(index, offset, data.byteLength), data]);
    await this.#ask(COMMAND.regionWrite, body, REGION_ACCESS.bytes);
  }

  async mapRegion(index: number, offset: number, length: number): Promise<Mapping> {
    const region = await this.#region(index);
    const inside = region.areas.some((a) => offset >= a.offset && offset + length <= a.offset + a.length);
    if (region.fd === undefined || !inside) {
      throw new ArgumentError(`region ${index} of ${this.name} cannot be mapped at ${offset} for ${length}`);
    }
    checkMappable(region.fd, region.fdOffset + offset, length);
    return Mapping.shared(region.fd, region.fdOffset + offset, length, region.write ? 'read-write' : 'read');
  }

  async wakeFds(index: number): Promise<WakeFd[]> {
    const request = Buffer.alloc(REGION_IO_FDS.bytes);
    request.writeUInt32LE(REGION_IO_FDS.bytes + MAX_IO_FDS * IO_FD_ENTRY.bytes, REGION_IO_FDS.offset.argsz);
    request.writeUInt32LE(index, REGION_IO_FDS.offset.index);
    const { body, fds } = await this.#ask(COMMAND.getRegionIoFds, request, REGION_IO_FDS.bytes);
    const count = body.readUInt32LE(REGION_IO_FDS.offset.count);
    const wakeFds: WakeFd[] = [];
    for (let i = 0; i < count; i++) {
      const at = REGION_IO_FDS.bytes + i * IO_FD_ENTRY.bytes;
      const fd =
        at + IO_FD_ENTRY.bytes <= body.length
          ? fds[body.readUInt32LE(at + IO_FD_ENTRY.offset.fdIndex)]
          : undefined;
      if (fd === undefined) {
        closeFds(fds);
        throw new ProtocolError(`${this.name} named a wake descriptor that it did not send`);
      }
      wakeFds.push({
        offset: readSize(body, at + IO_FD_ENTRY.offset.offset),
        length: readSize(body, at + IO_FD_ENTRY.offset.size),
        fd,
      });
    }
    return wakeFds;
  }

  async setIrqs(index: number, start: number, eventfds: readonly number[]): Promise<void> {
    if (eventfds.length > MAX_FDS) {
      throw new ArgumentError(`at most ${MAX_FDS} interrupts can be routed at once`);
    }
    const body = Buffer.alloc(IRQ_SET.bytes);
    body.writeUInt32LE(IRQ_SET.bytes, IRQ_SET.offset.argsz);
    body.writeUInt32LE(IRQ_SET_FLAG.eventfd | IRQ_SET_FLAG.trigger, IRQ_SET.offset.flags);
    body.writeUInt32LE(index, IRQ_SET.offset.index);
    body.writeUInt32LE(start, IRQ_SET.offset.start);
    body.writeUInt32LE(eventfds.length, IRQ_SET.offset.count);
    await this.#ask(COMMAND.setIrqs, body, 0, [...eventfds]);
  }

  async dmaMap(region: DmaRegion): Promise<void> {
    const body = Buffer.alloc(DMA_MAP.bytes);
    body.writeUInt32LE(DMA_MAP.bytes, DMA_MAP.offset.argsz);
    body.writeUInt32LE(DMA_FLAG.read | (region.writable ? DMA_FLAG.write : 0), DMA_MAP.offset.flags);
    body.writeBigUInt64LE(BigInt(region.offset), DMA_MAP.offset.offset);
    body.writeBigUInt64LE(BigInt(region.iova), DMA_MAP.offset.address);
    body.writeBigUInt64LE(BigInt(region.length), DMA_MAP.offset.size);
    await this.#ask(COMMAND.dmaMap, body, 0, [region.fd]);
  }

  async dmaUnmap(iova: number, length: number): Promise<void> {
    const body = Buffer.alloc(DMA_UNMAP.bytes);
    body.writeUInt32LE(DMA_UNMAP.bytes, DMA_UNMAP.offset.argsz);
    body.writeBigUInt64LE(BigInt(iova), DMA_UNMAP.offset.address);
    body.writeBigUInt64LE(BigInt(length), DMA_UNMAP.offset.size);
    await this.#ask(COMMAND.dmaUnmap, body, DMA_UNMAP.bytes);
  }

  async reset(): Promise<void> {
    await this.#ask(COMMAND.reset, Buffer.alloc(0), 0);
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#connection.close();
    this.#nudge();
    this.#end(new ClosedError(`${this.name} was closed`));
  }

  /** The device is known to be gone, whatever the socket says. */
  abandon(reason: Error): void {
    this.#connection.close();
    this.#end(reason);
  }

  onLost(listener: (reason: Error) => void): void {
    this.#onLost = listener;
  }

  /** Sends a command and waits for its reply, whose body has at least `minimum` bytes. */
  #ask(command: number, body: Uint8Array, minimum: number, fds: number[] = []): Promise<Message> {
    if (this.#lost) return Promise.reject(this.#lost);
    const id = this.#nextId;
    this.#nextId = (this.#nextId + 1) & 0xffff;
    return new Promise<Message>((resolve, reject) => {
      this.#waiting.set(id, {
        command,
        resolve: (message) => {
          const keepsFds = command === COMMAND.getRegionInfo || command === COMMAND.getRegionIoFds;
          if (message.body.length >= minimum && keepsFds) {
            resolve(message);
            return;
          }
          closeFds(message.fds);
          if (message.body.length >= minimum) {
            resolve(message);
            return;
          }
          reject(new ProtocolError(`${this.name} answered ${COMMAND_NAME.get(command)} with too few bytes`));
        },
        reject,
      });
      // The socket is watched, and the event loop kept alive, while a reply is due.
      this.#connection.listen();
      this.#connection.send(id, command, MESSAGE_TYPE.command, 0, body, fds);
      this.#nudge();
    });
  }

  #receive(message: Message): void {
    const waiting = message.isReply ? this.#waiting.get(message.id) : undefined;
    if (!waiting || waiting.command !== message.command) {
      closeFds(message.fds);
      return;
    }
    this.#waiting.delete(message.id);
    if (this.#waiting.size === 0) this.#connection.unlisten();
    if (message.error === 0) {
      waiting.resolve(message);
      return;
    }
    closeFds(message.fds);
    const name = COMMAND_NAME.get(message.command) ?? `command ${message.command}`;
    waiting.reject(
      new SystemError(`vfio-user ${name}`, message.error, getSystemErrorName(-message.error), {
        device: this.name,
      }),
    );
  }

  #end(reason: Error): void {
    if (this.#lost) return;
    this.#lost = reason;
    for (const region of this.#regions.values()) {
      if (region.fd !== undefined) closeFd(region.fd);
    }
    this.#regions.clear();
    for (const waiting of this.#waiting.values()) waiting.reject(reason);
    this.#waiting.clear();
    if (!this.#closing) this.#onLost?.(reason);
  }
}

function regionAccess(index: number, offset: number, count: number): Buffer {
  const body = Buffer.alloc(REGION_ACCESS.bytes);
  body.writeBigUInt64LE(BigInt(offset), REGION_ACCESS.offset.offset);
  body.writeUInt32LE(index, REGION_ACCESS.offset.region);
  body.writeUInt32LE(count, REGION_ACCESS.offset.count);
  return body;
}

/** A 64-bit size as a Number; sizes beyond 2^53 are refused. */
function readSize(body: Buffer, offset: number): number {
  const value = body.readBigUInt64LE(offset);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new ProtocolError(`a size of ${value} bytes`);
  return Number(value);
}

/** The areas of the sparse mmap capability, or the whole region where there is none. */
function parseAreas(body: Buffer, flags: number, length: number): RegionInfo['areas'] {
  let at = (flags & REGION_FLAG.caps) !== 0 ? body.readUInt32LE(REGION_INFO.offset.capOffset) : 0;
  const seen = new Set<number>();
  while (at !== 0 && at + CAP_HEADER.bytes <= body.length && !seen.has(at)) {
    seen.add(at);
    if (body.readUInt16LE(at + CAP_HEADER.offset.id) === CAP_SPARSE_MMAP) {
      const start = at + CAP_HEADER.bytes;
      const count = body.readUInt32LE(start + SPARSE_MMAP.offset.areas);
      const areas = [];
      for (let i = 0; i < count; i++) {
        const entry = start + SPARSE_MMAP.bytes + i * SPARSE_AREA.bytes;
        if (entry + SPARSE_AREA.bytes > body.length) break;
        areas.push({
          offset: readSize(body, entry + SPARSE_AREA.offset.offset),
          length: readSize(body, entry + SPARSE_AREA.offset.size),
        });
      }
      return areas;
    }
    at = body.readUInt32LE(at + CAP_HEADER.offset.next);
  }
  return [{ offset: 0, length }];
}
