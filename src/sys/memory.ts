import { MemoryError } from '../errors.js';
import { bind, ERRNO, errno, systemError, viewMemory } from './libc.js';

const mmap = bind<
  (a: number, n: number, prot: number, flags: number, fd: number, off: number) => number | bigint
>('uint64_t mmap(uint64_t addr, uint64_t length, int prot, int flags, int fd, int64_t offset)');
const munmap = bind<(a: number, n: number) => number>('int munmap(uint64_t addr, uint64_t length)');
const madvise = bind<(a: number, n: number, advice: number) => number>(
  'int madvise(uint64_t addr, uint64_t length, int advice)',
);
const memmoveFrom = bind<(d: ArrayBufferView, s: number, n: number) => number>(
  'uint64_t memmove(void *dest, uint64_t src, uint64_t n)',
);

/** PROT_ and MAP_ values of <sys/mman.h>; the same on x64 and arm64. */
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MADV_DONTFORK = 10;

const memmove = bind<(d: number, s: number, n: number) => number>(
  'uint64_t memmove(uint64_t dest, uint64_t src, uint64_t n)',
);

/** Copies between mapped memory, by address. */
export function copyMemory(destination: number, source: number, length: number): void {
  memmove(destination, source, length);
}

const memset = bind<(d: number, value: number, n: number) => number>(
  'uint64_t memset(uint64_t dest, int value, uint64_t n)',
);

/** Fills mapped memory with a byte, by address. */
export function fillMemory(address: number, value: number, length: number): void {
  memset(address, value, length);
}

export const PAGE_BYTES = 4096;
/** What one ArrayBuffer can hold in every supported version of Node. */
export const MAX_MAPPING_BYTES = 2 ** 32;

const NO_BYTES = new Uint8Array(0);
const NO_WORDS = new Int32Array(0);

let live = 0;
let liveBytes = 0;

/** How many mappings this thread owns, and their bytes: what a leak test compares. */
export function mappingCount(): { mappings: number; bytes: number } {
  return { mappings: live, bytes: liveBytes };
}

/** The address of a view's first byte. Stable while the view is referenced and its buffer is not detached. */
export function addressOf(view: ArrayBufferView): number {
  return memmoveFrom(view, 0, 0);
}

/**
 * Memory mapped into this process and owned by this object. `bytes` and `words` are the views that may be used;
 * `unmap` empties them, so that a late access reads `undefined` and never touches memory that is gone.
 *
 * A forked child does not have it: two processes that ring one doorbell, or take completions from one ring, would each
 * lose what the other takes, and the device knows only one.
 */
export class Mapping {
  readonly length: number;
  #address: number;
  /** Made when they are first wanted: each view counts as memory of JavaScript's, which has its collector run. */
  #bytes: Uint8Array | undefined;
  #words: Int32Array | undefined;

  private constructor(address: number, length: number) {
    this.#address = address;
    this.length = length;
    live++;
    liveBytes += length;
  }

  /** Zeroed memory of this process alone. Pages take up room only once they are touched. */
  static anonymous(length: number): Mapping {
    return Mapping.#map(length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }

  /** Memory shared through `fd`. The caller has checked the descriptor's size and seals (see memfd.ts). */
  static shared(fd: number, offset: number, length: number, access: 'read' | 'read-write'): Mapping {
    const prot = access === 'read' ? PROT_READ : PROT_READ | PROT_WRITE;
    return Mapping.#map(length, prot, MAP_SHARED, fd, offset);
  }

  static #map(length: number, prot: number, flags: number, fd: number, offset: number): Mapping {
    if (length > MAX_MAPPING_BYTES) throw new MemoryError(`${length} bytes are too many for one mapping`);
    const address = mmap(0, length, prot, flags, fd, offset);
    if (typeof address === 'bigint') {
      if (errno() === ERRNO.ENOMEM) {
        throw new MemoryError(`no room to map ${length} bytes`, {
          hint: 'raise the limits on address space or locked memory, or lower memoryBytes',
        });
      }
      throw systemError('mmap');
    }
    if (madvise(address, length, MADV_DONTFORK) !== 0) {
      const error = systemError('madvise');
      munmap(address, length);
      throw error;
    }
    return new Mapping(address, length);
  }

  /** The first byte's address, or 0 once unmapped. */
  get address(): number {
    return this.#address;
  }

  /** @throws PlatformError where Node was built to refuse external buffers */
  get bytes(): Uint8Array {
    this.#bytes ??= new Uint8Array(viewMemory(this.#address, this.length));
    return this.#bytes;
  }

  /** The mapping as 32-bit words, on which Atomics work. */
  get words(): Int32Array {
    this.#words ??= new Int32Array(this.bytes.buffer, 0, Math.floor(this.length / 4));
    return this.#words;
  }

  /** A view of the first `length` bytes alone. Whoever makes it lets go of it before the memory is unmapped. */
  prefix(length: number): Uint8Array {
    return new Uint8Array(viewMemory(this.#address, length));
  }

  get mapped(): boolean {
    return this.#address !== 0;
  }

  /**
   * Gives up ownership but not the memory: the views that others hold stay good until `freeState` is called with what
   * this returns. Nothing returned here keeps a view alive.
   */
  disown(): { address: number; length: number } {
    const disowned = { address: this.#address, length: this.length };
    this.#forget();
    return disowned;
  }

  #forget(): void {
    this.#address = 0;
    this.#bytes = NO_BYTES;
    this.#words = NO_WORDS;
    live--;
    liveBytes -= this.length;
  }

  /** Gives the memory back. Calling it again does nothing. */
  unmap(): void {
    if (this.#address === 0) return;
    const address = this.#address;
    this.#forget();
    if (munmap(address, this.length) !== 0) throw systemError('munmap');
  }
}

/**
 * Zeroed memory known by its address alone, for state that outlives the thread that made it: any thread of this
 * process may use it and give it back.
 */
export function allocateState(length: number): number {
  const address = mmap(0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (typeof address === 'bigint') throw new MemoryError(`no room to map ${length} bytes`);
  return address;
}

/** Gives back what `allocateState` or `Mapping.disown` gave. */
export function freeState(address: number, length: number): void {
  if (munmap(address, length) !== 0) throw systemError('munmap');
}
