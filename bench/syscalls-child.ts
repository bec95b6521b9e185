import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { deflateRaw } from 'node:zlib';
import { Completion, open, Submission } from '../src/index.js';
import { MARK } from './trace.js';

/*
 * Makes requests between two marks that a trace of its system calls shows: `warpdrive COUNT` polls a queue,
 * `zlib COUNT` awaits compressions of one byte. Prints which thread was busiest meanwhile, but for its own.
 */

const [, , side, text] = process.argv;
const count = Number(text);
const WARM_UP = 50_000;

/** Processor time of each thread but the first, in clock ticks. */
function ticks(): Map<string, number> {
  const threads = readdirSync('/proc/self/task').filter((thread) => thread !== String(process.pid));
  return new Map(
    threads.map((thread) => {
      // proc(5): after the name, which is in parentheses, utime and stime are the 12th and the 13th field.
      const fields = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ');
      return [thread, Number(fields[11]) + Number(fields[12])];
    }),
  );
}

const before = ticks();

if (side === 'warpdrive') {
  const accelerator = await open();
  const queue = await accelerator.requestQueue();
  const submission = new Submission();
  const completion = new Completion();
  const poll = (requests: number): void => {
    for (let index = 0; index < requests; index++) {
      queue.send(submission);
      while (!queue.recv(completion));
    }
  };
  poll(WARM_UP);
  existsSync(MARK.begin);
  poll(count);
  existsSync(MARK.end);
  print();
  await accelerator.close();
} else {
  const deflate = promisify(deflateRaw) as (input: Buffer) => Promise<Buffer>;
  const byte = Buffer.from('a');
  await deflate(byte);
  existsSync(MARK.begin);
  for (let index = 0; index < count; index++) await deflate(byte);
  existsSync(MARK.end);
  print();
}

function print(): void {
  const spent = [...ticks()].map(([thread, now]) => ({ thread, ticks: now - (before.get(thread) ?? 0) }));
  spent.sort((a, b) => b.ticks - a.ticks);
  process.stdout.write(JSON.stringify({ client: String(process.pid), engine: spent[0]!.thread }));
}
