import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PACKAGE = fileURLToPath(new URL('../../../', import.meta.url));
const NODE = join(dirname(process.execPath), '..');

/** Places with text on any machine that runs this: the package, its tools, Node's headers and npm. */
const PLACES = [
  join(PACKAGE, 'src'),
  join(PACKAGE, 'docs'),
  join(PACKAGE, 'node_modules', 'typescript', 'lib'),
  join(NODE, 'include', 'node'),
  join(NODE, 'lib', 'node_modules', 'npm'),
  '/usr/share/nodejs',
  join(PACKAGE, 'node_modules'),
  join(PACKAGE, 'dist'),
];
const TEXT_NAME = /\.(?:d\.ts|ts|md|h|js|mjs|json|txt)$/;
const MAX_BYTES = 8 * 1024 * 1024;
/** With less than this of text, it is repeated. */
const ENOUGH_BYTES = 2 * 1024 * 1024;
/** One large file must not be all there is. */
const MAX_FILE_BYTES = 512 * 1024;

/** Some MiB of real text from this machine; the same at each call, as long as the machine stays the same. */
export function gatherText(): Buffer {
  const parts: Buffer[] = [];
  let length = 0;
  for (const place of PLACES) {
    for (const path of textFiles(place)) {
      const content = readText(path);
      parts.push(content);
      length += content.length;
      if (length >= MAX_BYTES) return Buffer.concat(parts).subarray(0, MAX_BYTES);
    }
  }
  const text = Buffer.concat(parts);
  if (text.length === 0) throw new Error('found no text on this machine');
  const times = Math.max(1, Math.ceil(ENOUGH_BYTES / text.length));
  return Buffer.concat(new Array<Buffer>(times).fill(text));
}

function readText(path: string): Buffer {
  try {
    return readFileSync(path).subarray(0, MAX_FILE_BYTES);
  } catch {
    // Somebody else's file may be unreadable, or gone.
    return Buffer.alloc(0);
  }
}

/** Text files below a folder, in the order of their names. */
function* textFiles(folder: string): Generator<string> {
  let entries: import('node:fs').Dirent[];
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return;
  }
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* textFiles(path);
    else if (entry.isFile() && TEXT_NAME.test(entry.name)) yield path;
  }
}
