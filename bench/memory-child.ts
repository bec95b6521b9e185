import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { deflate, deflateSync } from 'node:zlib';
import { open } from '../src/index.js';

/*
 * Starts COUNT compressions of 90 bytes at once, `warpdrive COUNT` or `zlib COUNT`, and prints by how much the
 * process's resident memory has grown at its peak.
 */

const [, , side, text] = process.argv;
const count = Number(text);
const input = Buffer.from(
  '{"id":1234567,"name":"warp","tags":["a","b"],"at":"2024-01-01T00:00:00Z","ok":true,"n":1}',
);

/** A figure of /proc/self/status, in bytes. */
function status(field: string): number {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(match![1]) * 1024;
}

async function burst(compress: (input: Buffer) => Promise<Buffer>): Promise<number> {
  await compress(input);
  const before = status('VmRSS');
  const results = await Promise.all(Array.from({ length: count }, () => compress(input)));
  const growth = status('VmHWM') - before;
  const expected = deflateSync(input).length;
  const wrong = results.findIndex((result) => Math.abs(result.length - expected) > expected / 2);
  if (wrong >= 0)
    throw new Error(`result ${wrong} has ${results[wrong]!.length} bytes, not about ${expected}`);
  return growth;
}

let growth: number;
if (side === 'warpdrive') {
  const accelerator = await open();
  growth = await burst((data) => accelerator.compress(data, { algorithm: 'deflate' }));
  await accelerator.close();
} else {
  growth = await burst(promisify(deflate) as (input: Buffer) => Promise<Buffer>);
}
process.stdout.write(JSON.stringify({ growth }));
