import { prerequisites, runGuest } from './machine.js';

/** `npm run test:guest -- --shell`: a shell in the guest, on this terminal. */

const found = prerequisites();
if ('missing' in found) {
  console.error(`missing: ${found.missing}`);
  process.exitCode = 1;
} else {
  await runGuest(found, { shell: true });
}
