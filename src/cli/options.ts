import { type ParseArgsConfig, parseArgs } from 'node:util';
import { nearest } from '../nearest.js';
import { Failure } from './failure.js';

export type OptionTable = NonNullable<ParseArgsConfig['options']>;

/** One option as it was given: its long name, and its value if it takes one. */
export interface GivenOption {
  name: string;
  value: string | undefined;
}

/** A command line, taken apart. */
export class Given {
  /** In the order of the command line, so that the last of several can win. */
  readonly options: GivenOption[] = [];
  readonly operands: string[] = [];

  readonly has = (name: string): boolean => this.options.some((option) => option.name === name);

  /** The value of an option, where it is given: the last one. */
  last(name: string): string | undefined {
    return this.lastOf([name])?.value;
  }

  /** Of several options, the one that is given last. */
  lastOf(names: readonly string[]): GivenOption | undefined {
    return this.options.findLast((option) => names.includes(option.name));
  }
}

/**
 * Takes a command line apart.
 * @throws Failure for an option that is not in the table, naming the nearest, and for a value missing or too many
 */
export function parseOptions(args: string[], table: OptionTable): Given {
  const { tokens } = parseArgs({ args, options: table, strict: false, allowPositionals: true, tokens: true });
  const given = new Given();
  for (const token of tokens) {
    if (token.kind === 'positional') given.operands.push(token.value);
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    if (!Object.hasOwn(table, name)) throw unknownOption(rawName, table);
    const takesValue = table[name]!.type === 'string';
    if (takesValue && value === undefined) throw new Failure(`option ${rawName} needs a value`);
    if (!takesValue && value !== undefined) throw new Failure(`option ${rawName} takes no value`);
    given.options.push({ name, value });
  }
  return given;
}

function unknownOption(rawName: string, table: OptionTable): Failure {
  const isLong = rawName.startsWith('--');
  const guess = isLong ? nearest(rawName.slice(2), Object.keys(table)) : undefined;
  return new Failure(`unknown option ${rawName}${guess ? `; did you mean --${guess}?` : ''}`);
}
