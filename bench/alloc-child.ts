import { once } from 'node:events';
import { promisify } from 'node:util';
import { getHeapStatistics } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { deflateRaw } from 'node:zlib';
import { CQE, DOORBELL, SQE, STATUS_PAGE } from '../src/abi/queue.js';
import { DeviceState, HEADER, QUEUE, SPACE, SPACE_MODE } from '../src/device/state.js';
import type { DeviceQueue } from '../src/driver/driver.js';
import { WvaQueue } from '../src/driver/wva/wva-queue.js';
import { ALGORITHM, Completion, OPCODE, open, STATUS, Submission } from '../src/index.js';
import { QueuePair } from '../src/queue/queue-pair.js';
import { createEventfd } from '../src/sys/fd.js';
import { Interrupt } from '../src/sys/interrupt.js';
import { Mapping, PAGE_BYTES } from '../src/sys/memory.js';
import type { AllocEngineData, AllocEngineResult } from './alloc-engine-worker.js';
import { CollectorWatch } from './collector.js';
import { slices } from './text.js';

/*
 * `COUNT`: prints the bytes of heap that requests allocate, by thread. The client is measured on a queue of a real
 * accelerator. A real engine thread tells nothing of its heap, so the engine is measured in a device of one queue that
 * is put together here, with the same classes on either side.
 */

/** What is printed: bytes per request. */
export interface AllocResult {
  client: number;
  engine: number;
  /** The same for requests that compress 4 KiB. */
  clientCompress: number;
  engineCompress: number;
  /** One asynchronous compression of one byte, on the thread that asks for it. */
  zlib: number;
}

type Sender = Pick<DeviceQueue, 'publish' | 'poll'> & { submit(submission: Submission): boolean };

const COUNT = Number(process.argv[2]);
const COMPRESS_COUNT = COUNT / 20;
/** More would call the collector: each holds a quarter of a MiB outside the heap until it is collected. */
const ZLIB_COUNT = 50;
const DEPTH = 128;
const SLICE_BYTES = 4096;
const TOKEN = 12345;

const watch = new CollectorWatch();
const completion = new Completion();

/** One request after the other, each polled for. */
function poll(queue: Sender, submission: Submission, count: number): void {
  for (let index = 0; index < count; index++) {
    submission.requestId = index;
    queue.submit(submission);
    queue.publish();
    while (!queue.poll(completion));
    if (completion.status !== STATUS.ok) throw new Error(`a request failed with status ${completion.status}`);
  }
}

/** Bytes that this thread's heap grows by, per request. */
async function grow(count: number, run: () => void | Promise<void>): Promise<number> {
  globalThis.gc!();
  const started = performance.now();
  const before = getHeapStatistics().used_heap_size;
  await run();
  const grown = getHeapStatistics().used_heap_size - before;
  const collections = await watch.between(started, performance.now());
  if (collections > 0) throw new Error('the collector ran while allocations were counted');
  return grown / count;
}

function compression(source: number, destination: number): Submission {
  const submission = new Submission();
  submission.operation = OPCODE.compress;
  submission.algorithm = ALGORITHM.gzip;
  submission.level = 1;
  submission.source = source;
  submission.sourceLength = SLICE_BYTES;
  submission.destination = destination;
  submission.capacity = 2 * SLICE_BYTES;
  return submission;
}

async function measureClient(): Promise<Pick<AllocResult, 'client' | 'clientCompress'>> {
  const accelerator = await open();
  const queue = await accelerator.requestQueue({ depth: DEPTH });
  const sender: Sender = {
    submit: (submission) => queue.send(submission, true),
    publish: () => queue.flush(),
    poll: (into) => queue.recv(into),
  };
  const { buffer, address } = await queue.reserveMemory(4 * SLICE_BYTES);
  buffer.set(slices(1, SLICE_BYTES)[0]!);
  const noop = new Submission();
  const compress = compression(address, address + SLICE_BYTES);
  poll(sender, noop, COUNT / 2);
  poll(sender, compress, COMPRESS_COUNT / 2);
  poll(sender, noop, COUNT / 2);
  const client = await grow(COUNT, () => poll(sender, noop, COUNT));
  const clientCompress = await grow(COMPRESS_COUNT, () => poll(sender, compress, COMPRESS_COUNT));
  await accelerator.close();
  return { client, clientCompress };
}

