import { HEADER, MAX_MESSAGE_BYTES, MESSAGE_FLAG, MESSAGE_TYPE } from '../../abi/vfio-user.js';
import { ClosedError, ProtocolError } from '../../errors.js';
import { closeFds } from '../../sys/fd.js';
import { ERRNO, type Watch, watch } from '../../sys/libc.js';
import { isUnread, MAX_FDS, receiveBytes, sendBytes } from '../../sys/socket.js';

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
  /** It carried descriptors that there was no room for: they are closed already. */
  lacksFds: boolean;
}

/** How many descriptors a peer may make this process hold with its messages. */
export interface DescriptorShare {
  /** Counts descriptors; false, and none is counted, where there is no room for them. */
  take(count: number): boolean;
  /** Takes back what was counted: they are closed. */
  give(count: number): void;
}

const UNBOUNDED: DescriptorShare = { take: () => true, give: () => {} };

/** For a peer that is to hand over none. */
export const NO_DESCRIPTORS: DescriptorShare = { take: () => false, give: () => {} };

interface Outgoing {
  bytes: Uint8Array;
  fds: number[];
  /** Closed once they have gone, or never will. */
  owned: number[];
}

/** Messages being worked on, and answers not yet taken, beyond which nothing more is received. */
const MAX_UNFINISHED = 16;
const MAX_UNSENT = 16;
/** Between two tries to send: at first, and to a peer that has not read for a while. */
const RETRY_MS = 1;
const MAX_RETRY_MS = 64;

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
  #lacksFds = false;
  readonly #descriptors: DescriptorShare;
  #outgoing: Outgoing[] = [];
  /** Descriptors were sent, and it is not known whether they have been received. */
  #fdsOnTheWay = false;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MS;
  #unfinished = 0;
  #unfinishedWithFds = 0;
  #receiving = false;
  #relisten = false;
  #closed = false;
  /** Called when something has gone, at once or later: for an end that does not watch its socket. */
  onSent: (() => void) | undefined;

  /**
   * Takes over the socket; nothing is received until `listen`, or each `receive`. `onEnd` is called once when the peer
   * hangs up or breaks the protocol. Descriptors that come are counted in `descriptors`; whoever gets a message takes
   * them back from there.
   */
  constructor(
    fd: number,
    onMessage: (message: Message) => void,
    onEnd: (reason: Error) => void,
    descriptors: DescriptorShare = UNBOUNDED,
  ) {
    this.#descriptors = descriptors;
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
        const sent = this.#mayGo(first) ? sendBytes(this.#fd, first.bytes, first.fds) : -1;
        if (sent < 0) {
          // Not watched: a watch must not be open when a thread is terminated.
          this.#retry = setTimeout(() => this.#flush(), this.#retryMs);
          this.#retryMs = Math.min(2 * this.#retryMs, MAX_RETRY_MS);
          return;
        }
        this.#retryMs = RETRY_MS;
        this.onSent?.();
        if (first.fds.length > 0) this.#fdsOnTheWay = true;
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
   * Whether a message may go now. Descriptors on their way count against the limit of the user who sent them, in all of
   * its sockets: a peer that does not read has those of one message on the way, and no more.
   */
  #mayGo({ fds }: Outgoing): boolean {
    if (fds.length === 0 || !this.#fdsOnTheWay) return true;
    this.#fdsOnTheWay = isUnread(this.#fd);
    return !this.#fdsOnTheWay;
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
          const count = this.#receiveSome();
          if (count < 0) return;
          if (count === 0) {
            this.#end(new ClosedError('the other end closed the connection'));
            return;
          }
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

  /** Receives up to the rest of what is being read. Descriptors that there is no room for are closed at once. */
  #receiveSome(): number {
    const fds = this.#fds;
    const before = fds.length;
    const count = receiveBytes(this.#fd, this.#target.subarray(this.#filled), fds);
    if (fds.length > before && !this.#descriptors.take(fds.length - before)) {
      closeFds(fds.splice(before));
      this.#lacksFds = true;
    }
    if (fds.length > MAX_FDS) throw new ProtocolError('a message carries too many descriptors');
    return count;
  }

  /** Beside a message that carries descriptors none is read ahead: a peer makes this process hold those of one. */
  get #heldBack(): boolean {
    return (
      this.#unfinished >= MAX_UNFINISHED || this.#unfinishedWithFds > 0 || this.#outgoing.length > MAX_UNSENT
    );
  }

  #resume(): void {
    if (this.#relisten && !this.#heldBack) {
      this.#relisten = false;
      this.listen();
    }
    this.receive();
  }

  /** The receiver is about to work on a message for a while; `finished`, with the same answer, when it is done. */
  started(carriesFds: boolean): void {
    this.#unfinished++;
    if (carriesFds) this.#unfinishedWithFds++;
  }

  finished(carriesFds: boolean): void {
    this.#unfinished--;
    if (carriesFds) this.#unfinishedWithFds--;
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
    const lacksFds = this.#lacksFds;
    this.#lacksFds = false;
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
      lacksFds,
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
    this.#descriptors.give(this.#fds.length);
    closeFds(this.#fds);
    closeFds([this.#fd]);
  }
}
