import { type Dirent, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/*
 * Real text to compress: sources, type declarations and documentation that lie on this machine anyway. The files are
 * taken in the order of their paths, so that two runs see the same bytes.
 */

const PACKAGE = fileURLToPath(new URL('../..', import.meta.url));

/** Folders to look in, and what to take. */
const SOURCES: { folder: string; wanted: RegExp }[] = [
  { folder: join(PACKAGE, 'src'), wanted: /\.ts$/ },
  { folder: join(PACKAGE, 'dist/src'), wanted: /\.js$/ },
  { folder: join(PACKAGE, 'docs'), wanted: /\.md$/ },
  { folder: join(PACKAGE, 'node_modules'), wanted: /\.(d\.ts|md)$/ },
  { folder: join(dirname(process.execPath), '../lib/node_modules/npm'), wanted: /\.(js|md)$/ },
];

/** More than this is not read: what it says is said by then. */
const ENOUGH_BYTES = 48 * 1024 * 1024;

let gathered: Buffer | undefined;

/** All the text there is, up to a limit. */
export function allText(): Buffer {
  gathered ??= gather();
  return gathered;
}

function gather(): Buffer {
  const parts: Buffer[] = [];
  let length = 0;
  for (const { folder, wanted } of SOURCES) {
    for (const path of filesIn(folder, wanted)) {
      if (length >= ENOUGH_BYTES) break;
      const part = readFileSync(path);
      parts.push(part);
      length += part.length;
    }
  }
  if (length < 1024 * 1024)
    throw new Error('there is less than a MiB of text on this machine to measure with');
  return Buffer.concat(parts);
}

function filesIn(folder: string, wanted: RegExp): string[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(folder, { withFileTypes: true, recursive: true });
  } catch {
    return [];
  }
  return entries
    .filter((entry) => entry.isFile() && wanted.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** `count` slices of `length` bytes each, spread evenly over the text. */
export function slices(count: number, length: number): Buffer[] {
  const text = allText();
  const step = Math.floor((text.length - length) / count);
  return Array.from({ length: count }, (_, index) => {
    const at = index * step;
    return Buffer.from(text.subarray(at, at + length));
  });
}
