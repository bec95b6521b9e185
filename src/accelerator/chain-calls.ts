import type { ChecksumAlgorithm, DeflateAlgorithm, DigestAlgorithm } from '../abi/algorithms.js';
import { DEFAULT_LEVELS, factsOf } from '../abi/algorithms.js';
import { LIMITS, OPCODE, SQE } from '../abi/queue.js';
import { checksumRecipe, digestRecipe } from '../algorithms/class-options.js';
import { compressBound } from '../algorithms/compression.js';
import type { Operation } from '../algorithms/operation.js';
import { type Bytes, checkObject, toBytes } from '../algorithms/options.js';
import { Recipe } from '../algorithms/recipe.js';
import { ArgumentError } from '../errors.js';
import { CipherSession, type MessageOptions, messageRequest } from './cipher-session.js';
import { asData, type ClassCalls } from './class-calls.js';
import type { KeySession } from './key-session.js';
import { MacSession } from './mac-session.js';

/** One stage of a chain. `digest`, `checksum` and `mac` look at what passes; the others change it. */
export type ChainStage =
  | { operation: 'digest'; algorithm?: DigestAlgorithm }
  | { operation: 'checksum'; algorithm?: ChecksumAlgorithm }
  | { operation: 'mac'; session: MacSession }
  | { operation: 'compress'; algorithm?: DeflateAlgorithm; level?: number }
  | { operation: 'decompress'; algorithm?: DeflateAlgorithm; maxOutputLength?: number }
  | ({ operation: 'encrypt' | 'decrypt'; session: CipherSession } & MessageOptions)
  | { operation: 'copy' };

export interface ChainResult {
  /** What the last changing stage made; nothing where no stage changes anything. */
  data: Buffer;
  /** What each stage found: a digest, a code, a checksum; undefined for those that change what passes. */
  found: (Buffer | number | bigint | undefined)[];
}

/** A stage as a request without its input. */
interface Stage {
  recipe: Recipe;
  aux: Uint8Array;
  ivBytes: number;
  key: KeySession | undefined;
  /** Bytes that it finds; 0 for one that changes what passes. */
  findsBytes: number;
  /** Room for what it makes of an input of this length. */
  room: (length: number) => number;
}

const NO_BYTES = new Uint8Array(0);
const CHECKSUM_BYTES = 8;
const CHAIN = new Recipe('chain');
const SAME = (length: number): number => length;

/** Several operations as one request: what lies between them never leaves the device. */
export class ChainCalls {
  readonly #calls: ClassCalls;

  constructor(calls: ClassCalls) {
    this.#calls = calls;
  }

