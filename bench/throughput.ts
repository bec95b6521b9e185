import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { gunzip, gunzipSync, gzip, gzipSync } from 'node:zlib';
import { EngineRequest } from '../src/device/engines/engine.js';
import { EngineRegistry } from '../src/device/engines/registry.js';
import {
  type AcceleratorQueue,
  ALGORITHM,
  Completion,
  OPCODE,
  type OpenOptions,
  open,
  STATUS,
  Submission,
} from '../src/index.js';
import { Mapping } from '../src/sys/memory.js';
import { classRows } from './class-rows.js';
import { type Budget, compare, type Outcome, type RowPlan, type Suite, throughput } from './measure.js';
import { slices } from './text.js';

const KIB = 1024;
const DEPTH = 128;
/** Requests written between two rings of the doorbell. */
const BATCH = 32;
const ZLIB_ONLY: OpenOptions = { disableEngines: ['isa-l', 'libdeflate'] };

export const throughputSuite: Suite = {
  name: 'throughput',
  rows: [
    {
      name: 'noop-pipelined',
      unit: 'requests/s',
      better: 'higher',
      baseline: 'worker-postmessage',
      target: { of: 'value', atLeast: 8e6 },
      run: noopPipelined,
    },
    compressing('gzip1-4k-1', 4 * KIB, 1, 1, 6),
    compressing('gzip1-4k-32', 4 * KIB, 1, 32, 3),
    compressing('gzip1-4k-1-zlib', 4 * KIB, 1, 1, 2, ZLIB_ONLY),
    compressing('gzip1-4k-32-zlib', 4 * KIB, 1, 32, 1.2, ZLIB_ONLY),
    compressing('gzip1-64k-8', 64 * KIB, 1, 8, 2.5),
    compressing('gzip6-64k-8', 64 * KIB, 6, 8, 1.2),
    {
      name: 'gunzip-64k-8',
      unit: 'MB/s',
      better: 'higher',
      baseline: 'zlib.gunzip',
      target: { of: 'ratio', atLeast: 1.5 },
      run: decompressing,
    },
    {
      name: 'raw-engine-share',
      unit: 'MB/s',
      better: 'higher',
      baseline: 'bare-engine',
      target: { of: 'ratio', atLeast: 0.9 },
      run: rawEngineShare,
    },
    ...classRows,
  ],
};

async function noopPipelined(budget: Budget): Promise<Outcome> {
  const worker = new Worker(new URL('./echo-worker.js', import.meta.url));
  const accelerator = await open();
  const queue = await accelerator.requestQueue({ depth: DEPTH });
  try {
    const samples = await compare(
      budget.rounds,
      () => {
        const started = performance.now();
        let count = 0;
        let elapsed = 0;
        do {
          pump(queue, 100_000);
          count += 100_000;
          elapsed = performance.now() - started;
        } while (elapsed < budget.roundMs);
        return (count * 1000) / elapsed;
      },
      () => echoes(worker, budget.roundMs),
    );
    return { samples, notes: [`both sides keep up to ${DEPTH} in flight`] };
  } finally {
    await accelerator.close();
    await worker.terminate();
  }
}

const submission = new Submission();
const completion = new Completion();

function pump(queue: AcceleratorQueue, count: number): void {
  let sent = 0;
  let done = 0;
  while (done < count) {
    const until = Math.min(count, sent + BATCH);
    while (sent < until && queue.send(submission, true)) sent++;
    queue.flush();
    while (queue.recv(completion)) done++;
  }
}

function echoes(worker: Worker, ms: number): Promise<number> {
  return new Promise((resolve) => {
    const started = performance.now();
    let sent = 0;
    let done = 0;
    const onMessage = (): void => {
      done++;
      if (performance.now() - started < ms) {
        worker.postMessage(0);
        sent++;
      } else if (done === sent) {
        worker.off('message', onMessage);
        resolve((done * 1000) / (performance.now() - started));
      }
    };
    worker.on('message', onMessage);
    for (; sent < DEPTH; sent++) worker.postMessage(0);
  });
}

/** A row of compressions with `width` in flight. */
function compressing(
  name: string,
  length: number,
  level: number,
  width: number,
  atLeast: number,
  options: OpenOptions = {},
): RowPlan {
  return {
    name,
    unit: 'MB/s',
    better: 'higher',
    baseline: 'zlib.gzip',
    target: { of: 'ratio', atLeast },
    run: async (budget) => {
      const inputs = slices(((1024 * KIB) / length) * 2, length);
      const zlibGzip = promisify(gzip) as (input: Buffer, options: { level: number }) => Promise<Buffer>;
      const parameters = { level };
      const accelerator = await open(options);
      try {
        const { data, info } = await accelerator.compress(inputs[0]!, { level, info: true });
        if (!gunzipSync(data).equals(inputs[0]!)) throw new Error(`${name}: the output is not the input's`);
        const samples = await compare(
          budget.rounds,
          () =>
            throughput(budget.roundMs, width, inputs, async (input) => {
              await accelerator.compress(input, parameters);
              return input.length;
            }),
          () =>
            throughput(budget.roundMs, width, inputs, async (input) => {
              await zlibGzip(input, parameters);
              return input.length;
            }),
        );
        return {
          samples,
          notes: [`engine ${info.engine}, ${width} in flight, level ${level} on both sides`],
        };
      } finally {
        await accelerator.close();
      }
    },
  };
}

