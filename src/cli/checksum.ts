import { closeSync, fstatSync, openSync } from 'node:fs';
import { algorithmsOf, type ChecksumAlgorithm, factsOf } from '../abi/algorithms.js';
import type { Accelerator } from '../accelerator/accelerator.js';
import { BrokenPipe, EXIT, EXIT_BROKEN_PIPE, Failure } from './failure.js';
import { FileSummer } from './file-summer.js';
import { helpFor } from './help.js';
import { STDIN_FD } from './input.js';
import { parseOptions } from './options.js';
import { Report } from './report.js';
import { Sink, STDOUT_FD } from './sink.js';
import { Source } from './source.js';
import { type CheckOptions, checkLists, type SumOutcome } from './sum-check.js';
import { byteName, formatSum, pathOf, shownName } from './sum-list.js';

const OPTIONS = {
  algorithm: { type: 'string', short: 'a' },
  check: { type: 'boolean', short: 'c' },
  quiet: { type: 'boolean', short: 'q' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** The command `checksum`: prints checksums of files, or checks a list of them, as sha256sum does. */
export async function runChecksum(args: string[]): Promise<number> {
  const given = parseOptions(args, OPTIONS);
  const { operands, has } = given;
  if (has('help')) {
    process.stdout.write(helpFor('checksum'));
    return EXIT.ok;
  }
  const algorithm = toAlgorithm(given.last('algorithm') ?? 'crc32');
  const files = operands.length > 0 ? operands : ['-'];
  const { open } = await import('../accelerator/open.js');
  const accelerator: Accelerator = await open();
  const summer = await FileSummer.create(accelerator, algorithm);
  const kind = { tag: algorithm.toUpperCase(), digits: 2 * factsOf(algorithm).outputBytes! };
  const report = new Report(false);
  const sink = new Sink(STDOUT_FD, 'stdout');
  const sumOf = (name: string): Promise<SumOutcome> => outcomeOf(name, summer);
  try {
    if (has('check')) {
      // One file at a time: the engine goes over parts of one in turn.
      const holds = await checkLists(files, { kind, lanes: 1, sumOf }, checking(has('quiet')), sink, report);
      return holds ? report.exitCode : EXIT.error;
    }
    for (const name of files.map(byteName)) {
      const outcome = await sumOf(name);
      if ('error' in outcome) report.failure(outcome.error, shownName(name));
      else await sink.write([formatSum(kind, { hex: outcome.hex, name }, PLAIN)]);
    }
  } catch (error) {
    if (error instanceof BrokenPipe) return EXIT_BROKEN_PIPE;
    report.failure(error);
  }
  return report.exitCode;
}

const PLAIN = { tag: false, binary: false, zero: false };

function checking(quiet: boolean): CheckOptions {
  return { quiet, status: false, strict: false, warn: false, ignoreMissing: false };
}

function toAlgorithm(text: string): ChecksumAlgorithm {
  const names = algorithmsOf('checksum');
  const found = names.find((name) => name === text);
  if (found) return found;
  throw new Failure(`there is no checksum ${JSON.stringify(text)}; there are ${names.join(', ')}`);
}

async function outcomeOf(name: string, summer: FileSummer): Promise<SumOutcome> {
  try {
    return { hex: await withSource(name, (source) => summer.run(source)) };
  } catch (error) {
    return { error };
  }
}

async function withSource<T>(name: string, use: (source: Source) => Promise<T>): Promise<T> {
  const fd = name === '-' ? STDIN_FD : openSync(pathOf(name), 'r');
  try {
    const stats = fstatSync(fd);
    if (stats.isDirectory()) throw new Failure('is a directory');
    const source = new Source(fd, !stats.isFile());
    try {
      return await use(source);
    } finally {
      await source.end();
    }
  } finally {
    if (fd !== STDIN_FD) closeSync(fd);
  }
}
