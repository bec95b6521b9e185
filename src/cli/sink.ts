import { fstatSync, writev } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { BrokenPipe, describe, errorCode, Failure } from './failure.js';
import { whileBlocking } from './interruption.js';

export const STDOUT_FD = 1;

/** How long to leave a descriptor alone that another process has made non-blocking. */
const AGAIN_MS = 2;

/** Where bytes go: a descriptor, or nowhere at all when only their integrity is wanted. */
export class Sink {
  /** Bytes written so far. */
  count = 0;
  readonly #fd: number | undefined;
  readonly #name: string;
  /** Whether its reader may let us wait: a pipe, a terminal. */
  readonly #mayBlock: boolean;
  #writing: Promise<number> = Promise.resolve(0);

  /** @param name stands in messages */
  constructor(fd: number | undefined, name: string) {
    this.#fd = fd;
    this.#name = name;
    this.#mayBlock = fd !== undefined && !fstatSync(fd).isFile();
  }

  /** Writes all of it, in order. The buffers may be used again when the promise is settled. */
  async write(parts: Uint8Array[]): Promise<void> {
    let rest = parts.filter((part) => part.length > 0);
    while (rest.length > 0) {
      const written = this.#fd === undefined ? total(rest) : await this.#writeSome(this.#fd, rest);
      this.count += written;
      rest = after(rest, written);
    }
  }

  async #writeSome(fd: number, parts: Uint8Array[]): Promise<number> {
    try {
      this.#writing = writeOnce(fd, parts);
      return await (this.#mayBlock ? whileBlocking(this.#writing) : this.#writing);
    } catch (error) {
      if (errorCode(error) === 'EAGAIN') {
        await sleep(AGAIN_MS);
        return 0;
      }
      if (errorCode(error) === 'EPIPE') throw new BrokenPipe();
      throw new Failure(describe(error), { subject: this.#name, cause: error });
    }
  }

  /** Resolves when nobody writes any more. */
  async settled(): Promise<void> {
    await this.#writing.catch(() => {});
  }
}

function writeOnce(fd: number, parts: Uint8Array[]): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(fd, parts, null, (error, written) => {
      if (error) reject(error);
      else resolve(written);
    });
  });
}

function total(parts: Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

/** What is left of parts of which so many bytes are done. */
function after(parts: Uint8Array[], done: number): Uint8Array[] {
  let left = done;
  let first = 0;
  while (first < parts.length && left >= parts[first]!.length) left -= parts[first++]!.length;
  const rest = parts.slice(first);
  if (left > 0) rest[0] = rest[0]!.subarray(left);
  return rest;
}
