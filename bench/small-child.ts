import { readFileSync } from 'node:fs';
import * as node from 'node:zlib';
import * as warpdrive from '../src/compat/zlib/index.js';

/*
 * Starts COUNT calls of zlib.gzip with 90 bytes at once, `warpdrive COUNT` or `node COUNT`, and prints the seconds until
 * the last has called back, and by how much the process's resident memory has grown at its peak.
 */

const [, , side, text] = process.argv;
const count = Number(text);
const { gzip } = side === 'warpdrive' ? warpdrive : node;
const input = Buffer.from(
  '{"id":1234567,"name":"warp","tags":["a","b"],"at":"2024-01-01T00:00:00Z","ok":true,"n":1}',
);

/** A figure of /proc/self/status, in bytes. */
function status(field: string): number {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(match![1]) * 1024;
}

const before = status('VmRSS');
const started = performance.now();
const results = await Promise.all(
  Array.from(
    { length: count },
    () =>
      new Promise<Buffer>((resolve, reject) => {
        gzip(input, (error, result) => (error ? reject(error) : resolve(result)));
      }),
  ),
);
const seconds = (performance.now() - started) / 1000;
const growth = status('VmHWM') - before;
const wrong = results.findIndex((result) => !node.gunzipSync(result).equals(input));
if (wrong >= 0) throw new Error(`result ${wrong} is not what was compressed`);
process.stdout.write(JSON.stringify({ seconds, growth }));
