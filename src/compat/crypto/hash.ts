import { Counter } from './counters.js';
import { digestNamed } from './digest-names.js';
import type { TextEncoding } from './encodings.js';
import { type AnyDigest, type DigestWork, makeLightDigest } from './light-digest.js';
import { stock } from './stock.js';
import { Worth } from './worth.js';

const nodeCreateHash = stock['createHash'] as (algorithm: unknown, options?: unknown) => AnyDigest;
const nodeHash = stock['hash'] as (algorithm: unknown, data: unknown, output: unknown) => string;

const LightHash = makeLightDigest(nodeCreateHash('sha256'));
const objects = new Counter('createHash');
const calls = new Counter('hash');

/** Measured: of more, making an object is what costs least. */
const MOST_BYTES = 256;
const MOST_TEXT = 2048;

const worth = new Worth();

/** A hash by node:crypto's way for data that is all there, which makes no object. */
class HashWork implements DigestWork {
  readonly counter = objects;
  readonly worth = worth;
  readonly mostBytes = MOST_BYTES;
  readonly mostText = MOST_TEXT;
  readonly #algorithm: string;

  constructor(algorithm: string) {
    this.#algorithm = algorithm;
  }

  makeNode(): AnyDigest {
    return nodeCreateHash(this.#algorithm);
  }

  finish(data: string | Buffer, encoding: TextEncoding | undefined): string | Buffer {
    if (encoding === undefined) return bytesOf(nodeHash(this.#algorithm, data, 'latin1'));
    return nodeHash(this.#algorithm, data, encoding);
  }
}

/** A buffer of its own from text of one character for each byte. */
function bytesOf(text: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(text.length);
  // So few bytes lie within the object, which a native call would have to move them out of.
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export function createHash(algorithm: unknown, options?: unknown): AnyDigest {
  if (options !== undefined && options !== null) objects.node('option');
  else if (digestNamed(algorithm) === undefined) objects.node('algorithm');
  else if (!worth.isWorthIt()) objects.node('no gain');
  else return new LightHash(new HashWork(algorithm as string));
  return nodeCreateHash(algorithm, options);
}

/** What is wanted as a buffer comes as text first: making a buffer takes node:crypto longer than the rest of it. */
export function hash(algorithm: unknown, data: unknown, output?: unknown): unknown {
  if (output !== 'buffer' || digestNamed(algorithm) === undefined) {
    calls.node('no gain');
    return nodeHash(algorithm, data, output);
  }
  const bytes = bytesOf(nodeHash(algorithm, data, 'latin1'));
  calls.caller++;
  return bytes;
}
