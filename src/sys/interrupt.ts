import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import { closeFd, createEventfd, createPipe, drainPipe, replaceFd, waitReadable } from './fd.js';

/** How long the event loop stays alive for what follows the end of a pipe: that the transport says that the device is gone. */
const LOSS_MS = 1000;

/**
 * An interrupt as its receiver holds it. The device gets `deviceFd` and writes eight bytes to it.
 *
 * By default it is the end of a pipe, whose other end the event loop reads by itself: that stays safe when the thread is
 * terminated at any moment, which a native poll handle on an eventfd does not. And the pipe ends with the device.
 *
 * The kernel signals eventfds only, and those never end. The event loop reads one just as well, but is not to be handed
 * one: so it is handed a pipe, and the eventfd takes the pipe's place before the loop has looked at it.
 */
export class Interrupt {
  readonly deviceFd: number;
  readonly #readFd: number;
  readonly #isEventfd: boolean;
  #socket: Socket | undefined;
  #isWaitedFor = false;
  #afterEnd: NodeJS.Timeout | undefined;
  #handedOver = false;
  #ended = false;
  #closed = false;

  constructor(kind: 'pipe' | 'eventfd' = 'pipe') {
    this.#isEventfd = kind === 'eventfd';
    if (this.#isEventfd) this.#readFd = this.deviceFd = createEventfd();
    else [this.#readFd, this.deviceFd] = createPipe();
  }

  /**
   * The device has its own copy of `deviceFd` by now: this one is closed. From here on the pipe ends when the device, or
   * the process that it lives in, is gone. An eventfd, which is both ends, stays.
   */
  handOver(): void {
    if (this.#handedOver || this.#isEventfd) return;
    this.#handedOver = true;
    closeFd(this.deviceFd);
  }

  /**
   * Whether the pipe has ended, as far as anybody has looked. The socket closes its descriptor a turn of the event loop
   * before it says so: a synchronous wait in between would find nothing to wait for, and never end.
   */
  get ended(): boolean {
    return this.#ended || this.#socket?.destroyed === true;
  }

  /**
   * Calls back on the event loop for each signal, or several at once, and once when the pipe ends. Does not keep the
   * event loop alive.
   */
  listen(onSignal: () => void, onEnd: () => void = () => {}): void {
    const onread: OnReadOpts = {
      buffer: Buffer.alloc(4096),
      callback: () => {
        onSignal();
        return true;
      },
    };
    // The constructor takes `onread` as connect() does; the published types leave it out.
    const fd = this.#isEventfd ? createPipeEnd() : this.#readFd;
    const options: SocketConstructorOpts & { onread: OnReadOpts } = {
      fd,
      readable: true,
      writable: false,
      onread,
    };
    this.#socket = new Socket(options);
    if (this.#isEventfd) replaceFd(fd, this.#readFd);
    this.#socket.on('error', () => {});
    this.#socket.once('close', () => {
      this.#ended = true;
      if (this.#closed) return;
      if (this.#isWaitedFor) this.#holdLoop();
      onEnd();
    });
    this.#socket.resume();
    this.#socket.unref();
  }

  /** From now on the event loop stays alive for this interrupt. */
  ref(): void {
    this.#isWaitedFor = true;
    if (this.#ended) this.#holdLoop();
    else this.#socket?.ref();
  }

  unref(): void {
    this.#isWaitedFor = false;
    this.#socket?.unref();
    clearTimeout(this.#afterEnd);
  }

  /** A closed socket does not: without this, a process could end before it hears that what it waits for is lost. */
  #holdLoop(): void {
    clearTimeout(this.#afterEnd);
    this.#afterEnd = setTimeout(() => {}, LOSS_MS);
  }

  /** Blocks this thread until a signal comes, or for `timeoutMs`; true if one came. */
  waitSync(timeoutMs: number): boolean {
    if (!waitReadable(this.#readFd, timeoutMs)) return false;
    if (!drainPipe(this.#readFd)) this.#ended = true;
    return true;
  }

  /** Closes both ends. Calling it again does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#afterEnd);
    this.#socket?.destroy();
    if (this.#isEventfd || !this.#socket) closeFd(this.#readFd);
    this.handOver();
  }
}

/** The read end of a pipe that nobody writes to. */
function createPipeEnd(): number {
  const [readEnd, writeEnd] = createPipe();
  closeFd(writeEnd);
  return readEnd;
}
