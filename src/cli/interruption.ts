import { unlinkSync } from 'node:fs';

/** Exit codes as a shell reports a death by these signals. */
const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

const temporaries = new Set<string>();
const beforeExit = new Set<() => void>();
let blocking = 0;

/** Removes temporary files and exits when a signal asks this process to end. */
export function handleSignals(): void {
  for (const [signal, code] of Object.entries(SIGNALS)) {
    process.on(signal, () => {
      for (const run of beforeExit) run();
      for (const path of temporaries) removeQuietly(path);
      if (blocking > 0) {
        // A thread that writes to a full pipe keeps exit() waiting; the signal itself does not wait for it.
        process.removeAllListeners(signal);
        process.kill(process.pid, signal);
      }
      process.exit(code);
    });
  }
}

/** Has a file removed if a signal ends this process. Returns what takes that back. */
export function removeOnSignal(path: string): () => void {
  temporaries.add(path);
  return () => temporaries.delete(path);
}

/** Has something done first if a signal ends this process. Returns what takes that back. */
export function onSignal(run: () => void): () => void {
  beforeExit.add(run);
  return () => beforeExit.delete(run);
}

/** Marks work that may keep a thread blocked for as long as it lasts. */
export async function whileBlocking<T>(work: Promise<T>): Promise<T> {
  blocking++;
  try {
    return await work;
  } finally {
    blocking--;
  }
}

export function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was not made yet, or somebody else has removed it.
  }
}
