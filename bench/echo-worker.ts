import { parentPort } from 'node:worker_threads';

/* Sends every message back. */
parentPort!.on('message', (message) => parentPort!.postMessage(message));
