import { OPCODE } from '../abi/queue.js';
import { ArgumentError } from '../errors.js';

/*
 * Faults on purpose, so that error paths can be tried where nothing is broken:
 *
 *   ACTION:OPERATION[:NTH]    fail | kill | delay=MILLISECONDS : noop | compress | decompress : first, second, ...
 *
 * `kill:compress:3` ends the engine thread that takes the third compression; without NTH every one is met.
 */

export interface Fault {
  action: 'fail' | 'kill' | 'delay';
  delayMs: number;
  opcode: number;
  /** Requests of this kind to let pass first; -1 for none ever. */
  countdown: number;
}

const RULE = /^(fail|kill|delay=(\d+)):(noop|compress|decompress)(?::(\d+))?$/;

/** Parses rules; a malformed one is refused with the syntax. */
export function parseFaults(rules: readonly string[]): Fault[] {
  return rules.map((rule) => {
    const match = RULE.exec(rule);
    if (!match) {
      throw new ArgumentError(`cannot read the fault ${JSON.stringify(rule)}`, {
        hint: 'ACTION:OPERATION[:NTH], for example kill:compress:3',
      });
    }
    const [, action, delay, operation, nth] = match;
    return {
      action: action!.replace(/=.*/, '') as Fault['action'],
      delayMs: Number(delay ?? 0),
      opcode: OPCODE[operation as keyof typeof OPCODE],
      countdown: nth === undefined ? -1 : Number(nth),
    };
  });
}

/** Meets a request with the first fault that is due; true if it is to fail. */
export function injectFault(faults: Fault[], opcode: number): boolean {
  for (const fault of faults) {
    if (fault.opcode !== opcode || fault.countdown === 0) continue;
    if (fault.countdown > 0 && --fault.countdown > 0) continue;
    if (fault.action === 'kill') process.exit(70);
    if (fault.action === 'fail') return true;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, fault.delayMs);
  }
  return false;
}
