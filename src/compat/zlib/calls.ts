import { AsyncResource } from 'node:async_hooks';
import zlib from 'node:zlib';
import type { CompressionAlgorithm } from '../../abi/algorithms.js';
import type { Accelerator } from '../../accelerator/accelerator.js';
import {
  compressOperation,
  decompressOperation,
  isPlainSuccess,
  isWholeInput,
  type Steps,
  WHOLE_INPUT_BYTES,
} from '../../algorithms/compression.js';
import { decompressGrowing } from '../../algorithms/decompression.js';
import { ownCopy } from '../../algorithms/own-copy.js';
import { DetachedError } from '../../errors.js';
import { bytesOf } from '../bytes.js';
import { callerRunner } from '../caller-runner.js';
import { shared } from '../shared-accelerator.js';
import { type Plan, planCall } from './choice.js';
import { countAccelerated, countCaller, countNode, type Reason } from './counters.js';
import { algorithmOf, type Format } from './formats.js';
import { WaitingLine } from './waiting-line.js';

type Callback = (error: Error | null, result: Buffer) => void;
type NodeCall = (input: unknown, options: unknown, callback?: unknown) => void;
type NodeSyncCall = (input: unknown, options?: unknown) => Buffer;

/** While the accelerator is being opened, as many calls as the pool has threads go to node:zlib, and the rest waits. */
const NODE_WIDTH = 4;
/** Calls that the accelerator has at a time: more than its queue holds, so that it never waits for the next. */
const MAX_SENT = 2048;
/** The most bytes that a synchronous call reads or makes in one request. */
const SYNC_BYTES = 256 * 1024 * 1024;

/** Everything that a call needs, whoever answers it. */
interface Call {
  node: NodeCall;
  given: unknown;
  options: unknown;
  callback: Callback;
  bytes: Uint8Array;
  /** How many bytes there were when it was called. */
  length: number;
  algorithm: CompressionAlgorithm;
  compresses: boolean;
  plan: Plan;
  /** Of a call that waits: what its callback runs in, whoever's end it is that begins it. */
  context: AsyncResource | undefined;
}

let nodeCalls = 0;
const line = new WaitingLine<Call>(MAX_SENT, sendInTurn);

/** A function of node:zlib with a callback, by the accelerator where that can do it. */
export function makeCall(name: string, format: Format): NodeCall {
  const node = (zlib as unknown as Record<string, NodeCall>)[name]!;
  const call: NodeCall = (given, options, callback) => {
    const [wishes, back] = typeof options === 'function' ? [undefined, options] : [options, callback];
    const reason =
      typeof back === 'function' ? begin(node, format, given, wishes, back as Callback) : 'argument';
    if (reason === undefined) return;
    countNode('calls', reason);
    node(given, options, callback);
  };
  return named(call, node);
}

/** Begins a call; or says why node:zlib must do it. */
function begin(
  node: NodeCall,
  format: Format,
  given: unknown,
  options: unknown,
  callback: Callback,
): Reason | undefined {
  const bytes = typeof given === 'string' ? Buffer.from(given) : bytesOf(given);
  if (!bytes) return 'argument';
  const plan = planCall(format, options);
  if (typeof plan === 'string') return plan;
  const algorithm = format.compresses ? format.algorithm : algorithmOf(format.algorithm, bytes);
  if (algorithm === undefined) return 'format';
  if (algorithm === 'br' && bytes.byteLength > WHOLE_INPUT_BYTES) return 'format';
  const call: Call = {
    node,
    given,
    options,
    callback,
    bytes,
    length: bytes.byteLength,
    algorithm,
    compresses: format.compresses,
    plan,
    context: undefined,
  };
  if (shared.current) {
    enter(call);
    return undefined;
  }
  if (!shared.isOpening) return 'no accelerator';
  if (nodeCalls < NODE_WIDTH) {
    nodeCalls++;
    runOnNode(call, () => nodeCalls--);
  } else {
    line.hold(shared.decided());
    enter(call);
  }
  return undefined;
}

function enter(call: Call): void {
  if (!line.isClear) call.context = new AsyncResource('ZLIB');
  line.enter(call);
}

function send(accelerator: Accelerator, call: Call): void {
  const { bytes, algorithm, plan, callback } = call;
  countAccelerated('calls');
  const work = call.compresses
    ? accelerator.compress(bytes, { algorithm, level: plan.level })
    : accelerator.decompress(bytes, { algorithm, maxOutputLength: plan.maxOutputLength });
  work.then(
    (result) => {
      line.done();
      if (result.byteLength > plan.maxOutputLength) again(call);
      // What the callback throws is an uncaught exception, and no rejection.
      else process.nextTick(callback, null, alone(result));
    },
    (error: unknown) => {
      line.done();
      shared.noteError(accelerator, error);
      again(call);
    },
  );
}

