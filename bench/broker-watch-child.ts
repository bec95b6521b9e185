import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/*
 * Waits, with the arguments PID FOLDER, until whoever started this process is gone, then ends the broker PID and removes
 * FOLDER. Who cleans up alone kills this process first.
 */

const [, , pidText, folder] = process.argv;
const pid = Number(pidText);
/** How long a broker has to stop by itself. */
const STOP_MS = 5000;
const LOOK_MS = 50;

/** Sends a signal (0: none); false if there is no such process. */
function signal(name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

process.stdin.resume();
process.stdin.once('close', async () => {
  const end = performance.now() + STOP_MS;
  for (let alive = signal('SIGTERM'); alive; alive = signal(0)) {
    if (performance.now() > end) {
      signal('SIGKILL');
      break;
    }
    await sleep(LOOK_MS);
  }
  rmSync(folder!, { recursive: true, force: true });
  process.exit();
});
