import type { AlgorithmName } from '../abi/algorithms.js';
import { ALGORITHM } from '../abi/algorithms.js';
import { OPCODE, type OperationName } from '../abi/queue.js';
import { Operation } from './operation.js';

/** The parameters of a call, checked once: what turns any input into a request. */
export class Recipe {
  readonly operation: number;
  readonly operationName: OperationName;
  /** Number of the algorithm; 0 where there is none. */
  readonly algorithm: number;
  readonly algorithmName: AlgorithmName | undefined;
  level = 0;
  flags = 0;
  param0 = 0;
  param1 = 0;
  param2 = 0;
  /** Room for the output: so many bytes, and those of the input if it grows with it. */
  baseCapacity = 0;
  grows = false;
  /** The input is a secret. */
  secret = false;

  constructor(operation: OperationName, algorithm?: AlgorithmName) {
    this.operationName = operation;
    this.operation = OPCODE[operation];
    this.algorithmName = algorithm;
    this.algorithm = algorithm === undefined ? 0 : ALGORITHM[algorithm];
  }

  /** Room for the output of an input of so many bytes. */
  capacityFor(length: number): number {
    return Math.max(0, this.baseCapacity + (this.grows ? length : 0));
  }

  /** The request for an input, with its parameters. */
  request(input: Uint8Array, aux?: Uint8Array): Operation {
    const operation = new Operation(input);
    operation.operation = this.operation;
    operation.algorithm = this.algorithm;
    operation.level = this.level;
    operation.flags = this.flags;
    operation.param0 = this.param0;
    operation.param1 = this.param1;
    operation.param2 = this.param2;
    operation.secret = this.secret;
    operation.capacity = this.capacityFor(input.byteLength);
    if (aux) operation.aux = aux;
    return operation;
  }
}
