import { closeSync, fstatSync, openSync } from 'node:fs';
import { BrokenPipe, errorCode, Failure } from './failure.js';
import { inOrder } from './in-order.js';
import { STDIN_FD } from './input.js';
import type { Report } from './report.js';
import type { Sink } from './sink.js';
import { Source } from './source.js';
import { byteName, escapeName, type SumEntry, type SumKind, SumReader, shownName } from './sum-list.js';

export interface CheckOptions {
  /** No line for what is right. */
  quiet: boolean;
  /** No lines at all: the exit code tells. */
  status: boolean;
  /** A line that is none of a list is an error. */
  strict: boolean;
  /** Tells about each such line. */
  warn: boolean;
  /** Files that do not exist are passed over. */
  ignoreMissing: boolean;
}

/** What has become of one file: its digest, or why there is none. */
export type SumOutcome = { hex: string } | { error: unknown };

/** How files are read for a check. */
export interface SumMaker {
  kind: SumKind;
  /** Files that may be under way at once. */
  lanes: number;
  /** Never rejects. */
  sumOf: (name: string) => Promise<SumOutcome>;
}

/** A list to check. */
interface CheckedList {
  /** As messages name it. */
  name: string;
  source: Source;
  /** A list that comes from the standard input cannot name it. */
  isStdin: boolean;
}

/** Lines longer than this hold no name that a file could have. */
const MAX_LINE_BYTES = 64 * 1024;
const READ_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

interface Counts {
  proper: number;
  improper: number;
  unread: number;
  different: number;
  right: number;
}

type Checked = { line: number } | { entry: SumEntry; outcome: SumOutcome };

/**
 * Checks all that lists name, as `sha256sum -c` does; `-` is the standard input. Writes a line for each file to the sink.
 * @returns whether everything is as the lists say; those that cannot be read are in the report
 */
export async function checkLists(
  files: string[],
  maker: SumMaker,
  options: CheckOptions,
  sink: Sink,
  report: Report,
): Promise<boolean> {
  let holds = true;
  for (const file of files) {
    const isStdin = file === '-';
    const name = isStdin ? 'standard input' : shownName(byteName(file));
    let source: Source | undefined;
    try {
      source = openList(file);
      if (!(await checkList({ name, source, isStdin }, maker, options, sink, report))) holds = false;
    } catch (error) {
      // What concerns the output concerns the lists that follow, too.
      if (error instanceof BrokenPipe) throw error;
      if (error instanceof Failure && error.subject !== undefined) throw error;
      report.failure(error, name);
    } finally {
      if (source && !isStdin) closeSync(source.fd);
    }
  }
  return holds;
}

function openList(file: string): Source {
  const fd = file === '-' ? STDIN_FD : openSync(file, 'r');
  const stats = fstatSync(fd);
  if (!stats.isDirectory()) return new Source(fd, !stats.isFile());
  closeSync(fd);
  throw new Failure('is a directory');
}

/** One list: whether everything is as it says. */
async function checkList(
  list: CheckedList,
  maker: SumMaker,
  options: CheckOptions,
  sink: Sink,
  report: Report,
): Promise<boolean> {
  const counts: Counts = { proper: 0, improper: 0, unread: 0, different: 0, right: 0 };
  const reader = new SumReader(maker.kind);
  const start = async ({ number, text }: NumberedLine): Promise<Checked> => {
    const entry = text === undefined ? undefined : reader.read(text);
    if (!entry || (list.isStdin && entry.name === '-')) return { line: number };
    return { entry, outcome: await maker.sumOf(entry.name) };
  };
  for await (const checked of inOrder(linesOf(list.source), maker.lanes, start)) {
    if ('line' in checked) {
      counts.improper++;
      if (options.warn) {
        report.line(
          `warpdrive: ${list.name}: ${checked.line}: improperly formatted ${maker.kind.tag} checksum line`,
        );
      }
    } else {
      counts.proper++;
      await tellFile(checked.entry, checked.outcome, counts, options, sink, report);
    }
  }
  return conclude(list.name, counts, options, report);
}

async function tellFile(
  { hex, name }: SumEntry,
  outcome: SumOutcome,
  counts: Counts,
  options: CheckOptions,
  sink: Sink,
  report: Report,
): Promise<void> {
  let verdict: string;
  if ('error' in outcome) {
    if (options.ignoreMissing && errorCode(outcome.error) === 'ENOENT') return;
    counts.unread++;
    report.failure(outcome.error, shownName(name));
    verdict = 'FAILED open or read';
  } else if (outcome.hex !== hex) {
    counts.different++;
    verdict = 'FAILED';
  } else {
    counts.right++;
    if (options.quiet) return;
    verdict = 'OK';
  }
  if (options.status) return;
  // A backslash alone breaks no line: coreutils escapes here only what has a newline in it.
  const shown = name.includes('\n') ? `\\${escapeName(name)}` : name;
  await sink.write([Buffer.from(`${shown}: ${verdict}\n`, 'latin1')]);
}

/** The last words about a list; whether it holds. */
function conclude(list: string, counts: Counts, options: CheckOptions, report: Report): boolean {
  const { proper, improper, unread, different, right } = counts;
  if (proper === 0) {
    report.failure(new Failure('no properly formatted checksum lines found'), list);
    return false;
  }
  if (!options.status) {
    const warn = (count: number, one: string, several: string): void => {
      if (count > 0) report.line(`warpdrive: WARNING: ${count} ${count === 1 ? one : several}`);
    };
    warn(improper, 'line is improperly formatted', 'lines are improperly formatted');
    warn(unread, 'listed file could not be read', 'listed files could not be read');
    warn(different, 'computed checksum did NOT match', 'computed checksums did NOT match');
    if (options.ignoreMissing && right === 0) report.line(`warpdrive: ${list}: no file was verified`);
  }
  return right > 0 && unread === 0 && different === 0 && !(options.strict && improper > 0);
}

interface NumberedLine {
  /** From 1 on. */
  number: number;
  /** One character for each byte; undefined for a line that is too long. */
  text: string | undefined;
}

/** The lines of a list, without those that are empty or comments. */
async function* linesOf(source: Source): AsyncGenerator<NumberedLine, void, undefined> {
  const buffer = Buffer.alloc(READ_BYTES);
  const parts: string[] = [];
  let length = 0;
  let number = 0;
  const add = (from: number, to: number): void => {
    length += to - from;
    if (length <= MAX_LINE_BYTES) parts.push(buffer.toString('latin1', from, to));
  };
  const take = (): NumberedLine | undefined => {
    number++;
    const text = length > MAX_LINE_BYTES ? undefined : parts.join('').replace(/\r$/, '');
    length = 0;
    parts.length = 0;
    return text === '' || text?.startsWith('#') ? undefined : { number, text };
  };
  for (;;) {
    const read = await source.read(buffer);
    if (read === 0) break;
    let from = 0;
    for (;;) {
      const end = buffer.indexOf(NEWLINE, from);
      if (end < 0 || end >= read) break;
      add(from, end);
      const line = take();
      if (line) yield line;
      from = end + 1;
    }
    add(from, read);
  }
  const last = length > 0 ? take() : undefined;
  if (last) yield last;
}
