import { OPCODE, SQE_FLAG } from '../abi/queue.js';

/** What a device does with a request's third range: nothing, a private copy of it, or what it does with the others. */
export type AuxUse = 'none' | 'copied' | 'read' | 'written';

/** Which fields a request of an operation has. Fields that it has not must be 0. */
export interface OperationRule {
  source: boolean;
  /** `maybe`: a capacity of 0 stands for none. */
  destination: 'no' | 'yes' | 'maybe';
  aux: AuxUse;
  session: 'no' | 'yes' | 'maybe';
  /** How many of param0 to param2 it has. */
  params: 0 | 1 | 2 | 3;
  /** Of SQE_FLAG, beside `timed`. */
  flags: number;
}

const NOTHING: OperationRule = {
  source: false,
  destination: 'no',
  aux: 'none',
  session: 'no',
  params: 0,
  flags: 0,
};
const { piece, crc32, adler32, crc32c, unpadded } = SQE_FLAG;
const CIPHER: OperationRule = {
  source: true,
  destination: 'maybe',
  aux: 'copied',
  session: 'yes',
  params: 2,
  flags: unpadded,
};

/** By opcode; docs/device-spec.md, "Operations". */
export const RULES: readonly (OperationRule | undefined)[] = (() => {
  const rules: (OperationRule | undefined)[] = [];
  rules[OPCODE.noop] = NOTHING;
  rules[OPCODE.compress] = { ...NOTHING, source: true, destination: 'yes', flags: piece | crc32 | adler32 };
  rules[OPCODE.decompress] = {
    ...NOTHING,
    source: true,
    destination: 'yes',
    session: 'maybe',
    flags: crc32 | adler32,
  };
  rules[OPCODE.sessionOpen] = { ...NOTHING, source: true, params: 3, flags: piece };
  rules[OPCODE.sessionClose] = { ...NOTHING, session: 'yes' };
  rules[OPCODE.digest] = {
    ...NOTHING,
    source: true,
    destination: 'maybe',
    session: 'maybe',
    flags: piece,
  };
  rules[OPCODE.mac] = { ...NOTHING, source: true, destination: 'maybe', session: 'yes', flags: piece };
  rules[OPCODE.encrypt] = CIPHER;
  rules[OPCODE.decrypt] = CIPHER;
  rules[OPCODE.checksum] = { ...NOTHING, source: true, params: 2 };
  rules[OPCODE.copy] = { ...NOTHING, source: true, destination: 'maybe', flags: crc32c };
  rules[OPCODE.fill] = { ...NOTHING, destination: 'yes', params: 2 };
  rules[OPCODE.compare] = { ...NOTHING, source: true, aux: 'read' };
  rules[OPCODE.dualCopy] = { ...NOTHING, source: true, destination: 'maybe', aux: 'written', flags: crc32c };
  rules[OPCODE.derive] = { ...NOTHING, source: true, destination: 'yes', aux: 'copied', params: 3 };
  rules[OPCODE.sign] = { ...NOTHING, source: true, destination: 'yes', session: 'yes' };
  rules[OPCODE.verify] = { ...NOTHING, source: true, aux: 'copied', session: 'yes' };
  rules[OPCODE.agree] = { ...NOTHING, source: true, destination: 'yes', session: 'yes' };
  rules[OPCODE.chain] = { ...NOTHING, source: true, destination: 'maybe', aux: 'copied', params: 1 };
  return rules;
})();

/** Whether a request's third range is right for its operation, its lengths apart. */
export function auxIsKnown(rule: OperationRule, auxLength: number, address: number): boolean {
  return rule.aux !== 'none' || (auxLength === 0 && address === 0);
}
