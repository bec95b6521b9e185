import { DEFAULT_LEVELS } from '../abi/algorithms.js';
import { Failure } from './failure.js';
import { FILE_FORMATS, type FileFormat, SUFFIX } from './names.js';
import { type OptionTable, parseOptions } from './options.js';

export interface CompressArguments {
  files: string[];
  decompress: boolean;
  keep: boolean;
  stdout: boolean;
  force: boolean;
  test: boolean;
  verbose: boolean;
  quiet: boolean;
  help: boolean;
  /** Whether name and time go into the gzip header. */
  storeName: boolean;
  level: number;
  suffix: string;
  /** Set when the user names the output. */
  output: string | undefined;
  /** Undefined where each file tells its own: by its magic number, or its name. */
  algorithm: FileFormat | undefined;
}

const FASTEST = 1;
const BEST = 9;

/** Levels that there may be, and which of them is the best: beyond gzip's 9 nobody expects more. */
const DEFLATE_LEVELS = { min: 0, max: 12, best: BEST };
const LEVELS: Record<FileFormat, { min: number; max: number; best: number }> = {
  gzip: DEFLATE_LEVELS,
  deflate: DEFLATE_LEVELS,
  'deflate-raw': DEFLATE_LEVELS,
  zstd: { min: 1, max: 19, best: 19 },
  lz4: { min: 1, max: 12, best: 12 },
  br: { min: 0, max: 11, best: 11 },
};

const OPTIONS: OptionTable = {
  keep: { type: 'boolean', short: 'k' },
  stdout: { type: 'boolean', short: 'c' },
  decompress: { type: 'boolean', short: 'd' },
  force: { type: 'boolean', short: 'f' },
  test: { type: 'boolean', short: 't' },
  verbose: { type: 'boolean', short: 'v' },
  quiet: { type: 'boolean', short: 'q' },
  help: { type: 'boolean', short: 'h' },
  'no-name': { type: 'boolean', short: 'n' },
  fast: { type: 'boolean' },
  best: { type: 'boolean' },
  level: { type: 'string' },
  output: { type: 'string', short: 'o' },
  suffix: { type: 'string', short: 'S' },
  algorithm: { type: 'string', short: 'a' },
};
// Long names of -1 to -9; nobody types them.
for (let level = FASTEST; level <= BEST; level++) {
  OPTIONS[`level-${level}`] = { type: 'boolean', short: String(level) };
}

/** Reads the command line of `compress` and `decompress`. */
export function compressArguments(args: string[], decompress: boolean): CompressArguments {
  const given = parseOptions(args, OPTIONS);
  const { options, operands, has } = given;
  const unpacks = decompress || has('decompress') || has('test');
  const named = given.last('algorithm');
  const algorithm = toAlgorithm(named ?? 'gzip');
  const output = given.last('output');
  const suffix = given.last('suffix') ?? SUFFIX[algorithm];
  if (suffix === '' || suffix.includes('/')) throw new Failure(`invalid suffix ${JSON.stringify(suffix)}`);
  let level = DEFAULT_LEVELS[algorithm];
  for (const { name, value } of options) {
    if (name === 'fast') level = FASTEST;
    else if (name === 'best') level = LEVELS[algorithm].best;
    else if (name === 'level') level = toLevel(value!, algorithm);
    else if (name.startsWith('level-')) level = Number(name.slice('level-'.length));
  }
  const files = operands.length > 0 ? operands : ['-'];
  if (output !== undefined && files.length > 1) throw new Failure('--output takes one input, not several');
  if (output === '') throw new Failure('--output needs a name');
  return {
    files,
    decompress: unpacks,
    keep: has('keep'),
    stdout: has('stdout') || output === '-',
    force: has('force'),
    test: has('test'),
    verbose: has('verbose'),
    quiet: has('quiet'),
    help: has('help'),
    storeName: !has('no-name'),
    level,
    suffix,
    output: output === '-' ? undefined : output,
    algorithm: unpacks && named === undefined ? undefined : algorithm,
  };
}

function toLevel(text: string, algorithm: FileFormat): number {
  const level = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  const { min, max } = LEVELS[algorithm];
  if (level >= min && level <= max) return level;
  throw new Failure(`there is no level ${JSON.stringify(text)}; there are ${min} to ${max}`);
}

function toAlgorithm(text: string): FileFormat {
  const name = text === 'zlib' ? 'deflate' : text === 'brotli' ? 'br' : text;
  const found = FILE_FORMATS.find((algorithm) => algorithm === name);
  if (found) return found;
  throw new Failure(`there is no algorithm ${JSON.stringify(text)}; there are ${FILE_FORMATS.join(', ')}`);
}
