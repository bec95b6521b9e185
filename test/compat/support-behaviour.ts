import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import type zlib from 'node:zlib';

/** The module under test: node:zlib, or what stands for it. */
export type Zlib = typeof zlib;

/** One thing that programs see of node:zlib: what it resolves with must be the same for both. */
export interface Behaviour {
  name: string;
  see: (zlib: Zlib, node: Zlib) => unknown;
}

/** What is seen of both must be the same. Only what differs is worth printing, and deepEqual prints it. */
export function same(found: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(found, expected)) assert.deepEqual(found, expected);
}

/** Functions and classes by name, untyped: wrong arguments are passed, too. */
// biome-ignore lint/suspicious/noExplicitAny: what is passed is wrong on purpose
export type Loose = Record<string, any>;

/** What callers can tell an error by. */
export function facts(error: unknown): object | undefined {
  if (!error) return undefined;
  const { name, code, errno, message } = error as NodeJS.ErrnoException;
  return { name, code, errno, message };
}

export function hash(bytes: Uint8Array): string {
  return `${bytes.byteLength} ${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`;
}

/** What a function returns or throws. */
export function outcome(call: () => unknown): unknown {
  try {
    const value = call();
    return value instanceof Uint8Array ? hash(value) : typeof value;
  } catch (error) {
    return facts(error);
  }
}

/** What a function of Web Cryptography resolves with, or what callers can tell its error by. */
export async function resolved(call: () => Promise<unknown>): Promise<unknown> {
  try {
    const value = await call();
    return value instanceof ArrayBuffer ? `buffer ${Buffer.from(value).toString('base64')}` : value;
  } catch (error) {
    return facts(error);
  }
}

/** What a function with a callback throws, or calls back with. */
export function called(call: (callback: (...given: unknown[]) => void) => void): Promise<unknown> {
  return new Promise((resolve) => {
    try {
      call((error, value) => {
        resolve({ error: facts(error), value: value instanceof Uint8Array ? hash(value) : typeof value });
      });
    } catch (error) {
      resolve({ thrown: facts(error) });
    }
  });
}

/** What becomes of a stream: its output, its error, and its last events in order. */
export interface Fate {
  output: Buffer;
  error: unknown;
  events: string[];
}

/** Follows a stream to its end. */
export function fate(stream: Duplex): Promise<Fate> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    const seen: Fate = { output: Buffer.alloc(0), error: undefined, events: [] };
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('error', (error) => {
      seen.error = facts(error);
    });
    for (const event of ['finish', 'end', 'error', 'close']) {
      stream.on(event, () => {
        seen.events.push(event);
        if (event !== 'close') return;
        // Whatever comes after would be seen.
        setTimeout(() => resolve({ ...seen, output: Buffer.concat(parts) }), 5);
      });
    }
  });
}

const AWAITED = ['drain', 'close', 'end'];

/** Writes bytes in chunks, waiting where the stream asks for it, and ends it. */
export async function feed(stream: Duplex, bytes: Uint8Array, chunk: number): Promise<void> {
  for (let at = 0; at < bytes.byteLength && !stream.destroyed && !stream.writableEnded; at += chunk) {
    if (stream.write(bytes.subarray(at, at + chunk))) continue;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        for (const event of AWAITED) stream.off(event, go);
        resolve();
      };
      for (const event of AWAITED) stream.on(event, go);
    });
  }
  if (!stream.destroyed) stream.end();
}

/**
 * A stream's fate with bytes fed to it, as far as it must be the same: bytes hashed, and how many it took. After an error
 * that may be more than with node:zlib: the accelerator reads ahead of the output.
 */
export async function fed(stream: Duplex & { bytesWritten: number }, bytes: Uint8Array, chunk: number) {
  const end = fate(stream);
  await feed(stream, bytes, chunk);
  const { output, error, events } = await end;
  return { output: hash(output), error, events, taken: error ? undefined : stream.bytesWritten };
}
