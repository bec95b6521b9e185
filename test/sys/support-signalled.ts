import { parentPort } from 'node:worker_threads';
import { duplicateFd } from '../../src/sys/fd.js';
import { Interrupt } from '../../src/sys/interrupt.js';

/** A thread that listens to an eventfd, and tells its parent of a copy of it. */
const interrupt = new Interrupt('eventfd');
interrupt.listen(() => {});
interrupt.ref();
parentPort!.postMessage(duplicateFd(interrupt.deviceFd));
