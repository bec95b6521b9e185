import type { DeflateAlgorithm } from '../abi/algorithms.js';

/** What a compressed file's name ends with. */
export const SUFFIX: Record<DeflateAlgorithm, string> = {
  gzip: '.gz',
  deflate: '.zz',
  'deflate-raw': '.deflate',
};

/** Endings that gzip takes for its own, with what they stand for. */
const GZIP_ENDINGS: [string, string][] = [
  ['.tgz', '.tar'],
  ['.taz', '.tar'],
  ['.gz', ''],
  ['.z', ''],
  ['-gz', ''],
  ['-z', ''],
  ['_z', ''],
];

/** The name without its compression suffix, or undefined where it has none that is known. */
export function withoutSuffix(name: string, suffix: string, algorithm: DeflateAlgorithm): string | undefined {
  const endings: [string, string][] = [[suffix, ''], ...(algorithm === 'gzip' ? GZIP_ENDINGS : [])];
  const start = name.lastIndexOf('/') + 1;
  const lower = name.toLowerCase();
  for (const [ending, stands] of endings) {
    // A name that is nothing but a suffix has no other name to go back to.
    if (!lower.endsWith(ending.toLowerCase()) || name.length - ending.length <= start) continue;
    return name.slice(0, name.length - ending.length) + stands;
  }
  return undefined;
}
