import { spawnSync } from 'node:child_process';
import { gunzipSync } from 'node:zlib';

/** A result differs from what it should be: the one thing that must never happen. */
export class Mismatch extends Error {}

/** Counts what was compared, and throws at the first byte that differs. */
export class Checker {
  results = 0;
  bytes = 0;
  /** Version line of the system's gzip, or undefined where there is none. */
  readonly gzip: string | undefined;

  constructor() {
    const asked = spawnSync('gzip', ['--version'], { encoding: 'utf8' });
    this.gzip = asked.status === 0 ? asked.stdout.split('\n')[0] : undefined;
  }

  /** What node:zlib makes of a gzip stream must be the original. */
  stream(compressed: Uint8Array, original: Uint8Array, what: string): void {
    this.same(gunzipSync(compressed), original, `${what}, as node:zlib reads it,`);
  }

  /** What the system's gzip makes of a file must be the original. */
  file(path: string, original: Uint8Array): void {
    if (this.gzip === undefined) return;
    const test = spawnSync('gzip', ['-t', path], { encoding: 'utf8' });
    if (test.status !== 0) throw new Mismatch(`gzip -t refuses ${path}: ${test.stderr}`);
    const out = spawnSync('gzip', ['-dc', path], { maxBuffer: 2 * original.length + 1024 });
    this.same(out.stdout, original, `${path}, as gzip reads it,`);
  }

  same(actual: Uint8Array, expected: Uint8Array, what: string): void {
    if (Buffer.compare(actual, expected) !== 0) throw new Mismatch(`${what} differs from the original`);
    this.results++;
    this.bytes += expected.length;
  }
}
