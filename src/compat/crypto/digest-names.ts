import { algorithmsOf, type DigestAlgorithm } from '../../abi/algorithms.js';
import { stock } from './stock.js';

/** Digests by the names that programs give them: in small letters or in capitals. */
const NAMES = new Map<unknown, DigestAlgorithm>(
  algorithmsOf('digest').flatMap((name) => [
    [name, name],
    [name.toUpperCase(), name],
  ]),
);
/** Whether node:crypto has a digest, by its name. */
const there = new Map<string, boolean>();

/** The digest that a name stands for here and in node:crypto. */
export function digestNamed(name: unknown): DigestAlgorithm | undefined {
  const own = NAMES.get(name);
  if (own === undefined) return undefined;
  let isThere = there.get(name as string);
  if (isThere === undefined) {
    isThere = canHash(name as string);
    there.set(name as string, isThere);
  }
  return isThere ? own : undefined;
}

function canHash(name: string): boolean {
  try {
    stock['createHash']!(name);
    return true;
  } catch {
    return false;
  }
}
