import { type BigIntStats, closeSync, fstatSync, lstatSync, openSync, statSync } from 'node:fs';
import { EXIT, errorCode, Failure } from './failure.js';
import { Source } from './source.js';

export const STDIN_FD = 0;

/** A file to be read. */
export interface Input {
  /** As the user knows it. */
  name: string;
  /** Undefined for the standard input. */
  path: string | undefined;
  stats: BigIntStats;
  source: Source;
}

export interface InputRules {
  /** Reads through symbolic links, and from things that are no regular files. */
  follow: boolean;
  /** Takes a file that has other names, too. */
  allowLinks: boolean;
  /** Tried in turn behind a name that does not exist. */
  suffixes: readonly string[];
}

export function openStdin(): Input {
  const stats = fstatSync(STDIN_FD, { bigint: true });
  return { name: 'stdin', path: undefined, stats, source: new Source(STDIN_FD, !stats.isFile()) };
}

/**
 * Opens a file.
 * @throws Failure for what the rules leave out
 */
export function openInput(name: string, rules: InputRules): Input {
  const path = existing(name, rules.suffixes);
  const known = lstatSync(path, { bigint: true });
  if (known.isSymbolicLink() && !rules.follow) {
    throw new Failure('is a symbolic link (-f or -c follows it)', { subject: path });
  }
  // A pipe without a writer would be waited for, so its kind is looked at first.
  checkKind(statSync(path, { bigint: true }), path, rules);
  const fd = openSync(path, 'r');
  try {
    const stats = fstatSync(fd, { bigint: true });
    checkKind(stats, path, rules);
    return { name: path, path, stats, source: new Source(fd, !stats.isFile()) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** The name, or the name with a suffix where only that exists. */
function existing(name: string, suffixes: readonly string[]): string {
  if (suffixes.some((suffix) => name.endsWith(suffix))) return name;
  try {
    lstatSync(name);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') return name;
    const found = suffixes.find((suffix) => lstatSync(name + suffix, { throwIfNoEntry: false }));
    if (found !== undefined) return name + found;
  }
  return name;
}

function checkKind(stats: BigIntStats, subject: string, rules: InputRules): void {
  const exitCode = EXIT.warning;
  if (stats.isDirectory()) throw new Failure('is a directory -- ignored', { subject, exitCode });
  if (!stats.isFile() && !rules.follow) {
    throw new Failure('is not a regular file -- ignored (-f or -c reads it)', { subject, exitCode });
  }
  if (stats.isFile() && stats.nlink > 1n && !rules.allowLinks) {
    const others = `${stats.nlink - 1n} other ${stats.nlink === 2n ? 'link' : 'links'}`;
    throw new Failure(`has ${others} -- ignored (-f or -k takes it)`, { subject, exitCode });
  }
}

/** Closes the file, once nobody reads it any more. The standard input stays open. */
export async function closeInput(input: Input): Promise<void> {
  if (input.path === undefined) return;
  await input.source.end();
  closeSync(input.source.fd);
}