async function measureEngine(): Promise<Pick<AllocResult, 'engine' | 'engineCompress'>> {
  const device = new TinyDevice();
  const worker = new Worker(new URL('./alloc-engine-worker.js', import.meta.url), {
    workerData: device.data,
    resourceLimits: { maxYoungGenerationSizeMb: 512 },
  });
  const memory = Mapping.anonymous(4 * SLICE_BYTES);
  memory.bytes.set(slices(1, SLICE_BYTES)[0]!);
  const noop = new Submission();
  const compress = compression(memory.address, memory.address + SLICE_BYTES);
  const serve = async (submission: Submission, count: number): Promise<number> => {
    worker.postMessage('serve');
    // Asleep, this thread would come late, and what the loop allocates while it looks at the clock would count.
    while (!device.polled);
    poll(device.queue, submission, count);
    device.stop();
    const [result] = (await once(worker, 'message')) as [AllocEngineResult];
    if (result.collections > 0) throw new Error('the collector ran while allocations were counted');
    return result.grown / count;
  };
  await serve(noop, COUNT / 2);
  await serve(compress, COMPRESS_COUNT / 2);
  await serve(noop, COUNT / 2);
  const engine = await serve(noop, COUNT);
  const engineCompress = await serve(compress, COMPRESS_COUNT);
  await worker.terminate();
  return { engine, engineCompress };
}

/** A device's shared state with one queue, and the client's end of it. */
class TinyDevice {
  readonly data: AllocEngineData;
  readonly queue: WvaQueue;
  readonly #state = new DeviceState({ threads: 1, queues: 1, spaces: 1, regionsPerSpace: 1, sessions: 1 });
  readonly #status = Mapping.anonymous(PAGE_BYTES);

  constructor() {
    const rings = Mapping.anonymous(DEPTH * (SQE.bytes + CQE.bytes));
    const doorbell = Mapping.anonymous(DOORBELL.pageBytes);
    const wakeFd = createEventfd();
    const state = this.#state;
    const base = state.queue(0);
    doorbell.words[DOORBELL.tailWord] = TOKEN;
    state.words[state.space(0) + SPACE.mode] = SPACE_MODE.sva;
    state.words[base + QUEUE.depth] = DEPTH;
    state.words[base + QUEUE.token] = TOKEN;
    state.words[base + QUEUE.irqFd] = -1;
    state.setWide(base + QUEUE.sqLow, rings.address);
    state.setWide(base + QUEUE.cqLow, rings.address + DEPTH * SQE.bytes);
    state.setWide(base + QUEUE.doorbellLow, doorbell.address);
    state.words[base + QUEUE.generation] = 1;
    state.setHot(0, true);
    doorbell.words[DOORBELL.polledWord] = 1;
    const sqWords = (DEPTH * SQE.bytes) >> 2;
    const pair = new QueuePair({
      depth: DEPTH,
      startIndex: 0,
      token: TOKEN,
      sq: rings.words.subarray(0, sqWords),
      cq: rings.words.subarray(sqWords),
      doorbell: doorbell.words,
      status: this.#status.words,
      wakeFd,
    });
    this.queue = new WvaQueue(0, pair, new Interrupt(), async () => {});
    this.data = {
      shape: state.shape,
      state: state.buffer,
      statusAddress: this.#status.address,
      wakeFd,
    };
  }

  /** Whether the engine's loop is running. */
  get polled(): boolean {
    return Atomics.load(this.#status.words, STATUS_PAGE.pollersWord) > 0;
  }

  stop(): void {
    Atomics.store(this.#state.words, HEADER.stop, 1);
    Atomics.add(this.#state.words, HEADER.queueVersion, 1);
  }
}

async function measureZlib(): Promise<number> {
  const deflate = promisify(deflateRaw) as (input: Buffer) => Promise<Buffer>;
  const byte = Buffer.from('a');
  for (let index = 0; index < ZLIB_COUNT; index++) await deflate(byte);
  return grow(ZLIB_COUNT, async () => {
    for (let index = 0; index < ZLIB_COUNT; index++) await deflate(byte);
  });
}

const result: AllocResult = {
  ...(await measureClient()),
  ...(await measureEngine()),
  zlib: await measureZlib(),
};
process.stdout.write(JSON.stringify(result));
process.exit();
