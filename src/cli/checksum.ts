import { closeSync, fstatSync, openSync } from 'node:fs';
import { algorithmsOf, type ChecksumAlgorithm, factsOf } from '../abi/algorithms.js';
import type { Accelerator } from '../accelerator/accelerator.js';
import { BrokenPipe, EXIT, Failure } from './failure.js';
import { FileSummer } from './file-summer.js';
import { helpFor } from './help.js';
import { STDIN_FD } from './input.js';
import { parseOptions } from './options.js';
import { Report } from './report.js';
import { Source } from './source.js';

const OPTIONS = {
  algorithm: { type: 'string', short: 'a' },
  check: { type: 'boolean', short: 'c' },
  quiet: { type: 'boolean', short: 'q' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** The longest list that is read as one. */
const MAX_LIST_BYTES = 256 * 1024 * 1024;

/** The command `checksum`: prints checksums of files, or checks a list of them, as sha256sum does. */
export async function runChecksum(args: string[]): Promise<number> {
  const { options, operands } = parseOptions(args, OPTIONS);
  const has = (name: string): boolean => options.some((option) => option.name === name);
  if (has('help')) {
    process.stdout.write(helpFor('checksum'));
    return EXIT.ok;
  }
  const algorithm = toAlgorithm(options.findLast(({ name }) => name === 'algorithm')?.value ?? 'crc32');
  const files = operands.length > 0 ? operands : ['-'];
  const { open } = await import('../accelerator/open.js');
  const accelerator: Accelerator = await open();
  const summer = await FileSummer.create(accelerator, algorithm);
  const report = new Report(false);
  for (const file of files) {
    try {
      if (has('check')) await checkList(file, summer, report, has('quiet'));
      else print(line(await sumOf(file, summer), file));
    } catch (error) {
      if (error instanceof BrokenPipe) throw error;
      report.failure(error, file);
    }
  }
  return report.exitCode;
}

function toAlgorithm(text: string): ChecksumAlgorithm {
  const names = algorithmsOf('checksum');
  const found = names.find((name) => name === text);
  if (found) return found;
  throw new Failure(`there is no checksum ${JSON.stringify(text)}; there are ${names.join(', ')}`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A file's checksum, as hex digits. */
async function sumOf(file: string, summer: FileSummer): Promise<string> {
  return withSource(file, (source) => summer.run(source));
}

async function withSource<T>(file: string, use: (source: Source) => Promise<T>): Promise<T> {
  const fd = file === '-' ? STDIN_FD : openSync(file, 'r');
  try {
    const stats = fstatSync(fd);
    if (stats.isDirectory()) throw new Failure('is a directory');
    const source = new Source(fd, !stats.isFile());
    try {
      return await use(source);
    } finally {
      await source.settled();
    }
  } finally {
    if (fd !== STDIN_FD) closeSync(fd);
  }
}

/** A line of a list. A name with characters that would break it is escaped, and a backslash before the line says so. */
function line(sum: string, name: string): string {
  const escaped = name.replace(/[\\\n\r]/g, (each) => ESCAPES[each]!);
  return `${escaped === name ? '' : '\\'}${sum}  ${escaped}`;
}

const ESCAPES: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r' };
const LINE = /^(\\?)([0-9a-f]+) [ *](.+)$/i;

/** Takes a line apart; undefined for one that is none. */
function parseLine(text: string, digits: number): { sum: string; name: string } | undefined {
  const [, escaped, sum, name] = LINE.exec(text) ?? [];
  if (sum?.length !== digits || name === undefined) return undefined;
  const plain = name.replace(/\\(.)/g, (_, each: string) =>
    each === 'n' ? '\n' : each === 'r' ? '\r' : each,
  );
  return { sum: sum.toLowerCase(), name: escaped ? plain : name };
}

/** Checks what a list names; all of it, whatever is found. */
async function checkList(file: string, summer: FileSummer, report: Report, quiet: boolean): Promise<void> {
  const digits = 2 * factsOf(summer.algorithm).outputBytes!;
  const lines = (await withSource(file, readAll)).split('\n').filter((text) => text.trim() !== '');
  const entries = lines.map((text) => parseLine(text.replace(/\r$/, ''), digits));
  const known = entries.filter((entry) => entry !== undefined);
  if (known.length === 0) throw new Failure(`has no line of the checksum ${summer.algorithm}`);
  let unread = 0;
  let different = 0;
  for (const { sum, name } of known) {
    let verdict = 'OK';
    try {
      if ((await sumOf(name, summer)) !== sum) {
        different++;
        verdict = 'FAILED';
      }
    } catch (error) {
      unread++;
      verdict = 'FAILED open or read';
      report.failure(error, name);
    }
    if (!quiet || verdict !== 'OK')
      print(`${name.replace(/[\\\n\r]/g, (each) => ESCAPES[each]!)}: ${verdict}`);
  }
  const tell = (count: number, what: string): void => {
    if (count > 0) report.failure(new Failure(`${count} of ${known.length} ${what}`), file);
  };
  tell(unread, 'could not be read');
  tell(different, 'did not match');
  const improper = entries.length - known.length;
  if (improper > 0) report.line(`warpdrive: ${file}: lines that are no checksums: ${improper}`);
}

async function readAll(source: Source): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for (;;) {
    const part = Buffer.alloc(64 * 1024);
    const read = await source.read(part);
    if (read === 0) return Buffer.concat(parts).toString();
    length += read;
    if (length > MAX_LIST_BYTES)
      throw new Failure(`is too long for a list: more than ${MAX_LIST_BYTES} bytes`);
    parts.push(part.subarray(0, read));
  }
}
