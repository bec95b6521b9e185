import { ArgumentError } from '../errors.js';
import { nearest } from '../nearest.js';

/** Checks one value and returns it as what it is; `path` says where it stands, for the message. */
export type Check<T> = (value: unknown, path: string) => T;

type Checked<F> = { -readonly [K in keyof F]?: F[K] extends Check<infer T> ? T : never };

export function wrong(path: string, expectation: string, hint?: string): ArgumentError {
  return new ArgumentError(`${path} must be ${expectation}`, hint === undefined ? {} : { hint });
}

/** An object with some of these fields, and no others. */
export function object<F extends Record<string, Check<unknown>>>(fields: F): Check<Checked<F>> {
  return (value, path) => {
    const checked: Record<string, unknown> = {};
    for (const [key, each] of entries(value, path)) {
      if (!Object.hasOwn(fields, key)) {
        const guess = nearest(key, Object.keys(fields));
        const hint = guess ? `did you mean ${guess}?` : `there are ${Object.keys(fields).join(', ')}`;
        throw new ArgumentError(`${join(path, key)} is unknown`, { hint });
      }
      checked[key] = fields[key]!(each, join(path, key));
    }
    return checked as Checked<F>;
  };
}

/** An object with any keys, each checked and turned into a key of the map. */
export function map<K, V>(key: Check<K>, item: Check<V>): Check<Map<K, V>> {
  return (value, path) =>
    new Map(
      entries(value, path).map(([name, each]) => [key(name, join(path, name)), item(each, join(path, name))]),
    );
}

export function list<T>(item: Check<T>): Check<T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw wrong(path, 'a list');
    return value.map((each, index) => item(each, `${path}[${index}]`));
  };
}

export function text(value: unknown, path: string): string {
  if (typeof value !== 'string' || value === '' || value.includes('\0')) throw wrong(path, 'a text');
  return value;
}

export function boolean(value: unknown, path: string): boolean {
  if (typeof value !== 'boolean') throw wrong(path, 'true or false');
  return value;
}

export function wholeNumber(min: number, max: number): Check<number> {
  return (value, path) => {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      throw wrong(path, `a whole number from ${min} to ${max}`);
    }
    return value;
  };
}

export function oneOf<T extends string>(choices: readonly T[]): Check<T> {
  return (value, path) => {
    const found = choices.find((choice) => choice === value);
    if (found !== undefined) return found;
    const guess = typeof value === 'string' ? nearest(value, choices) : undefined;
    throw wrong(path, `one of ${choices.join(', ')}`, guess && `did you mean ${guess}?`);
  };
}

/** The permissions of a socket, as chmod(1) writes them. JSON has no octal numbers, so it is a text. */
export function mode(value: unknown, path: string): number {
  if (typeof value !== 'string' || !/^0?[0-7]{3}$/.test(value)) {
    throw wrong(path, 'permissions in octal, as a text such as "0660"');
  }
  return Number.parseInt(value, 8);
}

function entries(value: unknown, path: string): [string, unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw path === '' ? new ArgumentError('the configuration must be an object') : wrong(path, 'an object');
  }
  return Object.entries(value);
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}
