import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import { closeFd, createPipe, drainPipe, waitReadable } from './fd.js';

/**
 * An interrupt as its receiver holds it. The device gets `deviceFd` and writes eight bytes to it, as it would to an
 * eventfd. It is the end of a pipe, because the event loop reads pipes by itself: that stays safe when the thread is
 * terminated at any moment, which a native poll handle on an eventfd does not.
 */
export class Interrupt {
  readonly deviceFd: number;
  readonly #readFd: number;
  #socket: Socket | undefined;
  #handedOver = false;
  #ended = false;
  #closed = false;

  constructor() {
    [this.#readFd, this.deviceFd] = createPipe();
  }

  /**
   * The device has its own copy of `deviceFd` by now: this one is closed. From here on the pipe ends when the device, or
   * the process that it lives in, is gone.
   */
  handOver(): void {
    if (this.#handedOver) return;
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
    const options: SocketConstructorOpts & { onread: OnReadOpts } = {
      fd: this.#readFd,
      readable: true,
      writable: false,
      onread,
    };
    this.#socket = new Socket(options);
    this.#socket.on('error', () => {});
    this.#socket.once('close', () => {
      this.#ended = true;
      if (!this.#closed) onEnd();
    });
    this.#socket.resume();
    this.#socket.unref();
  }

  /** From now on the event loop stays alive for this interrupt. */
  ref(): void {
    this.#socket?.ref();
  }

  unref(): void {
    this.#socket?.unref();
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
    if (this.#socket) this.#socket.destroy();
    else closeFd(this.#readFd);
    this.handOver();
  }
}
