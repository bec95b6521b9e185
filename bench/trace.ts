import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { capture } from './measure.js';

/** Paths that a traced process asks for, to mark what lies between in its trace. */
export const MARK = { begin: '/warpdrive-bench-begin', end: '/warpdrive-bench-end' } as const;

/** System calls between the marks, by name. */
export interface Trace {
  /** Of the thread that set the marks and of the busiest other one. */
  pair: Map<string, number>;
  /** Of all threads. */
  all: Map<string, number>;
}

/** Runs a Node script under strace. It sets the marks and prints `{ client, engine }`, two thread numbers. */
export async function trace(script: string, args: string[]): Promise<Trace> {
  const folder = mkdtempSync(join(tmpdir(), 'warpdrive-bench-'));
  try {
    const out = join(folder, 'trace');
    const command = [process.execPath, script, ...args];
    const printed = await capture('strace', ['-ff', '-qq', '-ttt', '-s', '64', '-o', out, ...command]);
    const threads = JSON.parse(printed) as { client: string; engine: string };
    const logs = new Map<string, string[]>();
    for (const name of readdirSync(folder)) {
      logs.set(name.replace('trace.', ''), readFileSync(join(folder, name), 'utf8').split('\n'));
    }
    const client = logs.get(threads.client) ?? [];
    const begin = client.findIndex((line) => line.includes(MARK.begin));
    const end = client.findIndex((line) => line.includes(MARK.end));
    if (begin < 0 || end < 0)
      throw new Error('strace has not seen the marks: it may not be allowed to trace here');
    const window = { from: timeOf(client[begin]!), to: timeOf(client[end]!) };
    const result: Trace = { pair: new Map(), all: new Map() };
    for (const [thread, lines] of logs) {
      const isOfPair = thread === threads.client || thread === threads.engine;
      for (const line of lines) {
        const name = /^\d+\.\d+ (\w+)\(/.exec(line)?.[1];
        const time = timeOf(line);
        if (name === undefined || time <= window.from || time >= window.to) continue;
        result.all.set(name, (result.all.get(name) ?? 0) + 1);
        if (isOfPair) result.pair.set(name, (result.pair.get(name) ?? 0) + 1);
      }
    }
    return result;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function timeOf(line: string): number {
  return Number.parseFloat(line);
}

/** Calls of all names. */
export function total(calls: Map<string, number>): number {
  return [...calls.values()].reduce((sum, count) => sum + count, 0);
}
