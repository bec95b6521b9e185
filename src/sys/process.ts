import { constants } from 'node:os';
import { bind, systemError } from './libc.js';

const prctl = bind<(option: number, argument: number) => number>('int prctl(int option, uint64_t arg2)');

/** <linux/prctl.h>. */
const PR_SET_PDEATHSIG = 1;

/**
 * Has the kernel kill this process when the thread that started it ends (prctl(2)), even while it is stopped. A parent
 * that has ended by then already is not noticed.
 */
export function dieWithParent(): void {
  if (prctl(PR_SET_PDEATHSIG, constants.signals.SIGKILL) !== 0) throw systemError('prctl');
}
