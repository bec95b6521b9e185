import { LIMITS, OPCODE, SQE } from '../abi/queue.js';
import type { ClientMemory } from './client-memory.js';
import { RULES } from './rules.js';
import { Scratch } from './scratch.js';

/*
 * A request of a client that shares no memory: its ranges are brought to memory of the device, and what it writes is
 * brought back. Which of its fields are ranges, and which way they go, is what its operation's rule says.
 */

/** Where a result lies in the scratch memory, and where the client wants it. */
interface Result {
  destination: number;
  at: number;
  capacity: number;
}

/** A request's piece of the scratch memory. */
export interface Stage {
  at: number;
  bytes: number;
  results: Result[];
  /** It holds a key, and is overwritten when the request has ended. */
  secret: boolean;
}

/** One of a request's ranges. */
interface Range {
  /** The word of the submission that its address starts in. */
  word: number;
  address: number;
  length: number;
  isResult: boolean;
}

const OPCODE_WORD = SQE.offset.opcode >> 2;
const SOURCE = SQE.offset.sourceLow >> 2;
const SOURCE_LENGTH = SQE.offset.sourceLength >> 2;
const CAPACITY = SQE.offset.destinationCapacity >> 2;
const DESTINATION = SQE.offset.destinationLow >> 2;
const AUX = SQE.offset.auxLow >> 2;
const AUX_LENGTH = SQE.offset.auxLength >> 2;

/**
 * Brings here what a request reads, and points it to its copies. A request that is malformed stays as it is: engine
 * threads refuse it.
 * @param keep told of the piece before anything is awaited that could fail
 */
export async function stageRequest(
  entry: Int32Array,
  client: ClientMemory,
  scratch: Scratch,
  owner: object,
  keep: (stage: Stage) => void,
): Promise<void> {
  const ranges = rangesOf(entry).filter(({ address, length, isResult }) =>
    client.isRemote(address, length, isResult),
  );
  const bytes = ranges.reduce((sum, { length }) => sum + Scratch.rounded(length), 0);
  if (bytes === 0) return;
  const at = await scratch.take(bytes, owner);
  if (at === undefined) return;
  const stage: Stage = {
    at,
    bytes,
    results: [],
    secret: (entry[OPCODE_WORD]! & 0xff) === OPCODE.sessionOpen,
  };
  keep(stage);
  let next = at;
  for (const { word, address, length, isResult } of ranges) {
    const here = next;
    next += Scratch.rounded(length);
    if (isResult) {
      stage.results.push({ destination: address, at: here, capacity: length });
      setWide(entry, word, scratch.iova + here);
      continue;
    }
    // Looked up again: it may have been unmapped while room was waited for.
    const target = scratch.mapping.bytes.subarray(here, here + length);
    const came = client.isRemote(address, length, false) && (await client.read(address, target));
    setWide(entry, word, came ? scratch.iova + here : 0);
  }
}

/** The ranges that a request has, if its lengths are ones that there are. */
function rangesOf(entry: Int32Array): Range[] {
  const rule = RULES[entry[OPCODE_WORD]! & 0xff];
  const sourceLength = entry[SOURCE_LENGTH]! >>> 0;
  const capacity = entry[CAPACITY]! >>> 0;
  const auxLength = entry[AUX_LENGTH]! >>> 0;
  if (!rule || sourceLength > LIMITS.maxTransfer || capacity > LIMITS.maxTransfer) return [];
  if (auxLength > (rule.aux === 'copied' ? LIMITS.maxAux : LIMITS.maxTransfer)) return [];
  if (rule.destination === 'yes' && capacity === 0) return [];
  const range = (word: number, length: number, isResult: boolean): Range[] =>
    length === 0 ? [] : [{ word, address: wide(entry, word), length, isResult }];
  return [
    ...(rule.source ? range(SOURCE, sourceLength, false) : []),
    ...(rule.destination === 'no' ? [] : range(DESTINATION, capacity, true)),
    ...(rule.aux === 'none' ? [] : range(AUX, auxLength, rule.aux === 'written')),
  ];
}

function wide(entry: Int32Array, low: number): number {
  return (entry[low]! >>> 0) + (entry[low + 1]! >>> 0) * 4294967296;
}

function setWide(entry: Int32Array, low: number, value: number): void {
  entry[low] = value | 0;
  entry[low + 1] = (value / 4294967296) | 0;
}
