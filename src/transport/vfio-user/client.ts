import { getSystemErrorName } from 'node:util';
import {
  COMMAND,
  DEVICE_INFO,
  DMA_FLAG,
  DMA_MAP,
  DMA_UNMAP,
  IO_FD_TYPE,
  IRQ_INFO,
  IRQ_SET,
  IRQ_SET_FLAG,
  MAX_IO_FD_ENTRY_BYTES,
  MAX_TRANSFER_BYTES,
  MESSAGE_FLAG,
  MESSAGE_TYPE,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR,
  REGION_ACCESS,
  REGION_INFO,
  REGION_IO_FDS,
  VERSION_FIXED,
} from '../../abi/vfio-user.js';
import {
  ArgumentError,
  ClosedError,
  DeadlineError,
  type DmaError,
  ProtocolError,
  SystemError,
} from '../../errors.js';
import { closeFd, closeFds, duplicateFd } from '../../sys/fd.js';
import { Interrupt } from '../../sys/interrupt.js';
import { ERRNO } from '../../sys/libc.js';
import { checkMappable } from '../../sys/memfd.js';
import { Mapping } from '../../sys/memory.js';
import { MAX_FDS } from '../../sys/socket.js';
import type { IrqDetails, RegionDetails } from '../details.js';
import { DmaMappings } from '../dma-mappings.js';
import { IovaAllocator } from '../iova-allocator.js';
import type { DmaRegion, RegionInfo, Transport, WakeFd } from '../transport.js';
import { Connection, type Message } from './connection.js';
import { parseIoFds, parseRegion, regionAccess } from './regions.js';
import { decodeVersion, encodeVersion, type Version } from './version.js';

interface Waiting {
  command: number;
  timer: NodeJS.Timeout | undefined;
  resolve: (message: Message) => void;
  reject: (error: Error) => void;
}

/** Room for a region's information and its capabilities; what the descriptor is sent for (see `argsz`). */
const REGION_INFO_ROOM = 4096;
const MAX_IO_FDS = 8;

/**
 * Addresses for drivers that do not name memory by where this process has it, as wva does: below everything that
 * mmap(2) gives.
 */
const IOVA_RANGE = { start: 2 ** 16, last: 2 ** 40 - 1 };

/** Names of commands by number, for error messages. */
const COMMAND_NAME = new Map<number, string>(Object.entries(COMMAND).map(([name, value]) => [value, name]));

/** The client end of vfio-user: a Transport over a connected UNIX socket. */
export class VfioUserTransport implements Transport {
  readonly name: string;
  regions = 0;
  irqs = 0;
  /** DEVICE_FLAG. */
  flags = 0;
  readonly unsafe: readonly string[] = [];
  #negotiated: Version | undefined;
  readonly #connection: Connection;
  readonly #waiting = new Map<number, Waiting>();
  readonly #regions = new Map<number, RegionDetails>();
  readonly #iovas = new IovaAllocator([IOVA_RANGE]);
  readonly #mappings = new DmaMappings();
  #nextId = 1;
  #lost: Error | undefined;
  #onLost: ((reason: Error) => void) | undefined;
  #closing = false;
  readonly #nudge: () => void;
  readonly #answerMs: number | undefined;

