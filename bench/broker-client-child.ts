import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import {
  type Accelerator,
  ALGORITHM,
  Completion,
  OPCODE,
  type OpenOptions,
  open,
  STATUS,
  Submission,
} from '../src/index.js';
import { type Answer, LOAD_BYTES, type Load, sharedNow, type Task } from './broker-task.js';

/* A client of the broker's, with the argument DEVICE: does the tasks that its parent sends, and ends with its parent. */

const device = process.argv[2]!;
const PARAMETERS = { level: 1 };
/** Room for one output: the worst case of an input that does not compress, and its frame. */
const ROOM = 2 * LOAD_BYTES;
/** A client that stays idle needs the least there is. */
const IDLE: OpenOptions = { memoryBytes: 4 * 1024 * 1024, queueDepth: 2 };
/** Settled by now: the broker polls an idle queue for some milliseconds. */
const SETTLE_MS = 1000;

let opened: Promise<Accelerator> | undefined;
let inputs: Uint8Array[] = [];

function accelerator(): Promise<Accelerator> {
  opened ??= open(device);
  return opened;
}

type LoadTask = Extract<Task, { kind: 'load' }>;
type FloodTask = Extract<Task, { kind: 'flood' }>;
type HoldTask = Extract<Task, { kind: 'hold' }>;

async function load({ by, width, fromMs, toMs }: LoadTask): Promise<Load> {
  const compress = by === 'device' ? await deviceGzip() : zlibGzip;
  const latencies: number[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let started = sharedNow(); started < toMs; ) {
      await compress(inputs[next++ % inputs.length]!);
      const now = sharedNow();
      if (now >= fromMs && now < toMs) latencies.push(Math.round((now - started) * 1e4) / 10);
      started = now;
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  return { rate: (latencies.length * LOAD_BYTES) / 1000 / (toMs - fromMs), latencies };
}

async function deviceGzip(): Promise<(input: Uint8Array) => Promise<Buffer>> {
  const opened = await accelerator();
  return (input) => opened.compress(input, PARAMETERS);
}

const gzipAsync = promisify(gzip) as (input: Uint8Array, options: { level: number }) => Promise<Buffer>;

function zlibGzip(input: Uint8Array): Promise<Buffer> {
  return gzipAsync(input, PARAMETERS);
}

/** Keeps a raw queue full. Outputs overwrite each other: nobody reads them. */
async function flood({ depth, fromMs, toMs }: FloodTask): Promise<Load> {
  const opened = await accelerator();
  const queue = await opened.requestQueue({ depth });
  const { buffer, address } = await queue.reserveMemory(inputs.length * (LOAD_BYTES + ROOM));
  inputs.forEach((input, index) => {
    buffer.set(input, index * LOAD_BYTES);
  });
  const request = new Submission();
  request.operation = OPCODE.compress;
  request.algorithm = ALGORITHM.gzip;
  request.level = PARAMETERS.level;
  request.sourceLength = LOAD_BYTES;
  request.capacity = ROOM;
  const completion = new Completion();
  let sent = 0;
  let counted = 0;
  const receive = (): void => {
    while (queue.recv(completion)) {
      if (completion.status !== STATUS.ok)
        throw new Error(`a request failed with status ${completion.status}`);
      const now = sharedNow();
      if (now >= fromMs && now < toMs) counted++;
    }
  };
  while (sharedNow() < toMs) {
    do {
      const slice = sent % inputs.length;
      request.source = address + slice * LOAD_BYTES;
      request.destination = address + inputs.length * LOAD_BYTES + slice * ROOM;
    } while (queue.send(request, true) && ++sent);
    queue.flush();
    await queue.wait();
    receive();
  }
  while (queue.inFlight > 0) {
    await queue.wait();
    receive();
  }
  await opened.releaseQueue(queue);
  return { rate: (counted * LOAD_BYTES) / 1000 / (toMs - fromMs), latencies: [] };
}

/** Idle, but not unused: each queue has served a request. */
async function hold({ queues }: HoldTask): Promise<void> {
  const request = new Submission();
  const completion = new Completion();
  for (const count of queues) {
    const opened = await open(device, IDLE);
    await opened.noop();
    // One is the accelerator's own.
    for (let more = 1; more < count; more++) {
      const queue = await opened.requestQueue({ depth: 2 });
      queue.send(request);
      await queue.wait();
      queue.recv(completion);
    }
  }
  await sleep(SETTLE_MS);
}

async function perform(task: Task): Promise<Answer> {
  switch (task.kind) {
    case 'prepare':
      inputs = task.inputs;
      await accelerator();
      return { done: true };
    case 'load':
      return { load: await load(task) };
    case 'flood':
      return { load: await flood(task) };
    case 'hold':
      await hold(task);
      return { done: true };
  }
}

process.on('disconnect', () => process.exit());
process.on('message', async (task) => {
  let answer: Answer;
  try {
    answer = await perform(task as Task);
  } catch (error) {
    answer = { error: (error as Error).stack ?? String(error) };
  }
  process.send!(answer);
});
