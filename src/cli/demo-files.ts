import { readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import type { Accelerator } from '../accelerator/accelerator.js';
import { compressArguments } from './arguments.js';
import type { Checker } from './demo-check.js';
import { Machinery } from './machinery.js';
import { Progress } from './progress.js';
import { Report } from './report.js';
import { runTask } from './task.js';

const LEVELS = [1, 6];
const ROUNDS = 3;

export interface FileResult {
  work: string;
  /** Megabytes of text a second: the best of the rounds. */
  warpdrive: number;
  zlib: number;
  /** Compressed size as a share of the text; undefined for decompression. */
  shareWarpdrive: number | undefined;
  shareZlib: number | undefined;
}

/** Compresses the text as a file and back, with the code behind `warpdrive compress`, beside node:zlib. */
export async function measureFiles(
  text: Buffer,
  folder: string,
  accelerator: Accelerator,
  checker: Checker,
): Promise<FileResult[]> {
  const path = join(folder, 'text');
  const packedPath = `${path}.gz`;
  writeFileSync(path, text);
  const task = fileTasks(accelerator);
  const results: FileResult[] = [];
  for (const level of LEVELS) {
    const zlibPath = join(folder, `zlib-${level}`);
    const zlib = async (): Promise<void> =>
      writeFileSync(zlibPath, await promisify<Buffer, object, Buffer>(gzip)(readFileSync(path), { level }));
    const [ours, theirs] = await race(text.length, () => task(`-kf`, `--level=${level}`, path), zlib);
    const packed = readFileSync(packedPath);
    checker.stream(packed, text, packedPath);
    checker.file(packedPath, text);
    results.push({
      work: `compress -${level}`,
      warpdrive: ours,
      zlib: theirs,
      shareWarpdrive: packed.length / text.length,
      shareZlib: readFileSync(zlibPath).length / text.length,
    });
  }
  unlinkSync(path);
  const backPath = join(folder, 'back');
  const zlib = async (): Promise<void> =>
    writeFileSync(backPath, await promisify<Buffer, Buffer>(gunzip)(readFileSync(packedPath)));
  const [ours, theirs] = await race(text.length, () => task('-dkf', packedPath), zlib);
  checker.same(readFileSync(path), text, path);
  // The other way round: what node:zlib has packed.
  await task('-df', '-o', path, '-k', join(folder, 'zlib-6'));
  checker.same(readFileSync(path), text, 'what node:zlib packed');
  return [
    ...results,
    { work: 'decompress', warpdrive: ours, zlib: theirs, shareWarpdrive: undefined, shareZlib: undefined },
  ];
}

function fileTasks(accelerator: Accelerator): (...argv: string[]) => Promise<void> {
  const machinery = new Machinery(accelerator);
  return (...argv) => {
    const args = compressArguments(argv, false);
    return runTask(args.files[0]!, {
      args,
      machinery,
      progress: new Progress(false),
      report: new Report(true),
    });
  };
}

/** Runs both in turn; megabytes a second of each, at its best. */
async function race(
  bytes: number,
  ours: () => Promise<void>,
  theirs: () => Promise<void>,
): Promise<[number, number]> {
  const best: [number, number] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, run] of [ours, theirs].entries()) {
      const started = performance.now();
      await run();
      best[index] = Math.min(best[index]!, performance.now() - started);
    }
  }
  return [bytes / best[0] / 1000, bytes / best[1] / 1000];
}