  private constructor(fd: number, name: string, nudge: () => void, answerMs: number | undefined) {
    this.name = name;
    this.#nudge = nudge;
    this.#answerMs = answerMs;
    this.#connection = new Connection(
      fd,
      (message) => this.#receive(message),
      (reason) => this.#end(reason),
    );
    this.#connection.onSent = nudge;
  }

  /**
   * Takes over a connected socket, agrees on a version and asks what the device offers. `nudge` is called whenever
   * something has been sent, for a device that does not watch its socket. A device that takes longer than `answerMs` for one
   * answer is given up.
   * @throws ProtocolError if the other end speaks no vfio-user, DeadlineError if it does not answer in time.
   */
  static async connect(
    fd: number,
    name: string,
    nudge: () => void = () => {},
    answerMs?: number,
  ): Promise<VfioUserTransport> {
    const transport = new VfioUserTransport(fd, name, nudge, answerMs);
    try {
      await transport.#negotiate();
      return transport;
    } catch (error) {
      await transport.close();
      throw error;
    }
  }

  /** What was agreed on: the version, and what the device says of itself. */
  get negotiated(): Version {
    return this.#negotiated!;
  }

  async #negotiate(): Promise<void> {
    const proposal = encodeVersion(PROTOCOL_MAJOR, PROTOCOL_MINOR, {
      maxMessageFds: MAX_FDS,
      maxTransferBytes: MAX_TRANSFER_BYTES,
    });
    const { body } = await this.#ask(COMMAND.version, proposal, VERSION_FIXED.bytes);
    const version = decodeVersion(body);
    if (version.major !== PROTOCOL_MAJOR || version.minor > PROTOCOL_MINOR) {
      const spoken = `${version.major}.${version.minor}`;
      throw new ProtocolError(
        `${this.name} speaks vfio-user ${spoken}, and ${PROTOCOL_MAJOR}.${PROTOCOL_MINOR} was proposed`,
      );
    }
    if (version.capabilities.maxTransferBytes === 0) throw new ProtocolError(`${this.name} takes no data`);
    this.#negotiated = version;
    const request = Buffer.alloc(DEVICE_INFO.bytes);
    request.writeUInt32LE(DEVICE_INFO.bytes, DEVICE_INFO.offset.argsz);
    const info = await this.#ask(COMMAND.getInfo, request, DEVICE_INFO.bytes);
    this.flags = info.body.readUInt32LE(DEVICE_INFO.offset.flags);
    this.regions = info.body.readUInt32LE(DEVICE_INFO.offset.numRegions);
    this.irqs = info.body.readUInt32LE(DEVICE_INFO.offset.numIrqs);
  }

  /** The most bytes that one message may move. */
  get #transferBytes(): number {
    return Math.min(MAX_TRANSFER_BYTES, this.negotiated.capabilities.maxTransferBytes);
  }

  async regionInfo(index: number): Promise<RegionInfo> {
    const { length, read, write, areas } = await this.regionDetails(index);
    return { index, length, read, write, areas };
  }

  async regionDetails(index: number): Promise<RegionDetails> {
    const known = this.#regions.get(index);
    if (known) return known;
    const { body, fds } = await this.#askRegion(index);
    const fd = fds.shift();
    closeFds(fds);
    try {
      const region = parseRegion(index, body, fd);
      this.#regions.set(index, region);
      return region;
    } catch (error) {
      if (fd !== undefined) closeFd(fd);
      throw error;
    }
  }

  /** Asks for a region; once more where the first answer had no room for all. */
  async #askRegion(index: number): Promise<Message> {
    for (let room = REGION_INFO_ROOM; ; ) {
      const request = Buffer.alloc(REGION_INFO.bytes);
      request.writeUInt32LE(room, REGION_INFO.offset.argsz);
      request.writeUInt32LE(index, REGION_INFO.offset.index);
      const reply = await this.#ask(COMMAND.getRegionInfo, request, REGION_INFO.bytes);
      const needed = reply.body.readUInt32LE(REGION_INFO.offset.argsz);
      if (needed <= room || room > REGION_INFO_ROOM || needed > MAX_TRANSFER_BYTES) return reply;
      closeFds(reply.fds);
      room = needed;
    }
  }

  async readRegion(index: number, offset: number, length: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let at = 0; at < length || pieces.length === 0; ) {
      const count = Math.min(length - at, this.#transferBytes);
      const request = regionAccess(index, offset + at, count);
      const { body } = await this.#ask(COMMAND.regionRead, request, REGION_ACCESS.bytes + count);
      pieces.push(body.subarray(REGION_ACCESS.bytes, REGION_ACCESS.bytes + count));
      at += count;
    }
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  }

  async writeRegion(index: number, offset: number, data: Uint8Array): Promise<void> {
    let at = 0;
    do {
      const piece = data.subarray(at, at + this.#transferBytes);
      const body = Buffer.concat([regionAccess(index, offset + at, piece.byteLength), piece]);
      await this.#ask(COMMAND.regionWrite, body, REGION_ACCESS.bytes);
      at += piece.byteLength;
    } while (at < data.byteLength);
  }

  async mapRegion(index: number, offset: number, length: number): Promise<Mapping> {
    const region = await this.regionDetails(index);
    const inside = region.areas.some((a) => offset >= a.offset && offset + length <= a.offset + a.length);
    if (region.fd === undefined || !inside) {
      throw new ArgumentError(`region ${index} of ${this.name} cannot be mapped at ${offset} for ${length}`);
    }
    checkMappable(region.fd, region.fdOffset + offset, length);
    return Mapping.shared(region.fd, region.fdOffset + offset, length, region.write ? 'read-write' : 'read');
  }

  async wakeFds(index: number): Promise<WakeFd[]> {
    const request = Buffer.alloc(REGION_IO_FDS.bytes);
    const room = REGION_IO_FDS.bytes + MAX_IO_FDS * MAX_IO_FD_ENTRY_BYTES;
    request.writeUInt32LE(room, REGION_IO_FDS.offset.argsz);
    request.writeUInt32LE(index, REGION_IO_FDS.offset.index);
    const { body, fds } = await this.#ask(COMMAND.getRegionIoFds, request, REGION_IO_FDS.bytes);
    const wakeFds: WakeFd[] = [];
    try {
      for (const { offset, length, fdIndex, type } of parseIoFds(body, fds.length)) {
        // Several ranges may share a descriptor, and the caller closes each.
        if (type === IO_FD_TYPE.ioeventfd) wakeFds.push({ offset, length, fd: duplicateFd(fds[fdIndex]!) });
      }
    } catch (error) {
      for (const { fd } of wakeFds) closeFd(fd);
      throw error;
    } finally {
      closeFds(fds);
    }
    return wakeFds;
  }

  async irqDetails(index: number): Promise<IrqDetails> {
    const request = Buffer.alloc(IRQ_INFO.bytes);
    request.writeUInt32LE(IRQ_INFO.bytes, IRQ_INFO.offset.argsz);
    request.writeUInt32LE(index, IRQ_INFO.offset.index);
    const { body } = await this.#ask(COMMAND.getIrqInfo, request, IRQ_INFO.bytes);
    return {
      flags: body.readUInt32LE(IRQ_INFO.offset.flags),
      count: body.readUInt32LE(IRQ_INFO.offset.count),
    };
  }

  async irqCount(index: number): Promise<number> {
    return (await this.irqDetails(index)).count;
  }

  async setIrqs(index: number, start: number, eventfds: readonly number[]): Promise<void> {
    const most = Math.min(MAX_FDS, this.negotiated.capabilities.maxMessageFds);
    if (eventfds.length > most) {
      throw new ArgumentError(`at most ${most} interrupts can be routed at once`);
    }
    const flags = IRQ_SET_FLAG.eventfd | IRQ_SET_FLAG.trigger;
    await this.#sendIrqs(flags, index, start, eventfds.length, [...eventfds]);
  }

  async unmaskIrqs(index: number, start: number, count: number): Promise<void> {
    await this.#sendIrqs(IRQ_SET_FLAG.none | IRQ_SET_FLAG.unmask, index, start, count, []);
  }

  async #sendIrqs(flags: number, index: number, start: number, count: number, fds: number[]): Promise<void> {
    const body = Buffer.alloc(IRQ_SET.bytes);
    body.writeUInt32LE(IRQ_SET.bytes, IRQ_SET.offset.argsz);
    body.writeUInt32LE(flags, IRQ_SET.offset.flags);
    body.writeUInt32LE(index, IRQ_SET.offset.index);
    body.writeUInt32LE(start, IRQ_SET.offset.start);
    body.writeUInt32LE(count, IRQ_SET.offset.count);
    await this.#ask(COMMAND.setIrqs, body, 0, fds);
  }

  createInterrupt(): Interrupt {
    return new Interrupt();
  }

  reserveIova(length: number): number {
    return this.#iovas.reserve(length);
  }

  releaseIova(iova: number): void {
    this.#iovas.release(iova);
  }

  async dmaMap(region: DmaRegion): Promise<void> {
    const body = Buffer.alloc(DMA_MAP.bytes);
    body.writeUInt32LE(DMA_MAP.bytes, DMA_MAP.offset.argsz);
    body.writeUInt32LE(DMA_FLAG.read | (region.writable ? DMA_FLAG.write : 0), DMA_MAP.offset.flags);
    body.writeBigUInt64LE(BigInt(region.offset), DMA_MAP.offset.offset);
    body.writeBigUInt64LE(BigInt(region.iova), DMA_MAP.offset.address);
    body.writeBigUInt64LE(BigInt(region.length), DMA_MAP.offset.size);
    await this.#ask(COMMAND.dmaMap, body, 0, [region.fd]);
    this.#mappings.add(region);
  }

  async dmaUnmap(iova: number, length: number): Promise<void> {
    const body = Buffer.alloc(DMA_UNMAP.bytes);
    body.writeUInt32LE(DMA_UNMAP.bytes, DMA_UNMAP.offset.argsz);
    body.writeBigUInt64LE(BigInt(iova), DMA_UNMAP.offset.address);
    body.writeBigUInt64LE(BigInt(length), DMA_UNMAP.offset.size);
    await this.#ask(COMMAND.dmaUnmap, body, DMA_UNMAP.bytes);
    this.#mappings.remove(iova);
  }

  whyUnreachable(iova: number, length: number, access: 'read' | 'write'): DmaError | undefined {
    return this.#mappings.whyUnreachable(iova, length, access);
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
      const timer = this.#answerMs === undefined ? undefined : setTimeout(() => this.#late(), this.#answerMs);
      this.#waiting.set(id, {
        command,
        timer,
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
    });
  }

  #late(): void {
    this.abandon(new DeadlineError(`${this.name} did not answer within ${this.#answerMs} ms`));
  }

  #receive(message: Message): void {
    const waiting = message.isReply ? this.#waiting.get(message.id) : undefined;
    if (!waiting || waiting.command !== message.command) {
      closeFds(message.fds);
      // Nothing but the answer can come before a version is agreed on.
      if (!this.#negotiated)
        this.#connection.fail(new ProtocolError(`${this.name} does not speak vfio-user`));
      else if (!message.isReply && message.wantsReply) this.#refuse(message);
      return;
    }
    this.#waiting.delete(message.id);
    clearTimeout(waiting.timer);
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

  /** A command of the server: for memory that it has not, since all that is mapped here comes with a descriptor. */
  #refuse({ id, command }: Message): void {
    this.#connection.send(id, command, MESSAGE_TYPE.reply | MESSAGE_FLAG.error, ERRNO.EOPNOTSUPP);
  }

  #end(reason: Error): void {
    if (this.#lost) return;
    this.#lost = reason;
    for (const region of this.#regions.values()) {
      if (region.fd !== undefined) closeFd(region.fd);
    }
    this.#regions.clear();
    for (const waiting of this.#waiting.values()) {
      clearTimeout(waiting.timer);
      waiting.reject(reason);
    }
    this.#waiting.clear();
    if (!this.#closing) this.#onLost?.(reason);
  }
}
