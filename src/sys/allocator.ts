import { bind } from './libc.js';

const malloc = bind<(n: number) => number>('uint64_t malloc(uint64_t size)');
const free = bind<(address: number) => void>('void free(uint64_t address)');

/** DEFAULT_MMAP_THRESHOLD_MAX of glibc's malloc/malloc.c on 64 bits, less room for the chunk's header and its page. */
const BYTES = 32 * 1024 * 1024 - 8192;

let told = false;

/**
 * Has this process keep up to 64 MiB that it freed, to use them again, as glibc does anyway for a program that once freed
 * a block of 32 MiB (mallopt(3), "dynamic mmap threshold"). Otherwise results, which the collector frees together, go back
 * to the system and come again page by page: on a virtual machine that takes several times as long as a cipher does.
 * Nothing changes where MALLOC_TRIM_THRESHOLD_ and the like are set, nor with another allocator.
 */
export function keepFreedMemory(): void {
  if (told) return;
  told = true;
  free(malloc(BYTES));
}
