import { readFileSync } from 'node:fs';
import { bind, loadLibrary } from '../../sys/libc.js';

export const setPointer = (words: Int32Array, word: number, address: number): void => {
  words[word] = address | 0;
  words[word + 1] = (address / 4294967296) | 0;
};

/** The file that a loaded soname resolved to, from this process's mappings. */
export function loadedPath(soname: string): string | undefined {
  const stem = soname.replace(/\.so.*$/, '.so');
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const path = line.slice(line.indexOf('/'));
    if (path.startsWith('/') && path.slice(path.lastIndexOf('/') + 1).startsWith(stem)) return path;
  }
  return undefined;
}

/** Binds functions of a library all at once; undefined if any is missing. */
export function bindAll<T>(soname: string | null, prototypes: Record<keyof T, string>): T | undefined {
  const library = loadLibrary(soname);
  if (!library) return undefined;
  try {
    const functions: Partial<T> = {};
    for (const [name, prototype] of Object.entries(prototypes) as [keyof T, string][]) {
      functions[name] = bind(prototype, library);
    }
    return functions as T;
  } catch {
    return undefined;
  }
}
