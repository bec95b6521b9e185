import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { ALGORITHM } from '../src/abi/algorithms.js';
import { OPCODE, SQE_FLAG, STATUS } from '../src/abi/queue.js';
import { Completion, type DeviceQueue, Submission } from '../src/driver/driver.js';
import { virtioCrypto } from '../src/driver/virtio-crypto/virtio-crypto.js';
import { openVfio } from '../src/transport/vfio/open.js';
import { KernelCipher } from './af-alg.js';
import type { Measured } from './kernel-vs-user.js';
import { MARK } from './trace.js';

/*
 * Enciphers with AES-128-CBC: `kernel BYTES WIDTH` through AF_ALG, `user BYTES WIDTH DEVICE` through a queue that is
 * polled. With `--ms N`, five times for so long, and prints what each took; with `--requests N`, so many between two marks in a
 * trace.
 */

const [, , side, bytesText, widthText, mode, amountText, device] = process.argv;
const bytes = Number(bytesText);
const width = Number(widthText);
const amount = Number(amountText);
const KEY = Buffer.alloc(16, 7);
const IV = Buffer.alloc(16, 9);
const WARM_UP_MS = 100;
const ROUNDS = 5;

/** So many requests at once. */
interface Side {
  run(): void;
  input(index: number): Uint8Array;
  output(index: number): Uint8Array;
  close(): Promise<void> | void;
}

/** A queue of the device, in this process. */
async function openUser(): Promise<Side> {
  const made = await virtioCrypto.open(await openVfio(device!));
  const queue = await made.createQueue({ depth: Math.max(2, width) });
  const memory = await made.allocate(4096 + width * bytes * 2);
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
  submission.sourceLength = submission.capacity = bytes;
  submission.aux = iova + 16;
  submission.auxLength = submission.param0 = IV.length;
  const at = (index: number): number => 4096 + index * 2 * bytes;
  return {
    run: () => {
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
    close: () => made.close(),
  };
}

function wait(queue: DeviceQueue, completion: Completion): void {
  while (!queue.poll(completion));
  if (completion.status !== STATUS.ok) throw new Error(`the device answered ${completion.status}`);
}

function openKernel(): Side {
  return new KernelCipher('virtio_crypto_aes_cbc', KEY, IV, bytes, width);
}

/** What both sides write must be what node:crypto writes. */
function check(made: Side): void {
  for (let i = 0; i < width; i++) made.input(i).fill(i + 1);
  made.run();
  for (let i = 0; i < width; i++) {
    const expected = createCipheriv('aes-128-cbc', KEY, IV).update(Buffer.alloc(bytes, i + 1));
    assert.deepEqual(Buffer.from(made.output(i)), expected);
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

function measure(made: Side, ms: number): Measured {
  const cpu = process.cpuUsage();
  const busy = busyMicroseconds();
  const started = performance.now();
  const requests = runFor(made, ms);
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return {
    perSecond: requests / seconds,
    cpuMicroseconds: (user + system) / requests,
    machineMicroseconds: (busyMicroseconds() - busy) / requests,
  };
}

function runFor(made: Side, ms: number): number {
  const until = performance.now() + ms;
  let requests = 0;
  do {
    made.run();
    requests += width;
  } while (performance.now() < until);
  return requests;
}

const made = side === 'user' ? await openUser() : openKernel();
check(made);
if (mode === '--ms') {
  runFor(made, WARM_UP_MS);
  const rounds = Array.from({ length: ROUNDS }, () => measure(made, amount));
  process.stdout.write(JSON.stringify(rounds));
} else {
  existsSync(MARK.begin);
  for (let sent = 0; sent < amount; sent += width) made.run();
  existsSync(MARK.end);
  const thread = String(process.pid);
  process.stdout.write(JSON.stringify({ client: thread, engine: thread }));
}
await made.close();
