import { ALGORITHM, ALGORITHM_NAMES, type AlgorithmName } from '../abi/algorithms.js';
import { OPCODE, type OperationName } from '../abi/queue.js';
import { ArgumentError } from '../errors.js';
import { viewMemory } from '../sys/libc.js';
import type { EngineRequest } from './engines/engine.js';

/*
 * Faults on purpose, so that error paths can be tried where nothing is broken:
 *
 *   ACTION:OPERATION[/ALGORITHM][:NTH]    fail | kill | corrupt | delay=MILLISECONDS : the operation's name, or * : first, second, ...
 *
 * `kill:compress:3` ends the engine thread that takes the third compression; without NTH every one is met. `corrupt`
 * changes a bit of what a request gives: of its last byte, or of its result where there is none.
 */

export interface Fault {
  action: 'fail' | 'kill' | 'corrupt' | 'delay';
  delayMs: number;
  /** Of OPCODE; -1 for any. */
  opcode: number;
  /** Number of the algorithm; -1 for any. */
  algorithm: number;
  /** Requests of this kind to let pass first; -1 for none ever. */
  countdown: number;
}

/** What becomes of a request. */
export const VERDICT = { none: 0, fail: 1, corrupt: 2 } as const;
export type Verdict = (typeof VERDICT)[keyof typeof VERDICT];

const RULE = /^(fail|kill|corrupt|delay=(\d+)):([a-zA-Z]+|\*)(?:\/([a-z0-9-_]+))?(?::(\d+))?$/;

/** Parses rules; a malformed one is refused with the syntax. */
export function parseFaults(rules: readonly string[]): Fault[] {
  return rules.map((rule) => {
    const match = RULE.exec(rule);
    const [, action, delay, operation, algorithm, nth] = match ?? [];
    const opcode = operation === '*' ? -1 : OPCODE[operation as OperationName];
    const isKnown = algorithm === undefined || (ALGORITHM_NAMES as string[]).includes(algorithm);
    if (!match || opcode === undefined || !isKnown) {
      throw new ArgumentError(`cannot read the fault ${JSON.stringify(rule)}`, {
        hint: 'ACTION:OPERATION[/ALGORITHM][:NTH], for example kill:compress:3 or corrupt:encrypt/aes-256-gcm',
      });
    }
    return {
      action: action!.replace(/=.*/, '') as Fault['action'],
      delayMs: Number(delay ?? 0),
      opcode,
      algorithm: algorithm === undefined ? -1 : ALGORITHM[algorithm as AlgorithmName],
      countdown: nth === undefined ? -1 : Number(nth),
    };
  });
}

/** Meets a request with the first fault that is due, and says what is to become of it. */
export function injectFault(faults: Fault[], opcode: number, algorithm: number): Verdict {
  for (const fault of faults) {
    if (fault.opcode >= 0 && fault.opcode !== opcode) continue;
    if ((fault.algorithm >= 0 && fault.algorithm !== algorithm) || fault.countdown === 0) continue;
    if (fault.countdown > 0 && --fault.countdown > 0) continue;
    if (fault.action === 'kill') process.exit(70);
    if (fault.action === 'fail') return VERDICT.fail;
    if (fault.action === 'corrupt') return VERDICT.corrupt;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, fault.delayMs);
  }
  return VERDICT.none;
}

/** Changes one bit of what a request gave. */
export function corrupt(request: EngineRequest): void {
  if (request.destination === 0 || request.produced === 0) {
    request.result ^= 1;
    return;
  }
  const last = new Uint8Array(viewMemory(request.destination + request.produced - 1, 1));
  last[0]! ^= 1;
}