async function decompressing(budget: Budget): Promise<Outcome> {
  const plain = slices(32, 64 * KIB);
  const inputs = plain.map((input) => gzipSync(input));
  const zlibGunzip = promisify(gunzip) as (input: Buffer) => Promise<Buffer>;
  const accelerator = await open();
  try {
    const { data, info } = await accelerator.decompress(inputs[0]!, { info: true });
    if (!data.equals(plain[0]!)) throw new Error('gunzip-64k-8: the output is not the input');
    const samples = await compare(
      budget.rounds,
      () =>
        throughput(budget.roundMs, 8, inputs, async (input) => (await accelerator.decompress(input)).length),
      () => throughput(budget.roundMs, 8, inputs, async (input) => (await zlibGunzip(input)).length),
    );
    return { samples, notes: [`engine ${info.engine}; bytes are those that come out`] };
  } finally {
    await accelerator.close();
  }
}

const SHARE_BYTES = 4 * KIB;
const SHARE_SLICES = 64;
const SHARE_IN_FLIGHT = 32;
/** Room for one output: the worst case of an input that does not compress, and its frame. */
const SHARE_ROOM = 8 * KIB;

/** How much of an engine's own speed is left behind a queue. */
async function rawEngineShare(budget: Budget): Promise<Outcome> {
  const inputs = slices(SHARE_SLICES, SHARE_BYTES);
  const accelerator = await open({ engines: 1 });
  const queue = await accelerator.requestQueue({ depth: DEPTH });
  const reserved = await queue.reserveMemory(SHARE_SLICES * (SHARE_BYTES + SHARE_ROOM));
  inputs.forEach((input, index) => {
    reserved.buffer.set(input, index * SHARE_BYTES);
  });
  const bare = new BareEngine(inputs);
  try {
    const samples = await compare(
      budget.rounds,
      () => timed(budget.roundMs, (count) => compressThrough(queue, reserved.address, count)),
      () => timed(budget.roundMs, (count) => bare.compress(count)),
    );
    return {
      samples,
      notes: [
        `engine ${bare.name} on one thread, ${SHARE_IN_FLIGHT} in flight, against a loop around the same engine`,
      ],
    };
  } finally {
    bare.close();
    await accelerator.close();
  }
}

/** MB/s of a loop over slices. */
function timed(ms: number, run: (count: number) => void): number {
  const started = performance.now();
  let count = 0;
  let elapsed = 0;
  do {
    run(512);
    count += 512;
    elapsed = performance.now() - started;
  } while (elapsed < ms);
  return (count * SHARE_BYTES) / 1000 / elapsed;
}

const request = new Submission();

function compressThrough(queue: AcceleratorQueue, address: number, count: number): void {
  request.operation = OPCODE.compress;
  request.algorithm = ALGORITHM.gzip;
  request.level = 1;
  request.sourceLength = SHARE_BYTES;
  request.capacity = SHARE_ROOM;
  let sent = 0;
  let done = 0;
  while (done < count) {
    while (sent < count && sent - done < SHARE_IN_FLIGHT) {
      const slice = sent % SHARE_SLICES;
      request.source = address + slice * SHARE_BYTES;
      request.destination = address + SHARE_SLICES * SHARE_BYTES + slice * SHARE_ROOM;
      queue.send(request, true);
      sent++;
    }
    queue.flush();
    for (let more = queue.recvSync(completion); more; more = queue.recv(completion)) {
      if (completion.status !== STATUS.ok)
        throw new Error(`a request failed with status ${completion.status}`);
      done++;
    }
  }
}

/** The engine that the device would choose, without a device. */
class BareEngine {
  readonly name: string;
  readonly #memory: Mapping;
  readonly #request = new EngineRequest();
  readonly #engine;

  constructor(inputs: Buffer[]) {
    this.#memory = Mapping.anonymous(SHARE_SLICES * (SHARE_BYTES + SHARE_ROOM));
    inputs.forEach((input, index) => {
      this.#memory.bytes.set(input, index * SHARE_BYTES);
    });
    this.#request.operation = OPCODE.compress;
    this.#request.algorithm = ALGORITHM.gzip;
    this.#request.level = 1;
    this.#request.sourceLength = SHARE_BYTES;
    this.#request.capacity = SHARE_ROOM;
    const engine = new EngineRegistry([]).choose(this.#request)?.engine;
    if (!engine) throw new Error('there is no engine for gzip at level 1');
    this.#engine = engine;
    this.name = engine.name;
  }

  compress(count: number): void {
    const { address } = this.#memory;
    for (let index = 0; index < count; index++) {
      const slice = index % SHARE_SLICES;
      this.#request.source = address + slice * SHARE_BYTES;
      this.#request.destination = address + SHARE_SLICES * SHARE_BYTES + slice * SHARE_ROOM;
      const status = this.#engine.run(this.#request);
      if (status !== STATUS.ok) throw new Error(`the engine failed with status ${status}`);
    }
  }

  close(): void {
    this.#memory.unmap();
  }
}
