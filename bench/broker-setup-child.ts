import { open } from '../src/index.js';

/* Opens DEVICE, and prints how long it took to the first completion. */

const started = performance.now();
const accelerator = await open(process.argv[2]!);
await accelerator.noop();
const ms = performance.now() - started;
await accelerator.close();
process.stdout.write(JSON.stringify({ ms }));
