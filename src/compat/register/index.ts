/**
 * `node --import warpdrive/register app.js`: the program and all that it depends on, ES modules and CommonJS, use
 * `warpdrive/zlib` where they ask for node:zlib. Threads and child processes inherit it. WARPDRIVE_REGISTER says what is
 * replaced, WARPDRIVE_REPORT=1 has each thread say at its end what was done where.
 */

import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';

/** Every thread of a program comes here first, the device's own among them: they have nothing to replace. */
function isDeviceThread(): boolean {
  const folder = fileURLToPath(new URL('../../device/', import.meta.url));
  return !isMainThread && process.argv[1]?.startsWith(folder) === true;
}

if (!isDeviceThread()) await import('./start.js');
