import { HEADER, MAX_MESSAGE_BYTES, MESSAGE_FLAG, MESSAGE_TYPE } from '../../abi/vfio-user.js';
import { ClosedError, ProtocolError } from '../../errors.js';
import { closeFds } from '../../sys/fd.js';
import { ERRNO, type Watch, watch } from '../../sys/libc.js';
import { MAX_FDS, receiveBytes, sendBytes } from '../../sys/socket.js';

/** One vfio-user message. Whoever receives it owns its descriptors. */
export interface Message {
  id: number;
  command: number;
  isReply: boolean;
  wantsReply: boolean;
  /** errno of an error reply, else 0. */
  error: number;
  body: Buffer;
  fds: number[];
}

interface Outgoing {
  bytes: Uint8Array;
  fds: number[];
  /** Closed once they have gone, or never will. */
  owned: number[];
}

/** Messages being worked on, and answers not yet taken, beyond which nothing more is received. */
const MAX_UNFINISHED = 16;
const MAX_UNSENT = 16;
const RETRY_MS = 1;

const NOTHING = Buffer.alloc(0);

/**
 * Frames vfio-user messages on a UNIX stream socket, for either end. Messages may arrive in pieces and may be
 * pipelined. The header is read by itself, so that descriptors are known to belong to the message they came with.
 */
export class Connection {
  readonly #fd: number;
  readonly #onMessage: (message: Message) => void;
  readonly #onEnd: (reason: Error) => void;
  #reader: Watch | undefined;
  readonly #header = Buffer.alloc(HEADER.bytes);
  #target = this.#header;
  #filled = 0;
  #fds: number[] = [];
  #outgoing: Outgoing[] = [];
  #retry: NodeJS.Timeout | undefined;
  #unfinished = 0;
  #receiving = false;
  #relisten = false;
  #closed = false;

  /**
   * Takes over the socket; nothing is received until `listen`, or each `receive`. `onEnd` is called once when the peer
   * hangs up or breaks the protocol.
   */
  constructor(fd: number, onMessage: (message: Message) => void, onEnd: (reason: Error) => void) {
    this.#fd = fd;
    this.#onMessage = onMessage;
    this.#onEnd = onEnd;
  }

  /** Receives whatever comes, and keeps the event loop alive, until `unlisten`. */
  listen(): void {
    if (!this.#closed) this.#reader ??= watch(this.#fd, 'readable', () => this.receive());
  }

  unlisten(): void {
    this.#reader?.close();
    this.#reader = undefined;
  }

  /** Sends one message. Descriptors stay the caller's, and open while the connection is; but for those that are `owned`. */
  send(
    id: number,
    command: number,
    flags: number,
    error: number,
    body: Uint8Array = NOTHING,
    fds: number[] = [],
    owned: number[] = [],
  ): void {
    if (this.#closed) {
      closeFds(owned);
      return;
    }
    const message = Buffer.allocUnsafe(HEADER.bytes + body.byteLength);
    message.writeUInt16LE(id, HEADER.offset.id);
    message.writeUInt16LE(command, HEADER.offset.command);
    message.writeUInt32LE(message.length, HEADER.offset.size);
    message.writeUInt32LE(flags, HEADER.offset.flags);
    message.writeUInt32LE(error, HEADER.offset.error);
    message.set(body, HEADER.bytes);
    this.#outgoing.push({ bytes: message, fds, owned });
    if (this.#outgoing.length === 1) this.#flush();
  }

  #flush(): void {
    try {
      for (;;) {
        const first = this.#outgoing[0];
        if (!first) break;
        const sent = sendBytes(this.#fd, first.bytes, first.fds);
        if (sent < 0) {
          // Not watched: a watch must not be open when a thread is terminated.
          this.#retry = setTimeout(() => this.#flush(), RETRY_MS);
          return;
        }
        first.fds = [];
        closeFds(first.owned);
        first.bytes = first.bytes.subarray(sent);
        if (first.bytes.byteLength === 0) this.#outgoing.shift();
      }
      this.#resume();
    } catch (error) {
      this.#end(error as Error);
    }
  }

  /**
   * Receives what has come. A peer that sends faster than it is served, or does not read what it is sent, is held back:
   * nothing more is received until it has been.
   */
  receive(): void {
    if (this.#receiving) return;
    this.#receiving = true;
    try {
      while (!this.#closed && !this.#heldBack) {
        if (this.#filled < this.#target.length) {
          const count = receiveBytes(this.#fd, this.#target.subarray(this.#filled), this.#fds);
          if (count < 0) return;
          if (count === 0) {
            this.#end(new ClosedError('the other end closed the connection'));
            return;
          }
          if (this.#fds.length > MAX_FDS) throw new ProtocolError('a message carries too many descriptors');
          this.#filled += count;
          if (this.#filled < this.#target.length) continue;
        }
        this.#advance();
      }
    } catch (error) {
      this.#end(error as Error);
    } finally {
      this.#receiving = false;
    }
    // A watch would report again and again what is not being received.
    if (this.#reader && !this.#closed && this.#heldBack) {
      this.unlisten();
      this.#relisten = true;
    }
  }

  get #heldBack(): boolean {
    return this.#unfinished >= MAX_UNFINISHED || this.#outgoing.length > MAX_UNSENT;
  }

  #resume(): void {
    if (this.#relisten && !this.#heldBack) {
      this.#relisten = false;
      this.listen();
    }
    this.receive();
  }

  /** The receiver is about to work on a message for a while; `finished` when it is done. */
  started(): void {
    this.#unfinished++;
  }

  finished(): void {
    this.#unfinished--;
    this.#resume();
  }

  /** A whole header or a whole message has arrived. */
  #advance(): void {
    const size = this.#header.readUInt32LE(HEADER.offset.size);
    if (this.#target === this.#header) {
      if (size < HEADER.bytes || size > MAX_MESSAGE_BYTES) {
        throw new ProtocolError(`a message claims ${size} bytes`);
      }
      if (size > HEADER.bytes) {
        this.#target = Buffer.alloc(size - HEADER.bytes);
        this.#filled = 0;
        return;
      }
    }
    const body = this.#target === this.#header ? NOTHING : this.#target;
    const fds = this.#fds;
    this.#fds = [];
    this.#target = this.#header;
    this.#filled = 0;
    const flags = this.#header.readUInt32LE(HEADER.offset.flags);
    this.#onMessage({
      id: this.#header.readUInt16LE(HEADER.offset.id),
      command: this.#header.readUInt16LE(HEADER.offset.command),
      isReply: (flags & MESSAGE_TYPE.mask) === MESSAGE_TYPE.reply,
      wantsReply: (flags & MESSAGE_FLAG.noReply) === 0,
      // Which error may be left open.
      error:
        (flags & MESSAGE_FLAG.error) !== 0 ? this.#header.readUInt32LE(HEADER.offset.error) || ERRNO.EIO : 0,
      body,
      fds,
    });
  }

  /** The peer has broken the protocol in a way that only the receiver of messages can see. */
  fail(reason: Error): void {
    this.#end(reason);
  }

  #end(reason: Error): void {
    if (this.#closed) return;
    this.close();
    this.#onEnd(reason);
  }

  /** Closes the socket. Calling it again does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.unlisten();
    clearTimeout(this.#retry);
    for (const { owned } of this.#outgoing) closeFds(owned);
    this.#outgoing = [];
    closeFds(this.#fds);
    closeFds([this.#fd]);
  }
}
