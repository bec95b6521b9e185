import type { CompressionAlgorithm } from '../abi/algorithms.js';

/** Formats that files have. A raw block of lz4 says neither what it is nor where it ends. */
export type FileFormat = Exclude<CompressionAlgorithm, 'lz4-block'>;

/** What a compressed file's name ends with. */
export const SUFFIX: Record<FileFormat, string> = {
  gzip: '.gz',
  deflate: '.zz',
  'deflate-raw': '.deflate',
  zstd: '.zst',
  lz4: '.lz4',
  br: '.br',
};

export const FILE_FORMATS = Object.keys(SUFFIX) as FileFormat[];

/** Endings that stand for others, and those that gzip takes for its own. */
const OTHER_ENDINGS: Partial<Record<FileFormat, [string, string][]>> = {
  gzip: [
    ['.tgz', '.tar'],
    ['.taz', '.tar'],
    ['.gz', ''],
    ['.z', ''],
    ['-gz', ''],
    ['-z', ''],
    ['_z', ''],
  ],
  zstd: [['.tzst', '.tar']],
};

/** The endings of a format's names, with what each stands for; of all formats where none is given. */
function endingsOf(format: FileFormat | undefined): [FileFormat, string, string][] {
  const formats = format === undefined ? FILE_FORMATS : [format];
  return formats.flatMap((each) => {
    const endings: [string, string][] = [[SUFFIX[each], ''], ...(OTHER_ENDINGS[each] ?? [])];
    return endings.map(([ending, stands]): [FileFormat, string, string] => [each, ending, stands]);
  });
}

/** Whether a name has an ending, and more than that: one that is nothing but a suffix has no other to go back to. */
function endsWith(name: string, ending: string): boolean {
  const start = name.lastIndexOf('/') + 1;
  return name.toLowerCase().endsWith(ending.toLowerCase()) && name.length - ending.length > start;
}

/**
 * The name without its compression suffix, or undefined where it has none that is known.
 * @param suffix one that counts besides
 * @param format the only one whose endings count; all where it is not known
 */
export function withoutSuffix(
  name: string,
  suffix: string,
  format: FileFormat | undefined,
): string | undefined {
  const endings: [string, string][] = endingsOf(format).map(([, ending, stands]) => [ending, stands]);
  for (const [ending, stands] of [[suffix, ''] as [string, string], ...endings]) {
    if (endsWith(name, ending)) return name.slice(0, name.length - ending.length) + stands;
  }
  return undefined;
}

/** The format that a name's ending tells, or undefined. */
export function formatByName(name: string): FileFormat | undefined {
  return endingsOf(undefined).find(([, ending]) => endsWith(name, ending))?.[0];
}
