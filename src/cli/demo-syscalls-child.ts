/** What `demo-syscalls.ts` traces: so many requests of one kind, one after the other, and nothing else. */
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { REQUEST_BYTES, REQUEST_LEVEL } from './demo-requests.js';

const [kind, count] = [process.argv[2], Number(process.argv[3])];
const input = Buffer.from('the quick brown fox jumps over the lazy dog; '.repeat(100)).subarray(
  0,
  REQUEST_BYTES,
);
const options = { level: REQUEST_LEVEL };
if (kind === 'zlib') {
  const compress = promisify<Buffer, { level: number }, Buffer>(gzip);
  for (let done = 0; done < count; done++) await compress(input, options);
} else {
  const { open } = await import('../accelerator/open.js');
  const accelerator = await open();
  for (let done = 0; done < count; done++) accelerator.compressSync(input, options);
}
process.exit(0);
