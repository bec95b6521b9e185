import { Failure } from './failure.js';
import { type OptionTable, parseOptions } from './options.js';
import {
  DEFAULT_LOG2_COST,
  MAX_LOG2_COST,
  MIN_LOG2_COST,
  SEAL_ALGORITHMS,
  type SealAlgorithm,
} from './sealed-format.js';
import type { SecretOptions } from './secret.js';

export interface SealedArguments {
  files: string[];
  decrypt: boolean;
  keep: boolean;
  stdout: boolean;
  force: boolean;
  test: boolean;
  verbose: boolean;
  quiet: boolean;
  help: boolean;
  /** Set when the user names the output. */
  output: string | undefined;
  secret: SecretOptions;
  /** Of new files. */
  algorithm: SealAlgorithm;
  log2Cost: number;
}

const COMMON: OptionTable = {
  keep: { type: 'boolean', short: 'k' },
  stdout: { type: 'boolean', short: 'c' },
  force: { type: 'boolean', short: 'f' },
  verbose: { type: 'boolean', short: 'v' },
  quiet: { type: 'boolean', short: 'q' },
  help: { type: 'boolean', short: 'h' },
  output: { type: 'string', short: 'o' },
  'key-file': { type: 'string' },
  'passphrase-file': { type: 'string' },
};
const ENCRYPT: OptionTable = {
  ...COMMON,
  algorithm: { type: 'string', short: 'a' },
  cost: { type: 'string' },
};
const DECRYPT: OptionTable = { ...COMMON, test: { type: 'boolean', short: 't' } };

/** Reads the command line of `encrypt` and `decrypt`. */
export function sealedArguments(args: string[], decrypt: boolean): SealedArguments {
  const given = parseOptions(args, decrypt ? DECRYPT : ENCRYPT);
  const { operands, has } = given;
  const files = operands.length > 0 ? operands : ['-'];
  const output = given.last('output');
  if (output !== undefined && files.length > 1) throw new Failure('--output takes one input, not several');
  if (output === '') throw new Failure('--output needs a name');
  const keyFile = given.last('key-file');
  const passphraseFile = given.last('passphrase-file');
  if (keyFile !== undefined && passphraseFile !== undefined) {
    throw new Failure('--key-file and --passphrase-file exclude each other');
  }
  return {
    files,
    decrypt,
    keep: has('keep'),
    stdout: has('stdout') || output === '-',
    force: has('force'),
    test: has('test'),
    verbose: has('verbose'),
    quiet: has('quiet'),
    help: has('help'),
    output: output === '-' ? undefined : output,
    secret: { keyFile, passphraseFile },
    algorithm: toAlgorithm(given.last('algorithm') ?? 'aes-256-gcm'),
    log2Cost: toLog2Cost(given.last('cost') ?? String(DEFAULT_LOG2_COST)),
  };
}

function toAlgorithm(text: string): SealAlgorithm {
  const found = SEAL_ALGORITHMS.find((name) => name === text.toLowerCase());
  if (found) return found;
  throw new Failure(
    `there is no encryption of files with ${JSON.stringify(text)}; there are ${SEAL_ALGORITHMS.join(', ')}`,
  );
}

function toLog2Cost(text: string): number {
  const cost = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (cost >= MIN_LOG2_COST && cost <= MAX_LOG2_COST) return cost;
  throw new Failure(`--cost is ${MIN_LOG2_COST} to ${MAX_LOG2_COST}, not ${JSON.stringify(text)}`);
}
