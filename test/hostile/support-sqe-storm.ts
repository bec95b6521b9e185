import assert from 'node:assert/strict';
import { deflateRawSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { DOORBELL, LIMITS, OPCODE, STATUS } from '../../src/abi/queue.js';
import { randomNumbers, sampleText } from '../device/support-device.js';
import { HostileDevice, type HostileMemory, type HostileQueue } from './support-hostile-queue.js';

/*
 * A hostile client that writes whatever it likes into its rings and doorbell pages: SOCKET SEED SUBMISSIONS. It says
 * what it has done as JSON, and fails if the device answers what it must not.
 */

const QUEUES = 4;
const DEPTH = 64;
const REGION_BYTES = 1 << 17;
const PACKED_AT = 1 << 16;
const GUARD_BYTES = 1 << 16;
const GUARD = 0xc3;
/** Batches until a queue is spoilt for good, and set up again. */
const BATCHES_PER_LIFE = 24;
const LOOKS_BEFORE_TRUTH = 3;

const [socket, seedText, submissionsText] = process.argv.slice(2);
const random = randomNumbers(Number(seedText));
const pick = <T>(values: readonly T[]): T => values[random() % values.length]!;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const ODD = [
  ...[0, 1, 2, 3, 15, 16, 255, 4095, 4096, 65535, 65536, REGION_BYTES, REGION_BYTES + 1],
  ...[LIMITS.maxTransfer, LIMITS.maxTransfer + 1, 0x7fffffff, -0x80000000, -1, -4096, 0x7ffff000],
];
const KNOWN = new Set<number>(Object.values(STATUS));

/** A good request: compresses or decompresses a little, opens or closes a stream, or does nothing. */
function writeGood(queue: HostileQueue, { iova }: HostileMemory, requestId: number): Int32Array {
  const kind = random() % 8;
  const algorithm = kind === 4 ? ALGORITHM['deflate-raw'] : 1 + (random() % 3);
  if (kind === 0) return queue.put({ opcode: OPCODE.noop, requestId });
  if (kind === 1) return queue.put({ opcode: OPCODE.sessionOpen, algorithm, requestId });
  if (kind === 2) {
    return queue.put({
      opcode: OPCODE.sessionClose,
      session: ((random() % 64) << 12) | (random() % 64),
      requestId,
    });
  }
  const isPacked = kind > 4;
  return queue.put({
    opcode: isPacked ? OPCODE.decompress : OPCODE.compress,
    algorithm: isPacked ? ALGORITHM['deflate-raw'] : algorithm,
    level: random() % 13,
    flags: pick([0, 0, 1, 2, 4, 8]),
    source: iova + (isPacked ? PACKED_AT : random() % 60_000),
    sourceLength: random() % 2000,
    destination: iova + REGION_BYTES - 8192,
    capacity: 1 + (random() % 8192),
    requestId,
  });
}

/** Spoils a request; its number stays, so that its completion can be told from others. */
function mutate(slot: Int32Array): void {
  for (let changes = random() % 4; changes > 0; changes--) {
    let word = random() % 16;
    if (word === 2) word = 1;
    // Words beyond the fields must be 0: to write there is to be refused for that alone.
    if (word > 9 && random() % 8 !== 0) word = 1 + (random() % 9);
    if (word === 2) word = 7;
    const how = random() % 4;
    if (how === 0) slot[word] = random();
    else if (how === 1) slot[word] = pick(ODD);
    else if (how === 2) slot[word]! ^= 1 << (random() % 32);
    else slot[word]! += (random() % 9) - 4;
  }
}

/** Words in the doorbell page that lie; how many. The tail is not among them. */
function lie(queue: HostileQueue): number {
  const { page, head } = queue;
  let words = 0;
  const store = (word: number, value: number): void => {
    Atomics.store(page, word, value | 0);
    words++;
  };
  if (random() % 2 === 0) {
    const lies = [1, -1, DEPTH, DEPTH + 1, -DEPTH, 1000, 0x7fffffff, -0x80000000];
    store(DOORBELL.cqHeadWord, random() % 3 === 0 ? random() : head + pick(lies));
  }
  if (random() % 2 === 0) store(DOORBELL.armWord, random() % 2 === 0 ? random() : head + (random() % 80) - 8);
  if (random() % 2 === 0) store(DOORBELL.polledWord, pick([0, 1, -1, random()]));
  if (random() % 4 === 0) store(random() % 1024 || 1, random());
  return words;
}

const statuses = new Map<number, number>();

/** Takes what the device has answered of a batch; false until that is all of it. */
function collect(queue: HostileQueue): boolean {
  while (queue.head !== queue.tail) {
    const done = queue.take();
    if (!done) return false;
    assert.ok(KNOWN.has(done.status), `status ${done.status}`);
    assert.ok(done.produced <= REGION_BYTES, `produced ${done.produced}`);
    if (done.status < STATUS.noSpace && done.status !== STATUS.ok) assert.equal(done.produced, 0);
    statuses.set(done.status, (statuses.get(done.status) ?? 0) + 1);
  }
  return true;
}

/** Rings that are wrong in every way, on a queue that is then as good as lost; how many. */
function ruin(queue: HostileQueue): number {
  const { token, tail } = queue;
  let rings = 0;
  const odd = [0, tail, token, tail + token - 1, tail + token + DEPTH + 1, token - tail, ~token, random()];
  for (const word of [...odd, ...Array.from({ length: 40 }, () => random())]) {
    queue.ringWord(word);
    rings++;
  }
  return rings;
}

const device = await HostileDevice.connect(socket!);
const memory = await device.memory(REGION_BYTES);
// Right behind it lies what no request may write to.
const guard = await device.memory(GUARD_BYTES, false);
guard.mapping.bytes.fill(GUARD);
const text = sampleText(PACKED_AT);
memory.mapping.bytes.set(text);
memory.mapping.bytes.set(deflateRawSync(text).subarray(0, 40_000), PACKED_AT);

const queues: HostileQueue[] = [];
for (let id = 0; id < QUEUES; id++) queues.push(await device.queue(id, DEPTH, random() | 0));
const total = Number(submissionsText);
let submissions = 0;
let doorbells = 0;
let isolated = 0;
let lives = 0;

for (let batch = 0; submissions < total; batch++) {
  for (const queue of queues) {
    for (let i = 0; i < DEPTH; i++) {
      const slot = writeGood(queue, memory, submissions++);
      mutate(slot);
    }
    doorbells += lie(queue);
    Atomics.store(queue.page, DOORBELL.tailWord, (queue.tail + queue.token) | 0);
    doorbells++;
  }
  device.wake();
  const waiting = new Set(queues);
  for (let looks = 0; waiting.size > 0; looks++) {
    for (const queue of waiting) {
      if (collect(queue)) waiting.delete(queue);
      // A lie about the CQ head may hold up its own queue, and for as long as it is told.
      else if (looks > LOOKS_BEFORE_TRUTH) queue.ring();
    }
    assert.ok(looks < 1_000_000, `batch ${batch} is answered`);
    await turn();
  }
  if (batch % BATCHES_PER_LIFE !== 0) continue;
  for (const queue of queues) {
    doorbells += ruin(queue);
    if ((await queue.counters()).isolated) isolated++;
    await queue.disable();
    await queue.enable(random() | 0);
    lives++;
  }
}
assert.ok(
  guard.mapping.bytes.every((byte) => byte === GUARD),
  'memory that may only be read was not written to',
);
await device.close();
const refused = [...statuses]
  .filter(([status]) => status !== STATUS.ok)
  .reduce((sum, [, count]) => sum + count, 0);
const kinds = statuses.size;
console.log(JSON.stringify({ submissions, doorbells, lives, isolated, refused, kinds }));
