import crypto from 'node:crypto';

/** A function of node:crypto, whatever it is given. */
// biome-ignore lint/suspicious/noExplicitAny: callers pass on what they were given, right or wrong
export type Loose = (...given: any[]) => any;

/** Node:crypto's functions as they were before anything replaced them for the whole program. */
export const stock = { ...Object.fromEntries(functions()) } as Record<string, Loose> & {
  hash: (algorithm: string, data: string | Uint8Array, encoding: string) => string;
};

/** By their descriptors: reading some other properties warns of what is deprecated. */
function functions(): [string, Loose][] {
  return Object.entries(Object.getOwnPropertyDescriptors(crypto)).flatMap(([name, { value }]) =>
    typeof value === 'function' ? [[name, value as Loose]] : [],
  );
}
