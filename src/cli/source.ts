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
    for (;;) {
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

  /** Resolves when nobody reads any more: a descriptor closed earlier could be somebody else's by then. */
  async settled(): Promise<void> {
    await this.#reading.catch(() => {});
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
