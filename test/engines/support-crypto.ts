import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { ALGORITHM, type AlgorithmName } from '../../src/abi/algorithms.js';
import { OPCODE, type OperationName, statusName } from '../../src/abi/queue.js';
import { type Engine, EngineRequest } from '../../src/device/engines/engine.js';
import { loadIpsecMb } from '../../src/device/engines/ipsec-mb.js';
import { loadNodeCrypto } from '../../src/device/engines/node-crypto.js';
import { loadOpenssl } from '../../src/device/engines/openssl.js';
import { bind } from '../../src/sys/libc.js';
import { Mapping } from '../../src/sys/memory.js';

/** Both engines; `openssl` is there in every official build of Node. */
export const openssl = loadOpenssl()!;
export const nodeCrypto = loadNodeCrypto();
assert.ok(openssl, 'OpenSSL is found');
export const ENGINES: readonly Engine[] = [openssl, nodeCrypto];
/** Where it is, and the processor has what it needs. */
export const ipsecMb = loadIpsecMb();
export const CIPHER_ENGINES: readonly Engine[] = ipsecMb ? [...ENGINES, ipsecMb] : ENGINES;

/** What OpenSSL's error queue of this thread has. */
export const peekError = bind<() => number>('unsigned long ERR_peek_error()');

/** A key as sessions take it. */
export const der = (key: KeyObject): Buffer =>
  key.export({
    format: 'der',
    type: key.type === 'private' ? 'pkcs8' : 'spki',
  } as never) as unknown as Buffer;

const ROOM = 1 << 20;
const FILLING = 0x5a;
/** Where the parts of a request lie: source, destination, parameters, key. */
const memory = Mapping.anonymous(4 * ROOM);
export const AT = { source: 0, destination: ROOM, aux: 2 * ROOM, key: 3 * ROOM } as const;
export const base = memory.address;

/** What a request gives beside its bytes. */
export interface Given {
  source?: Uint8Array;
  aux?: Uint8Array;
  key?: Uint8Array;
  capacity?: number;
  level?: number;
  piece?: boolean;
  unpadded?: boolean;
  params?: readonly number[];
  context?: number;
  /** Instead of the usual places. */
  sourceAt?: number;
  destinationAt?: number;
}

export interface Answer {
  status: string;
  output: Buffer;
  produced: number;
  consumed: number;
  result: number;
}

const CANARY_BYTES = 64;

export function requestFor(operation: OperationName, algorithm: AlgorithmName, given: Given): EngineRequest {
  const request = new EngineRequest();
  const { bytes } = memory;
  const sourceAt = given.sourceAt ?? AT.source;
  const destinationAt = given.destinationAt ?? AT.destination;
  const source = given.source ?? Buffer.alloc(0);
  const aux = given.aux ?? Buffer.alloc(0);
  const key = given.key ?? Buffer.alloc(0);
  const capacity = given.capacity ?? source.length + 1024;
  bytes.fill(FILLING, destinationAt, destinationAt + capacity + CANARY_BYTES);
  bytes.set(source, sourceAt);
  bytes.set(aux, AT.aux);
  bytes.set(key, AT.key);
  request.operation = OPCODE[operation];
  request.algorithm = ALGORITHM[algorithm];
  request.level = given.level ?? 0;
  request.piece = given.piece ?? false;
  request.unpadded = given.unpadded ?? false;
  request.source = source.length === 0 ? 0 : base + sourceAt;
  request.sourceLength = source.length;
  request.destination = capacity === 0 ? 0 : base + destinationAt;
  request.capacity = capacity;
  request.aux = aux.length === 0 ? 0 : base + AT.aux;
  request.auxLength = aux.length;
  request.key = base + AT.key;
  request.keyLength = key.length;
  [request.param0, request.param1, request.param2] = [0, 1, 2].map((at) => given.params?.[at] ?? 0) as [
    number,
    number,
    number,
  ];
  request.context = given.context ?? 0;
  return request;
}

/** Executes one request, and sees that nothing is written beyond its room. */
export function run(
  engine: Engine,
  operation: OperationName,
  algorithm: AlgorithmName,
  given: Given,
): Answer {
  const request = requestFor(operation, algorithm, given);
  const at = given.destinationAt ?? AT.destination;
  const beyond = memory.bytes.slice(at + request.capacity, at + request.capacity + CANARY_BYTES);
  const status = statusName(engine.run(request));
  const after = memory.bytes.subarray(at + request.capacity, at + request.capacity + CANARY_BYTES);
  assert.ok(Buffer.from(beyond).equals(after), 'nothing is written beyond the destination');
  const { produced, consumed, result } = request;
  return { status, output: Buffer.from(memory.bytes.slice(at, at + produced)), produced, consumed, result };
}

/** What lies in the destination now. */
export const destination = (length: number): Uint8Array =>
  memory.bytes.slice(AT.destination, AT.destination + length);

/** Whether nothing was written to the destination since the request was made, but perhaps zeroes. */
export const isClean = (length: number): boolean =>
  destination(length).every((byte) => byte === 0 || byte === FILLING);

/** A context for a key, or 0. */
export function open(
  engine: Engine,
  operation: OperationName,
  algorithm: AlgorithmName,
  given: Given,
): number {
  return engine.openContext(requestFor(operation, algorithm, { ...given, level: OPCODE[operation] }));
}

/** Runs several requests in one session. */
export function inSession<T>(
  engine: Engine,
  operation: OperationName,
  algorithm: AlgorithmName,
  given: Given,
  body: (context: number) => T,
): T {
  const context = open(engine, operation, algorithm, given);
  assert.notEqual(context, 0, `${engine.name} opens a session for ${algorithm}`);
  try {
    return body(context);
  } finally {
    engine.closeContext(context);
  }
}

/** The output of a request that must succeed, in a session of its own where there is a key. */
export function output(
  engine: Engine,
  operation: OperationName,
  algorithm: AlgorithmName,
  given: Given,
): Buffer {
  const once = (context: number): Buffer => {
    const answer = run(engine, operation, algorithm, { ...given, context });
    assert.equal(answer.status, 'ok', `${engine.name} ${operation} ${algorithm}`);
    return answer.output;
  };
  const { key } = given;
  return key === undefined ? once(0) : inSession(engine, operation, algorithm, given, once);
}

/** The algorithms of an engine for an operation. */
export function algorithmsFor(engine: Engine, operation: OperationName): AlgorithmName[] {
  const all = engine.capabilities.filter(({ operations }) => operations.includes(operation));
  return [...new Set(all.flatMap(({ algorithms }) => algorithms))];
}
