import { DEFAULT_LEVEL, DEFLATE_ALGORITHMS, type DeflateAlgorithm } from '../abi/algorithms.js';
import { Failure } from './failure.js';
import { SUFFIX } from './names.js';
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
  algorithm: DeflateAlgorithm;
}

const FASTEST = 1;
const BEST = 9;
const HIGHEST = 12;

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
  const { options, operands } = parseOptions(args, OPTIONS);
  const has = (name: string): boolean => options.some((option) => option.name === name);
  const last = (name: string): string | undefined =>
    options.findLast((option) => option.name === name)?.value;
  const algorithm = toAlgorithm(last('algorithm') ?? 'gzip');
  const output = last('output');
  const suffix = last('suffix') ?? SUFFIX[algorithm];
  if (suffix === '' || suffix.includes('/')) throw new Failure(`invalid suffix ${JSON.stringify(suffix)}`);
  let level = DEFAULT_LEVEL;
  for (const { name, value } of options) {
    if (name === 'fast') level = FASTEST;
    else if (name === 'best') level = BEST;
    else if (name === 'level') level = toLevel(value!);
    else if (name.startsWith('level-')) level = Number(name.slice('level-'.length));
  }
  const files = operands.length > 0 ? operands : ['-'];
  if (output !== undefined && files.length > 1) throw new Failure('--output takes one input, not several');
  if (output === '') throw new Failure('--output needs a name');
  return {
    files,
    decompress: decompress || has('decompress') || has('test'),
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
    algorithm,
  };
}

function toLevel(text: string): number {
  const level = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (level >= 0 && level <= HIGHEST) return level;
  throw new Failure(`there is no level ${JSON.stringify(text)}; there are 0 to ${HIGHEST}`);
}

function toAlgorithm(text: string): DeflateAlgorithm {
  const name = text === 'zlib' ? 'deflate' : text;
  const found = DEFLATE_ALGORITHMS.find((algorithm) => algorithm === name);
  if (found) return found;
  throw new Failure(
    `there is no algorithm ${JSON.stringify(text)}; there are ${DEFLATE_ALGORITHMS.join(', ')}`,
  );
}
