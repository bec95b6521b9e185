import assert from 'node:assert/strict';
import { writeSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, STATUS } from '../../src/abi/queue.js';
import { sampleText } from '../device/support-device.js';
import { HostileDevice } from './support-hostile-queue.js';

/*
 * A client that fills its rings and is stopped: SOCKET. It says "full", and after the results were found right, "right".
 */

const QUEUES = 4;
const DEPTH = 64;
const BYTES = 8192;

const device = await HostileDevice.connect(process.argv[2]!);
const text = sampleText(2 * BYTES);
const memory = await device.memory(BYTES * 2 * (1 + QUEUES * DEPTH));
const { bytes } = memory.mapping;
bytes.set(text);
const outputAt = (queue: number, id: number): number => 2 * BYTES * (1 + queue * DEPTH + id);

const queues = [];
for (let id = 0; id < QUEUES; id++) queues.push(await device.queue(id, DEPTH));
for (const queue of queues) {
  for (let id = 0; id < DEPTH; id++) {
    queue.put({
      opcode: OPCODE.compress,
      algorithm: ALGORITHM.gzip,
      level: 1 + (id % 9),
      source: memory.iova + id * 64,
      sourceLength: BYTES,
      destination: memory.iova + outputAt(queue.id, id),
      capacity: 2 * BYTES,
      requestId: id,
    });
  }
  queue.ring();
}
writeSync(1, 'full\n');
for (const queue of queues) {
  const ids = new Set<number>();
  for (let taken = 0; taken < DEPTH; taken++) {
    const { requestId, status, produced } = await queue.next();
    assert.equal(status, STATUS.ok);
    ids.add(requestId);
    const at = outputAt(queue.id, requestId);
    const output = gunzipSync(bytes.subarray(at, at + produced));
    assert.ok(output.equals(text.subarray(requestId * 64, requestId * 64 + BYTES)));
  }
  assert.equal(ids.size, DEPTH);
}
await device.close();
writeSync(1, 'right\n');