/** Whatever went wrong, node:zlib says it as callers expect it; or it was the device that failed, and all is well. */
function again(call: Call): void {
  if (isGone(call)) return;
  countNode('calls', 'failure');
  runLate(call, () => call.node(call.given, call.options, call.callback));
}

/** Whether there is nothing left to read, as the callback is told: node:zlib would take it for an input of no bytes. */
function isGone({ bytes, length, callback }: Call): boolean {
  if (bytes.byteLength === length) return false;
  const error = new DetachedError('the buffer was detached or resized while the call waited');
  process.nextTick(callback as (error: Error) => void, error);
  return true;
}

/** Runs a call after its caller has gone on: what node:zlib throws is called back. */
function runLate({ callback }: Call, run: () => void): void {
  try {
    run();
  } catch (error) {
    process.nextTick(callback as (error: unknown) => void, error);
  }
}

function runOnNode({ node, given, options, callback }: Call, onEnd: () => void): void {
  countNode('calls', 'starting');
  try {
    node(given, options, (error: Error | null, result: Buffer) => {
      onEnd();
      callback(error, result);
    });
  } catch (error) {
    onEnd();
    throw error;
  }
}

/** Begins a call whose turn has come. */
function sendInTurn(call: Call): void {
  if (call.context) call.context.runInAsyncScope(sendNow, undefined, call);
  else sendNow(call);
}

function sendNow(call: Call): void {
  if (isGone(call)) line.done();
  else if (shared.current) send(shared.current, call);
  else runLate(call, () => runOnNode(call, () => line.done()));
}

/** A synchronous function of node:zlib, by the engines of the calling thread where they can do it. */
export function makeSyncCall(name: string, format: Format): NodeSyncCall {
  const node = (zlib as unknown as Record<string, NodeSyncCall>)[`${name}Sync`]!;
  const call: NodeSyncCall = (given, options) => {
    const outcome = trySync(format, given, options);
    if (typeof outcome !== 'string') return outcome;
    countNode('calls', outcome);
    return node(given, options);
  };
  return named(call, node);
}

function trySync(format: Format, given: unknown, options: unknown): Buffer | Reason {
  const bytes = typeof given === 'string' ? Buffer.from(given) : bytesOf(given);
  if (!bytes) return 'argument';
  const plan = planCall(format, options);
  if (typeof plan === 'string') return plan;
  const algorithm = format.compresses ? format.algorithm : algorithmOf(format.algorithm, bytes);
  // Brotli and Zstandard would be the same library, called in the same thread.
  if (algorithm === undefined || algorithm === 'br' || algorithm === 'zstd') return 'format';
  if (bytes.byteLength > SYNC_BYTES) return 'format';
  try {
    const result = format.compresses
      ? compressHere(bytes, algorithm, plan.level)
      : decompressHere(bytes, algorithm, plan.maxOutputLength);
    if (result.byteLength > plan.maxOutputLength) return 'failure';
    countCaller();
    return result;
  } catch {
    return 'failure';
  }
}

function compressHere(bytes: Uint8Array, algorithm: CompressionAlgorithm, level: number): Buffer {
  const operation = compressOperation(bytes, { algorithm, level });
  callerRunner.start(operation);
  callerRunner.check(operation);
  return alone(operation.data);
}

function decompressHere(bytes: Uint8Array, algorithm: CompressionAlgorithm, maxOutputLength: number): Buffer {
  const parameters = { algorithm, maxOutputLength, ignoreTrailing: false };
  if (isWholeInput(bytes)) {
    const operation = decompressOperation(bytes, parameters);
    callerRunner.start(operation);
    if (isPlainSuccess(operation, parameters)) return alone(operation.data);
  }
  return alone(finish(decompressGrowing(callerRunner, bytes, bytes.byteLength, parameters, SYNC_BYTES)));
}

/** Requests in the calling thread are done when they have been started. */
function finish<T>(steps: Steps<T>): T {
  let step = steps.next();
  while (!step.done) step = steps.next();
  return step.value;
}

/** A result in memory of its own: callers may transfer its buffer, which small results share below. */
function alone(result: Buffer): Buffer {
  if (result.buffer.byteLength === result.byteLength) return result;
  return ownCopy(result);
}

/** Gives a function the name and length of the one that it stands for. */
export function named<F extends object>(own: F, node: { name: string; length: number }): F {
  return Object.defineProperties(own, {
    name: { value: node.name, configurable: true },
    length: { value: node.length, configurable: true },
  });
}