  async run(input: Bytes, given: readonly ChainStage[]): Promise<ChainResult> {
    const bytes = toBytes(input);
    const stages = this.#stages(given);
    if (!this.#fitsDevice(stages, bytes.byteLength)) return this.#here(bytes, stages);
    for (const { key } of stages) key?.hold();
    try {
      const sessions: number[] = [];
      for (const { key } of stages) sessions.push(key ? await this.#calls.openSession(key) : 0);
      const operation = CHAIN.request(bytes, encode(stages, sessions));
      operation.param0 = stages.length;
      operation.capacity = Math.min(LIMITS.maxTransfer, roomFor(stages, bytes.byteLength));
      const output = await this.#calls.runOnDevice(CHAIN, operation, undefined, asData);
      return split(output, stages);
    } finally {
      for (const { key } of stages) key?.unhold();
    }
  }

  runSync(input: Bytes, given: readonly ChainStage[]): ChainResult {
    return this.#here(toBytes(input), this.#stages(given));
  }

  #stages(given: readonly ChainStage[]): Stage[] {
    if (!Array.isArray(given) || given.length < 1 || given.length > LIMITS.maxStages) {
      throw new ArgumentError(`a chain has 1 to ${LIMITS.maxStages} stages`);
    }
    return given.map((stage) => stageOf(stage, this.#calls));
  }

  #fitsDevice(stages: Stage[], length: number): boolean {
    const { operation, algorithm } = CHAIN;
    if (!this.#calls.isOffered(operation, algorithm)) return false;
    if (Math.max(length, roomFor(stages, length)) > LIMITS.maxTransfer) return false;
    if (encodedBytes(stages) > LIMITS.maxAux) return false;
    return stages.every(
      ({ recipe }) =>
        recipe.operation === OPCODE.copy || this.#calls.isOffered(recipe.operation, recipe.algorithm),
    );
  }

  /** The same, one stage after the other, in the calling thread. */
  #here(input: Uint8Array, stages: Stage[]): ChainResult {
    let data = input;
    let changed = false;
    const found: ChainResult['found'] = [];
    for (const stage of stages) {
      const { recipe, aux, ivBytes, key, findsBytes } = stage;
      const operation = recipe.request(data, aux);
      if (ivBytes > 0) operation.param0 = ivBytes;
      operation.capacity =
        recipe.operation === OPCODE.checksum ? 0 : findsBytes || stage.room(data.byteLength);
      const output = this.#calls.runInPlace(recipe, operation, key, (done) =>
        recipe.operation === OPCODE.checksum ? checksumOf(done, recipe) : done.data,
      );
      found.push(findsBytes > 0 ? output : undefined);
      if (findsBytes > 0) continue;
      data = output as Buffer;
      changed = true;
    }
    return { data: changed ? (data as Buffer) : Buffer.alloc(0), found };
  }
}

function stageOf(stage: ChainStage, calls: ClassCalls): Stage {
  checkObject(stage);
  const plain = { aux: NO_BYTES, ivBytes: 0, key: undefined, findsBytes: 0, room: SAME };
  switch (stage.operation) {
    case 'digest': {
      const recipe = digestRecipe({ ...(stage.algorithm ? { algorithm: stage.algorithm } : {}) });
      return { ...plain, recipe, findsBytes: recipe.baseCapacity };
    }
    case 'checksum': {
      const recipe = checksumRecipe({ ...(stage.algorithm ? { algorithm: stage.algorithm } : {}) });
      return { ...plain, recipe, findsBytes: CHECKSUM_BYTES };
    }
    case 'mac': {
      if (!(stage.session instanceof MacSession)) throw new ArgumentError('a stage mac has a session');
      const { recipe } = stage.session;
      const key = stage.session.keyFor(calls);
      return { ...plain, recipe, key, findsBytes: recipe.baseCapacity };
    }
    case 'compress': {
      const { algorithm = 'gzip' } = stage;
      const recipe = new Recipe('compress', algorithm);
      recipe.level = stage.level ?? DEFAULT_LEVELS[algorithm];
      return { ...plain, recipe, room: (length) => compressBound(algorithm, length) };
    }
    case 'decompress': {
      const recipe = new Recipe('decompress', stage.algorithm ?? 'gzip');
      const { maxOutputLength } = stage;
      return { ...plain, recipe, room: (length) => maxOutputLength ?? Math.max(65_536, 8 * length) };
    }
    case 'copy':
      return { ...plain, recipe: new Recipe('copy') };
    case 'encrypt':
    case 'decrypt':
      return cipherStage(stage, calls);
    default:
      throw new ArgumentError(`a chain has no such stage: ${String((stage as ChainStage).operation)}`, {
        hint: 'there are digest, checksum, mac, compress, decompress, encrypt, decrypt, copy',
      });
  }
}

function cipherStage(stage: ChainStage & { operation: 'encrypt' | 'decrypt' }, calls: ClassCalls): Stage {
  const { session, iv } = stage;
  if (!(session instanceof CipherSession))
    throw new ArgumentError(`a stage ${stage.operation} has a session`);
  if (session.makesNonces) {
    throw new ArgumentError('a session that makes its nonces is none for a chain', { hint: 'pass an iv' });
  }
  const key = session.keyFor(calls);
  const recipe = session.recipes[stage.operation];
  // The shortest message that is not refused for its length: what the real one is, is found out on the way.
  const { aux, param0 } = messageRequest(session.recipes, recipe, new Uint8Array(64), iv, stage);
  const room = (length: number): number => Math.max(16, length + Math.max(0, recipe.baseCapacity));
  return { recipe, aux, ivBytes: param0, key, findsBytes: 0, room };
}

/** Room for the last stage's output, and for what others find. */
function roomFor(stages: Stage[], inputLength: number): number {
  let length = inputLength;
  let last = 0;
  let notes = 0;
  for (const { findsBytes, room } of stages) {
    notes += findsBytes;
    if (findsBytes > 0) continue;
    length = room(length);
    last = length;
  }
  return last + notes;
}

/** Parameters begin on a multiple of 8 bytes. */
const padded = (length: number): number => (length + 7) & ~7;

function encodedBytes(stages: Stage[]): number {
  return stages.reduce((sum, { aux }) => sum + SQE.bytes + padded(aux.byteLength), 0);
}

/** The stages as submissions, then their parameters. */
function encode(stages: Stage[], sessions: number[]): Buffer {
  const encoded = Buffer.alloc(encodedBytes(stages));
  let auxAt = stages.length * SQE.bytes;
  stages.forEach(({ recipe, aux, ivBytes }, index) => {
    const at = index * SQE.bytes;
    const { offset } = SQE;
    encoded[at + offset.opcode] = recipe.operation;
    encoded[at + offset.algorithm] = recipe.algorithm;
    encoded[at + offset.level] = recipe.level;
    encoded[at + offset.flags] = recipe.flags;
    encoded.writeUInt32LE(sessions[index]! >>> 0, at + offset.session);
    encoded.writeUInt32LE(aux.byteLength === 0 ? 0 : auxAt, at + offset.auxLow);
    encoded.writeUInt32LE(aux.byteLength, at + offset.auxLength);
    encoded.writeInt32LE(ivBytes > 0 ? ivBytes : recipe.param0, at + offset.param0);
    encoded.writeInt32LE(recipe.param1, at + offset.param1);
    encoded.writeInt32LE(recipe.param2, at + offset.param2);
    encoded.set(aux, auxAt);
    auxAt += padded(aux.byteLength);
  });
  return encoded;
}

/** Output and what was found, out of what the device wrote. */
function split(output: Buffer, stages: Stage[]): ChainResult {
  const notes = stages.reduce((sum, { findsBytes }) => sum + findsBytes, 0);
  let at = output.length - notes;
  const data = output.subarray(0, at);
  const found = stages.map(({ recipe, findsBytes }) => {
    if (findsBytes === 0) return undefined;
    const note = output.subarray(at, at + findsBytes);
    at += findsBytes;
    if (recipe.operation !== OPCODE.checksum) return note;
    return checksumValue(recipe, note.readInt32LE(0), note.readInt32LE(4));
  });
  return { data, found };
}

/** A checksum as a number, or as a bigint where it has 64 bits. */
export function checksumValue({ algorithmName }: Recipe, low: number, high: number): number | bigint {
  if (factsOf(algorithmName!).outputBytes === 4) return low >>> 0;
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

export function checksumOf({ result, resultHigh }: Operation, recipe: Recipe): number | bigint {
  return checksumValue(recipe, result, resultHigh);
}
