import { describeMachine } from './report.js';

/*
 * Describes the machine in a process of its own: that loads every engine, and the collector of a process that has done so
 * works twice as often from then on, which measures the bench and not the accelerator.
 */
process.stdout.write(JSON.stringify(describeMachine()));
