import crypto, { webcrypto } from 'node:crypto';
import webStreams from 'node:stream/web';
import { CompressionStream, DecompressionStream } from '../web/compression-streams.js';
import { subtle } from '../web/subtle.js';
import { replaceModule } from './replace-module.js';

/** Gives the whole program our `crypto.subtle` and compression streams, wherever it takes them from. */
export function replaceWeb(): void {
  const streams = { CompressionStream, DecompressionStream };
  for (const [name, value] of Object.entries(streams)) {
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
  }
  replaceModule(webStreams, streams);
  const prototype = Object.getPrototypeOf(webcrypto);
  const accessor = Object.getOwnPropertyDescriptor(prototype, 'subtle');
  Object.defineProperty(prototype, 'subtle', { ...accessor, get: () => subtle });
  replaceModule(
    crypto,
    Object.defineProperty({}, 'subtle', { value: subtle, configurable: true, enumerable: true }),
  );
}
