import { COMMAND, DMA_ACCESS, DMA_WRITE_REPLY_BYTES, MESSAGE_TYPE } from '../abi/vfio-user.js';
import { ProtocolError, SystemError } from '../errors.js';
import type { Connection, Message } from '../transport/vfio-user/connection.js';

/** How long a client may take for one answer before it is given up. */
const ANSWER_MS = 5000;

interface Waiting {
  command: number;
  address: number;
  count: number;
  timer: NodeJS.Timeout;
  resolve: (body: Buffer) => void;
  reject: (error: Error) => void;
}

export interface DmaChannelOptions {
  /** The most bytes in one command: the least of what either side takes. */
  pieceBytes: number;
  /** The socket is nobody else's: it is watched while an answer is due. */
  watches: boolean;
  /** Called once for a client that answers wrongly, or not in time. */
  onBroken: (reason: Error) => void;
}

/**
 * The server's own commands: DMA_READ and DMA_WRITE, by which it reaches memory that the client keeps to itself. They go
 * over the twin socket, or over the one on which the client's commands come: there the type bits tell its answers from
 * its commands, and the ids of each direction are its sender's. Every answer is checked; an error in one is the
 * client's say, and ends the transfer alone.
 */
export class DmaChannel {
  readonly #connection: Connection;
  readonly #options: DmaChannelOptions;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 0;
  #gone: Error | undefined;

  constructor(connection: Connection, options: DmaChannelOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  /**
   * Reads client memory into `target`.
   * @throws SystemError with the errno that the client answered; any other error means that the client is gone.
   */
  async read(address: number, target: Uint8Array): Promise<void> {
    for (let at = 0; at < target.byteLength; ) {
      const count = Math.min(target.byteLength - at, this.#options.pieceBytes);
      const body = await this.#ask(COMMAND.dmaRead, address + at, count);
      target.set(body.subarray(DMA_ACCESS.bytes), at);
      at += count;
    }
  }

  /** Writes client memory; done once the client has said so. Throws as `read` does. */
  async write(address: number, data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.byteLength; ) {
      const count = Math.min(data.byteLength - at, this.#options.pieceBytes);
      await this.#ask(COMMAND.dmaWrite, address + at, count, data.subarray(at, at + count));
      at += count;
    }
  }

  #ask(command: number, address: number, count: number, data?: Uint8Array): Promise<Buffer> {
    if (this.#gone) return Promise.reject(this.#gone);
    const body = Buffer.alloc(DMA_ACCESS.bytes + (data?.byteLength ?? 0));
    body.writeBigUInt64LE(BigInt(address), DMA_ACCESS.offset.address);
    body.writeBigUInt64LE(BigInt(count), DMA_ACCESS.offset.count);
    if (data) body.set(data, DMA_ACCESS.bytes);
    while (this.#waiting.has(this.#nextId)) this.#nextId = (this.#nextId + 1) & 0xffff;
    const id = this.#nextId;
    this.#nextId = (this.#nextId + 1) & 0xffff;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.fail(`no answer to command ${command} within ${ANSWER_MS} ms`),
        ANSWER_MS,
      );
      this.#waiting.set(id, { command, address, count, timer, resolve, reject });
      if (this.#options.watches) this.#connection.listen();
      this.#connection.send(id, command, MESSAGE_TYPE.command, 0, body);
    });
  }

  /** Takes an answer of the client; one that nobody waits for is dropped. */
  receive(message: Message): void {
    const waiting = this.#waiting.get(message.id);
    if (!waiting || waiting.command !== message.command) return;
    this.#waiting.delete(message.id);
    clearTimeout(waiting.timer);
    if (this.#waiting.size === 0 && this.#options.watches) this.#connection.unlisten();
    if (message.error !== 0) {
      waiting.reject(new SystemError('vfio-user DMA', message.error, 'refused by the client'));
    } else if (answers(waiting, message.body)) {
      waiting.resolve(message.body);
    } else {
      const reason = this.fail(`a wrong answer to command ${message.command}`);
      waiting.reject(reason);
    }
  }

  /** Gives the client up: what it does makes no sense. */
  fail(text: string): Error {
    const reason = new ProtocolError(text);
    this.close(reason);
    this.#options.onBroken(reason);
    return reason;
  }

  /** The client is gone: whatever waits for it fails. Calling it again does nothing. */
  close(reason: Error): void {
    if (this.#gone) return;
    this.#gone = reason;
    for (const waiting of this.#waiting.values()) {
      clearTimeout(waiting.timer);
      waiting.reject(reason);
    }
    this.#waiting.clear();
  }
}

/** Whether a reply is of the transfer that was asked for. */
function answers({ command, address, count }: Waiting, body: Buffer): boolean {
  const isRead = command === COMMAND.dmaRead;
  if (isRead ? body.length !== DMA_ACCESS.bytes + count : body.length < DMA_WRITE_REPLY_BYTES) return false;
  const wide = body.length >= DMA_ACCESS.bytes;
  const counted = wide
    ? body.readBigUInt64LE(DMA_ACCESS.offset.count)
    : BigInt(body.readUInt32LE(DMA_ACCESS.offset.count));
  return body.readBigUInt64LE(DMA_ACCESS.offset.address) === BigInt(address) && counted === BigInt(count);
}
