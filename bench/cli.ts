import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Budget, compare, type Outcome, type RowPlan, type Suite, scriptPath } from './measure.js';
import { allText } from './text.js';

const MIB = 1024 * 1024;
const BYTES = 256 * MIB;
const QUICK_BYTES = 8 * MIB;
/** Each takes seconds. */
const ROUNDS = 5;
const SHARED_MEMORY = '/dev/shm';
/** Our own program, as it lies beside this one. */
const MAIN = scriptPath('../src/cli/main.js');

export const cli: Suite = {
  name: 'cli',
  rows: [
    compressing('compress-256m-1', 'gzip', 1, 4),
    compressing('compress-256m-6', 'gzip', 6, 2),
    decompressing('decompress-256m', 'gzip', 1.5),
    compressing('compress-256m-1-pigz', 'pigz', 1, 1.5),
    compressing('compress-256m-6-pigz', 'pigz', 6, 1.1),
    decompressing('decompress-256m-pigz', 'pigz', 1),
  ],
};

function compressing(name: string, program: string, level: number, atLeast: number): RowPlan {
  return plan(name, program, atLeast, (file) => ({
    own: ['compress', '-k', '-f', `-${level}`, file],
    baseline: ['-k', '-f', `-${level}`, file],
    result: `${file}.gz`,
  }));
}

function decompressing(name: string, program: string, atLeast: number): RowPlan {
  return plan(name, program, atLeast, (file) => ({
    own: ['decompress', '-k', '-f', `${file}.gz`],
    baseline: ['-d', '-k', '-f', `${file}.gz`],
    result: file,
  }));
}

interface Commands {
  own: string[];
  baseline: string[];
  /** The file that both write. */
  result: string;
}

function plan(name: string, program: string, atLeast: number, commands: (file: string) => Commands): RowPlan {
  return {
    name,
    unit: 's',
    better: 'lower',
    baseline: program,
    target: { of: 'ratio', atLeast },
    run: (budget) => race(budget, program, commands),
  };
}

/** Whole processes, from start to end, on a file in memory or in the page cache. */
async function race(budget: Budget, program: string, commands: (file: string) => Commands): Promise<Outcome> {
  const none = { value: [], baseline: [] };
  if (spawnSync(program, ['--version']).error) {
    return { samples: none, skipped: `there is no ${program} on this machine` };
  }
  if (!existsSync(MAIN)) return { samples: none, skipped: 'this build has no command line program' };
  const bytes = budget.quick ? QUICK_BYTES : BYTES;
  const folder = mkdtempSync(join(roomFor(3 * bytes), 'warpdrive-bench-'));
  try {
    const file = join(folder, 'text');
    writeText(file, bytes);
    const packed = spawnSync('gzip', ['-k', '-6', file], { stdio: 'inherit' });
    if (packed.status !== 0)
      return { samples: none, skipped: 'gzip, which makes the input, failed or is missing' };
    const { own, baseline, result } = commands(file);
    const samples = await compare(
      ROUNDS,
      () => seconds(process.execPath, [MAIN, ...own]),
      () => seconds(program, baseline),
    );
    const check = spawnSync('gzip', ['-d', '-c', `${file}.gz`], { maxBuffer: 2 * bytes });
    if (!readFileSync(file).equals(check.stdout)) throw new Error(`${result} does not hold what it should`);
    return { samples, notes: [`${bytes / MIB} MiB of text in ${folder}; whole processes, start to end`] };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A folder for temporary files: in memory if there is room. */
export function roomFor(bytes: number): string {
  if (!existsSync(SHARED_MEMORY)) return tmpdir();
  const { bavail, bsize } = statfsSync(SHARED_MEMORY);
  return bavail * bsize > 2 * bytes ? SHARED_MEMORY : tmpdir();
}

/** Text repeats only at distances that no window of deflate (32 KiB) sees. */
export function writeText(file: string, bytes: number): void {
  const text = allText();
  const fd = openSync(file, 'wx');
  for (let left = bytes; left > 0; ) left -= writeSync(fd, text, 0, Math.min(left, text.length));
  closeSync(fd);
}

function seconds(command: string, args: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve((performance.now() - started) / 1000);
      else reject(new Error(`${command} ${args.join(' ')} ended with ${signal ?? code}`));
    });
  });
}
