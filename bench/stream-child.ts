import { createReadStream, createWriteStream, readFileSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import * as node from 'node:zlib';
import * as warpdrive from '../src/compat/zlib/index.js';

/*
 * One file through one stream, `SIDE gzip LEVEL FROM TO` or `SIDE gunzip 0 FROM TO`: prints the seconds that took, and by
 * how much the process's resident memory has grown at its peak.
 */

const [, , side, direction, level, from, to] = process.argv;
const zlib = side === 'warpdrive' ? warpdrive : node;

/** A figure of /proc/self/status, in bytes. */
function status(field: string): number {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(match![1]) * 1024;
}

const before = status('VmRSS');
const started = performance.now();
const stream = direction === 'gzip' ? zlib.createGzip({ level: Number(level) }) : zlib.createGunzip();
await pipeline(createReadStream(from!), stream, createWriteStream(to!));
const seconds = (performance.now() - started) / 1000;
process.stdout.write(JSON.stringify({ seconds, growth: status('VmHWM') - before }));
