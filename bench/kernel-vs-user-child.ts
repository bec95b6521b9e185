import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { ALGORITHM } from '../src/abi/algorithms.js';
import { OPCODE, SQE_FLAG, STATUS } from '../src/abi/queue.js';
import { Completion, type DeviceQueue, Submission } from '../src/driver/driver.js';
import { virtioCrypto } from '../src/driver/virtio-crypto/virtio-crypto.js';
import { openVfio } from '../src/transport/vfio/open.js';
import { KernelCipher } from './af-alg.js';
import { type Measured, SHAPES } from './kernel-vs-user.js';
import { MARK } from './trace.js';

/*
 * Enciphers with AES-128-CBC: `kernel` through AF_ALG, `user` through a queue of the device that is polled. Arguments:
 * `SIDE DEVICE measure MS` runs each shape five times for so long and prints what each took, `SIDE DEVICE trace BYTES WIDTH
 * N` runs so many requests between two marks in a trace.
 */

const [, , side, device, mode, ...numbers] = process.argv;
const KEY = Buffer.alloc(16, 7);
const IV = Buffer.alloc(16, 9);
const WARM_UP_MS = 100;
const ROUNDS = 5;
const MAX_WIDTH = Math.max(...SHAPES.map(({ width }) => width));
const MAX_BYTES = Math.max(...SHAPES.map(({ bytes }) => bytes));

/** So many requests at once. */
interface Batch {
  width: number;
  bytes: number;
  run(): void;
  input(index: number): Uint8Array;
  output(index: number): Uint8Array;
  close(): void;
}

interface Side {
  batch(bytes: number, width: number): Batch;
  close(): Promise<void>;
}

/** A queue of the device, in this process. */
async function openUser(): Promise<Side> {
  const made = await virtioCrypto.open(await openVfio(device!));
  const queue = await made.createQueue({ depth: MAX_WIDTH });
  const memory = await made.allocate(4096 + MAX_WIDTH * MAX_BYTES * 2);
  const { mapping, iova } = memory;
  mapping.bytes.set(KEY);
  mapping.bytes.set(IV, 16);
  const completion = new Completion();
  const submission = new Submission();
  submission.operation = OPCODE.sessionOpen;
  submission.algorithm = ALGORITHM['aes-128-cbc'];
  submission.level = OPCODE.encrypt;
  submission.source = iova;
  submission.sourceLength = KEY.length;
  queue.submit(submission);
  wait(queue, completion);
  submission.session = completion.result;
  submission.operation = OPCODE.encrypt;
  submission.level = 0;
  submission.flags = SQE_FLAG.unpadded;
  submission.aux = iova + 16;
  submission.auxLength = submission.param0 = IV.length;
  const batch = (bytes: number, width: number): Batch => {
    const at = (index: number): number => 4096 + index * 2 * bytes;
    return {
      width,
      bytes,
      run: () => {
        submission.sourceLength = submission.capacity = bytes;
        for (let i = 0; i < width; i++) {
          submission.requestId = i;
          submission.source = iova + at(i);
          submission.destination = iova + at(i) + bytes;
          queue.submit(submission);
        }
        queue.publish();
        for (let i = 0; i < width; i++) wait(queue, completion);
      },
      input: (index) => mapping.bytes.subarray(at(index), at(index) + bytes),
      output: (index) => mapping.bytes.subarray(at(index) + bytes, at(index) + 2 * bytes),
      close: () => {},
    };
  };
  return { batch, close: () => made.close() };
}

function wait(queue: DeviceQueue, completion: Completion): void {
  while (!queue.poll(completion));
  if (completion.status !== STATUS.ok) throw new Error(`the device answered ${completion.status}`);
}

function openKernel(): Side {
  return {
    batch: (bytes, width) => new KernelCipher('virtio_crypto_aes_cbc', KEY, IV, bytes, width),
    close: async () => {},
  };
}

/** What both sides write must be what node:crypto writes. */
function check(batch: Batch): void {
  const { width, bytes } = batch;
  for (let i = 0; i < width; i++) batch.input(i).fill(i + 1);
  batch.run();
  for (let i = 0; i < width; i++) {
    const expected = createCipheriv('aes-128-cbc', KEY, IV).update(Buffer.alloc(bytes, i + 1));
    assert.deepEqual(Buffer.from(batch.output(i)), expected);
  }
}

/** Time in which some processor was not idle, in microseconds: proc(5), in ticks of 10 ms. */
function busyMicroseconds(): number {
  const [line] = readFileSync('/proc/stat', 'utf8').split('\n');
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line!
    .trim()
    .split(/ +/)
    .slice(1)
    .map(Number);
  return (user + nice + system + irq + softirq) * 10_000;
}

function measure(batch: Batch, ms: number): Measured {
  const cpu = process.cpuUsage();
  const busy = busyMicroseconds();
  const started = performance.now();
  const requests = runFor(batch, ms);
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return {
    perSecond: requests / seconds,
    cpuMicroseconds: (user + system) / requests,
    machineMicroseconds: (busyMicroseconds() - busy) / requests,
  };
}

function runFor(batch: Batch, ms: number): number {
  const until = performance.now() + ms;
  let requests = 0;
  do {
    batch.run();
    requests += batch.width;
  } while (performance.now() < until);
  return requests;
}

function measureShapes(made: Side, ms: number): Record<string, Measured[]> {
  const results: Record<string, Measured[]> = {};
  for (const { name, bytes, width } of SHAPES) {
    const batch = made.batch(bytes, width);
    check(batch);
    runFor(batch, WARM_UP_MS);
    results[name] = Array.from({ length: ROUNDS }, () => measure(batch, ms));
    batch.close();
  }
  return results;
}

function runMarked(batch: Batch, requests: number): void {
  check(batch);
  // The compiler of JavaScript makes calls of its own while code is new.
  for (let sent = 0; sent < requests; sent += batch.width) batch.run();
  existsSync(MARK.begin);
  for (let sent = 0; sent < requests; sent += batch.width) batch.run();
  existsSync(MARK.end);
  batch.close();
}

const made = side === 'user' ? await openUser() : openKernel();
if (mode === 'measure') {
  process.stdout.write(JSON.stringify(measureShapes(made, Number(numbers[0]))));
} else {
  const [bytes = 0, width = 0, requests = 0] = numbers.map(Number);
  runMarked(made.batch(bytes, width), requests);
  const thread = String(process.pid);
  process.stdout.write(JSON.stringify({ client: thread, engine: thread }));
}
await made.close();
