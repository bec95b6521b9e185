import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { roomFor, writeText } from './cli.js';
import { type Budget, compare, type Outcome, type RowPlan, runChild, type Suite } from './measure.js';

const MIB = 1024 * 1024;
const BYTES = 256 * MIB;
const QUICK_BYTES = 8 * MIB;
/** Each takes seconds. */
const ROUNDS = 5;

export const stream: Suite = {
  name: 'stream',
  rows: [plan('gzip1', 'gzip', 1, 2), plan('gzip6', 'gzip', 6, 1.2), plan('gunzip', 'gunzip', 6, 1.3)],
};

function plan(name: string, direction: 'gzip' | 'gunzip', level: number, atLeast: number): RowPlan {
  return {
    name,
    unit: 's',
    better: 'lower',
    baseline: 'node:zlib',
    target: { of: 'ratio', atLeast },
    run: (budget) => race(budget, direction, level),
  };
}

/** A file through a stream into another file, both in memory where there is room, each time in a process of its own. */
async function race(budget: Budget, direction: 'gzip' | 'gunzip', level: number): Promise<Outcome> {
  const bytes = budget.quick ? QUICK_BYTES : BYTES;
  const folder = mkdtempSync(join(roomFor(3 * bytes), 'warpdrive-bench-'));
  const text = join(folder, 'text');
  const packed = join(folder, 'packed');
  const result = join(folder, 'result');
  const growth = { warpdrive: 0, node: 0 };
  const run = async (side: 'warpdrive' | 'node'): Promise<number> => {
    const from = direction === 'gzip' ? text : packed;
    const done = await runChild<{ seconds: number; growth: number }>('./stream-child.js', [
      side,
      direction,
      String(level),
      from,
      result,
    ]);
    growth[side] = Math.max(growth[side], done.growth);
    return done.seconds;
  };
  try {
    writeText(text, bytes);
    if (direction === 'gunzip') {
      await pipeline(createReadStream(text), createGzip({ level }), createWriteStream(packed));
    }
    const samples = await compare(
      ROUNDS,
      () => run('warpdrive'),
      () => run('node'),
    );
    await run('warpdrive');
    const own = createReadStream(result);
    const [given, found] = await Promise.all([
      digest(createReadStream(text)),
      digest(direction === 'gzip' ? own.pipe(createGunzip()) : own),
    ]);
    if (given !== found) throw new Error(`${result} does not hold what it should`);
    const memory = `${megabytes(growth.warpdrive)} MB; node:zlib ${megabytes(growth.node)} MB`;
    return {
      samples,
      notes: [`${bytes / MIB} MiB of text in ${folder}`, `resident memory grew by at most ${memory}`],
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function digest(source: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of source) hash.update(chunk);
  return hash.digest('hex');
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
