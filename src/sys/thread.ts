import { bind } from './libc.js';

/**
 * Gives the processor to another thread that waits for it, if there is one (sched_yield(2)). For whoever polls longer
 * than usual: on a busy machine, what it polls for may be waiting for this very processor.
 */
export const yieldProcessor = bind<() => number>('int sched_yield()');
