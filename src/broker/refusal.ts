import { MESSAGE_FLAG, MESSAGE_TYPE } from '../abi/vfio-user.js';
import { closeFd } from '../sys/fd.js';
import { Connection, NO_DESCRIPTORS } from '../transport/vfio-user/connection.js';

/** Refused connections that are waited for at once, and how long each is. */
const MAX_PENDING = 32;
const PATIENCE_MS = 1000;

/**
 * Turns connections away: the first message of each is answered with the reason, as an errno, so that its sender can
 * tell what happened. Beyond a few at a time they are closed without a word.
 */
export class Refusals {
  readonly #pending = new Set<Connection>();

  /** Takes over the connection. */
  refuse(fd: number, errno: number): void {
    if (this.#pending.size >= MAX_PENDING) {
      closeFd(fd);
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      connection.close();
      this.#pending.delete(connection);
    };
    const connection = new Connection(
      fd,
      ({ id, command }) => {
        connection.send(id, command, MESSAGE_TYPE.reply | MESSAGE_FLAG.error, errno);
        end();
      },
      end,
      NO_DESCRIPTORS,
    );
    const timer = setTimeout(end, PATIENCE_MS).unref();
    this.#pending.add(connection);
    connection.listen();
  }

  /** Hangs up on all that are still waited for. */
  close(): void {
    for (const connection of this.#pending) connection.close();
    this.#pending.clear();
  }
}
