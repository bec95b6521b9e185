import { algorithmsOf, type DigestAlgorithm } from '../abi/algorithms.js';
import { Failure } from './failure.js';
import { type OptionTable, parseOptions } from './options.js';
import type { CheckOptions } from './sum-check.js';
import type { SumLineOptions } from './sum-list.js';

export interface HashArguments {
  files: string[];
  algorithm: DigestAlgorithm;
  help: boolean;
  /** How lists are checked; undefined where digests are to be printed. */
  check: CheckOptions | undefined;
  format: SumLineOptions;
}

const OPTIONS: OptionTable = {
  algorithm: { type: 'string', short: 'a' },
  binary: { type: 'boolean', short: 'b' },
  check: { type: 'boolean', short: 'c' },
  'ignore-missing': { type: 'boolean' },
  quiet: { type: 'boolean' },
  status: { type: 'boolean' },
  strict: { type: 'boolean' },
  tag: { type: 'boolean' },
  text: { type: 'boolean', short: 't' },
  warn: { type: 'boolean', short: 'w' },
  zero: { type: 'boolean', short: 'z' },
  help: { type: 'boolean', short: 'h' },
};

/** Each of these takes the others back, as in coreutils. */
const VERBOSITIES = ['quiet', 'status', 'warn'];
const ONLY_CHECKING = ['ignore-missing', 'quiet', 'status', 'strict', 'warn'];
const NEVER_CHECKING = ['binary', 'tag', 'text', 'zero'];

/** Reads the command line of `hash`. @throws Failure for options that mean nothing together, as sha256sum does */
export function hashArguments(args: string[]): HashArguments {
  const given = parseOptions(args, OPTIONS);
  const { operands, has } = given;
  const algorithm = toAlgorithm(given.last('algorithm') ?? 'sha256');
  const checks = has('check');
  const wrong = (checks ? NEVER_CHECKING : ONLY_CHECKING).find(has);
  if (wrong !== undefined) {
    throw new Failure(`--${wrong} means something only ${checks ? 'without' : 'with'} --check`);
  }
  const mode = given.lastOf(['binary', 'text'])?.name;
  if (has('tag') && mode === 'text') throw new Failure('--tag says nothing of --text: leave one out');
  const verbosity = given.lastOf(VERBOSITIES)?.name;
  return {
    files: operands.length > 0 ? operands : ['-'],
    algorithm,
    help: has('help'),
    check: checks
      ? {
          quiet: verbosity === 'quiet',
          status: verbosity === 'status',
          warn: verbosity === 'warn',
          strict: has('strict'),
          ignoreMissing: has('ignore-missing'),
        }
      : undefined,
    format: { tag: has('tag'), binary: mode === 'binary', zero: has('zero') },
  };
}

function toAlgorithm(text: string): DigestAlgorithm {
  const names = algorithmsOf('digest');
  const found = names.find((name) => name === text.toLowerCase());
  if (found) return found;
  throw new Failure(`there is no digest ${JSON.stringify(text)}; there are ${names.join(', ')}`);
}
