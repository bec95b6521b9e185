import { setTimeout as sleep } from 'node:timers/promises';
import { open } from '../src/index.js';

/* Waits, with an open accelerator (`open MS`) or without (`none MS`), and prints its share of a processor. */

const [, , side, text] = process.argv;
const ms = Number(text);
/** For what starting leaves behind: compilation, the first sleep of the engine. */
const SETTLE_MS = 500;

const accelerator = side === 'open' ? await open() : undefined;
await accelerator?.noop();
await sleep(SETTLE_MS);
const started = performance.now();
const before = process.cpuUsage();
await sleep(ms);
const { user, system } = process.cpuUsage(before);
const percent = (user + system) / 10 / (performance.now() - started);
await accelerator?.close();
process.stdout.write(JSON.stringify({ percent }));
