import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { PlatformError, SystemError } from '../errors.js';

type Koffi = typeof import('koffi').default;
type Library = ReturnType<Koffi['load']>;

let koffi: Koffi | undefined;
let libc: Library | undefined;
let unusable: PlatformError | undefined;

try {
  if (process.platform !== 'linux') {
    throw new PlatformError(`WarpDrive runs on Linux only, and this is ${process.platform}`);
  }
  if (process.arch !== 'x64' && process.arch !== 'arm64') {
    throw new PlatformError(`WarpDrive runs on x64 and arm64 only, and this is ${process.arch}`);
  }
  koffi = createRequire(import.meta.url)('koffi') as Koffi;
  // The null library is the program itself: libc (glibc or musl) and all that Node exports.
  libc = koffi.load(null);
} catch (cause) {
  unusable =
    cause instanceof PlatformError
      ? cause
      : new PlatformError('the native library koffi could not be loaded', {
          hint: 'run npm install again on this machine, without --omit=optional',
          cause,
        });
}

/** Throws the reason if this platform cannot run native code; otherwise does nothing. */
export function checkPlatform(): void {
  if (unusable) throw unusable;
}

/**
 * Binds a C function. Addresses travel as Numbers declared `uint64_t`: exact below 2^53, where all user
 * addresses lie, and free of BigInt. On an unsupported platform the binding throws when it is called.
 */
export function bind<F>(prototype: string, library: Library | undefined = libc): F {
  if (!library) {
    return (() => {
      throw unusable;
    }) as F;
  }
  return library.func(prototype) as F;
}

/** Loads a shared library by soname, or undefined when the machine has none. */
export function loadLibrary(soname: string | null): Library | undefined {
  try {
    return koffi?.load(soname);
  } catch {
    return undefined;
  }
}

/** The `errno` left by the last native call on this thread. */
export function errno(): number {
  return koffi ? koffi.errno() : 0;
}

/** A SystemError for the native call that has just failed. */
export function systemError(syscall: string, hint?: string): SystemError {
  const number = errno();
  const context = hint ? { hint } : {};
  return new SystemError(syscall, number, getSystemErrorName(-number), context);
}

/**
 * A zero-copy ArrayBuffer over `length` bytes at `address`. It costs a microsecond: make it once per mapping.
 * @throws PlatformError where Node was built to refuse external buffers (the V8 sandbox, as in Electron).
 */
export function viewMemory(address: number, length: number): ArrayBuffer {
  checkPlatform();
  try {
    return koffi!.view(address, length);
  } catch (cause) {
    throw new PlatformError('this build of Node refuses ArrayBuffers over mapped memory', {
      hint: 'use a stock Node; Electron and other builds with the V8 sandbox cannot map queues',
      cause,
    });
  }
}

/** A file descriptor that the event loop watches. */
export interface Watch {
  close(): void;
}

const watches = new Set<Watch>();

/**
 * Calls `onReady` on the event loop whenever `fd` is readable (or writable); level-triggered. It keeps the event loop
 * alive.
 *
 * The native handle calls JavaScript directly, and aborts the process when that throws or cannot run any more. So the
 * call only schedules a turn of its own, and no handle is left open when the thread exits. A thread can also be
 * terminated with no word to it: there, watch nothing that may become readable by itself.
 */
export function watch(fd: number, direction: 'readable' | 'writable', onReady: () => void): Watch {
  checkPlatform();
  if (watches.size === 0) process.on('exit', closeWatches);
  let scheduled = false;
  let closed = false;
  const turn = (): void => {
    scheduled = false;
    if (!closed) onReady();
  };
  const handle = koffi!.node.poll(fd, { [direction]: true }, () => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(turn);
  });
  const made: Watch = {
    close: () => {
      if (closed) return;
      closed = true;
      handle.close();
      watches.delete(made);
      if (watches.size === 0) process.off('exit', closeWatches);
    },
  };
  watches.add(made);
  return made;
}

function closeWatches(): void {
  for (const open of [...watches]) open.close();
}

export const ERRNO = constants.errno;
