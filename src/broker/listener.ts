import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { SystemError } from '../errors.js';
import { closeFd, setNonBlocking } from '../sys/fd.js';
import { ERRNO } from '../sys/libc.js';
import { isListening, listenUnix } from '../sys/unix-socket.js';
import { brokerInfoSocket, SYSTEM_BROKER_SOCKET } from '../transport/broker-socket.js';
import { moduleLogger } from './log.js';

/** The first descriptor that socket activation passes (sd_listen_fds(3)). */
const FIRST_PASSED_FD = 3;

const logger = moduleLogger('listener');

/** A listening socket, made here or passed by whoever started this process. */
export class Listener {
  readonly fd: number;
  readonly path: string;
  /** The socket's file, where it was made here: device and inode. */
  readonly #file: { dev: number; ino: number } | undefined;
  #closed = false;

  private constructor(fd: number, path: string, file: { dev: number; ino: number } | undefined) {
    this.fd = fd;
    this.path = path;
    this.#file = file;
  }

  /** @throws SystemError that says what is wrong with the path. */
  static listen(path: string, mode: number): Listener {
    try {
      const folder = dirname(SYSTEM_BROKER_SOCKET);
      if (dirname(path) === folder) mkdirSync(folder, { recursive: true, mode: 0o755 });
      const fd = listenUnix(path, mode);
      return new Listener(fd, path, lstatSync(path));
    } catch (cause) {
      throw explain(path, cause);
    }
  }

  /**
   * A socket that this process was started with.
   * @throws SystemError when the descriptor is no listening UNIX socket
   */
  static adopt(fd: number, path: string): Listener {
    if (!isListening(fd)) {
      throw new SystemError('socket activation', ERRNO.EINVAL, `descriptor ${fd} is no listening socket`);
    }
    // A manager passes sockets in blocking mode; an accept(2) in vain would stop the broker.
    setNonBlocking(fd);
    return new Listener(fd, path, undefined);
  }

  /** Changes who may connect; the mode of a socket that was passed is its maker's. */
  chmod(mode: number): void {
    if (this.#isOurs()) chmodSync(this.path, mode);
  }

  /** Whether the path still leads to this socket, and not to somebody else's that has taken its place. */
  #isOurs(): boolean {
    const now = lstatSync(this.path, { throwIfNoEntry: false });
    return this.#file !== undefined && now?.ino === this.#file.ino && now.dev === this.#file.dev;
  }

  /** Stops listening and removes the socket. Calling it again does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (this.#isOurs()) unlinkSync(this.path);
    } catch (error) {
      logger.warning('the socket was not removed', { path: this.path, reason: (error as Error).message });
    }
    closeFd(this.fd);
  }
}

function explain(path: string, cause: unknown): unknown {
  const { errno, code } = cause as NodeJS.ErrnoException;
  if (errno === undefined) return cause;
  const words: Record<number, string> = {
    [ERRNO.EADDRINUSE]: 'somebody listens there already, or it is no socket',
    [ERRNO.ENOENT]: 'its folder does not exist',
    [ERRNO.ENOTDIR]: 'its folder is no folder',
    [ERRNO.EACCES]: 'permission denied',
    [ERRNO.EROFS]: 'the file system is read-only',
  };
  const reason = words[Math.abs(errno)] ?? (cause as Error).message ?? code;
  return new SystemError('listen', Math.abs(errno), `cannot listen on ${path}: ${reason}`, { cause });
}

/**
 * The socket for clients, and the one on which the broker tells about itself: passed by a service manager, or made here.
 * @throws SystemError that says what is wrong
 */
export function openListeners(socket: string, mode: number): [Listener, Listener] {
  const passed = passedSockets();
  const open = (path: string, fd: number | undefined): Listener =>
    fd === undefined ? Listener.listen(path, mode) : Listener.adopt(fd, path);
  const clients = open(socket, passed[0]);
  try {
    return [clients, open(brokerInfoSocket(socket), passed[1])];
  } catch (error) {
    clients.close();
    throw error;
  }
}

/**
 * The sockets that this process was started with (sd_listen_fds(3)). The variables are removed: they are not meant for
 * children.
 */
function passedSockets(): number[] {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = process.env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete process.env[name];
  if (pid === undefined || Number(pid) !== process.pid) return [];
  const passed = Number(count);
  if (!Number.isInteger(passed) || passed < 1 || passed > 2) {
    throw new SystemError('socket activation', ERRNO.EINVAL, `1 or 2 sockets can be passed, not ${count}`, {
      hint: 'ListenStream= twice: the socket, and the one with .info at its end',
    });
  }
  return Array.from({ length: passed }, (_, index) => FIRST_PASSED_FD + index);
}
