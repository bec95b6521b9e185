import { read } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode } from './failure.js';

/** How long to leave a descriptor alone that another process has made non-blocking. */
const AGAIN_MS = 2;

/** Bytes from a descriptor, read straight into device memory. */
export class Source {
  readonly fd: number;
  /** Bytes read so far. */
  count = 0;
  readonly #mayBlock: boolean;
  readonly #start: number | null;
  #reading: Promise<number> = Promise.resolve(0);
  #ended = false;

  /**
   * @param mayBlock set for a pipe or a terminal, which may have nothing to read for a long time
   * @param start where in a file to begin, leaving the descriptor's own position alone; by default that one is used
   */
  constructor(fd: number, mayBlock: boolean, start: number | null = null) {
    this.fd = fd;
    this.#start = start;
    this.#mayBlock = mayBlock;
  }

  /** Reads what is there, as much as fits; 0 at the end. */
  async read(buffer: Uint8Array): Promise<number> {
    while (!this.#ended) {
      try {
        if (this.#mayBlock) await untilReadable(this.fd);
        this.#reading = readOnce(this.fd, buffer, this.#start === null ? null : this.#start + this.count);
        const length = await this.#reading;
        this.count += length;
        return length;
      } catch (error) {
        if (errorCode(error) !== 'EAGAIN') throw error;
        await sleep(AGAIN_MS);
      }
    }
    return 0;
  }

  /** Reads until the buffer is full or the end is reached. */
  async fill(buffer: Uint8Array): Promise<number> {
    let filled = 0;
    while (filled < buffer.length) {
      const length = await this.read(filled === 0 ? buffer : buffer.subarray(filled));
      if (length === 0) break;
      filled += length;
    }
    return filled;
  }

  /**
   * Ends: whoever still reads finds the end. Resolves when nothing is being read any more: a descriptor that is closed
   * earlier could be another file's by then. Something that may block is not waited for.
   */
  async end(): Promise<void> {
    this.#ended = true;
    if (!this.#mayBlock) await this.#reading.catch(() => {});
  }
}

/** A read that blocks its thread would keep the process from ending: it starts when there is something to read. */
async function untilReadable(fd: number): Promise<void> {
  const { waitReadable } = await import('../sys/fd.js');
  if (waitReadable(fd, 0)) return;
  const { watch } = await import('../sys/libc.js');
  await new Promise<void>((resolve) => {
    const watching = watch(fd, 'readable', () => {
      watching.close();
      resolve();
    });
  });
}

function readOnce(fd: number, buffer: Uint8Array, position: number | null): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, buffer.length, position, (error, length) => {
      if (error) reject(error);
      else resolve(length);
    });
  });
}
