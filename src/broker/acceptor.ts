import { SystemError } from '../errors.js';
import { type Watch, watch } from '../sys/libc.js';
import { acceptUnix } from '../sys/unix-socket.js';
import { moduleLogger } from './log.js';

/** Connections taken in one turn of the event loop: a flood of them must not hold up those who are connected. */
const MAX_PER_TURN = 16;
/** How long no connection is taken when the process, or the machine, has run out of descriptors or memory. */
const PAUSE_MS = 250;

const logger = moduleLogger('acceptor');

/** Takes connections of a listening socket, for as long as there are descriptors for them. */
export class Acceptor {
  readonly #fd: number;
  readonly #onConnection: (fd: number) => void;
  #watch: Watch | undefined;
  #pause: NodeJS.Timeout | undefined;
  #troubled = false;

  /** The listening socket stays the caller's; whoever is called owns the connection. */
  constructor(fd: number, onConnection: (fd: number) => void) {
    this.#fd = fd;
    this.#onConnection = onConnection;
  }

  start(): void {
    this.#watch ??= watch(this.#fd, 'readable', () => this.#accept());
  }

  #accept(): void {
    if (!this.#watch) return;
    try {
      for (let taken = 0; taken < MAX_PER_TURN; taken++) {
        const connection = acceptUnix(this.#fd);
        if (connection < 0) {
          if (this.#troubled) logger.info('connections are accepted again');
          this.#troubled = false;
          return;
        }
        this.#onConnection(connection);
      }
      // As many as one turn takes may have been all there were.
      if (this.#troubled) setImmediate(() => this.#accept());
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      // The socket stays readable: to watch it now would be to spin. Said once, until nobody waits any more.
      if (!this.#troubled) logger.error('connections cannot be accepted', { reason: error.message });
      this.#troubled = true;
      this.#rest();
    }
  }

  #rest(): void {
    this.stop();
    this.#pause = setTimeout(() => {
      this.start();
      // A look without being called: nobody may be left, and the trouble be over.
      this.#accept();
    }, PAUSE_MS);
  }

  /** Takes no more; those that wait already are left in the socket's queue. */
  stop(): void {
    clearTimeout(this.#pause);
    this.#watch?.close();
    this.#watch = undefined;
  }
}
