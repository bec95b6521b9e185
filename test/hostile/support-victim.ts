import assert from 'node:assert/strict';
import { writeSync } from 'node:fs';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE } from '../../src/abi/queue.js';
import { sampleText } from '../device/support-device.js';
import { HostileDevice, type HostileQueue } from './support-hostile-queue.js';

/*
 * A client that holds many connections, each with a queue full of work, until it is killed: SOCKET CONNECTIONS. It says
 * "c" for each connection that the broker has agreed to.
 */

const [socket, count] = process.argv.slice(2);
const DEPTH = 8;
const BYTES = 1 << 12;
const TEXT = sampleText(BYTES);

function publish(queue: HostileQueue, iova: number): void {
  while (((queue.tail - queue.head) | 0) < DEPTH) {
    queue.put({
      opcode: queue.tail % 3 === 0 ? OPCODE.noop : OPCODE.compress,
      algorithm: ALGORITHM.gzip,
      level: 1 + (queue.tail & 3),
      source: iova,
      sourceLength: BYTES,
      destination: iova + BYTES,
      capacity: BYTES,
    });
  }
  queue.ring();
}

async function live(): Promise<() => void> {
  const device = await HostileDevice.connect(socket!);
  writeSync(1, 'c');
  const memory = await device.memory(2 * BYTES);
  memory.mapping.bytes.set(TEXT);
  const queue = await device.queue(0, DEPTH);
  publish(queue, memory.iova);
  return () => {
    while (queue.take()) assert.ok(true);
    publish(queue, memory.iova);
  };
}

const lives = await Promise.all(Array.from({ length: Number(count) }, live));
writeSync(1, 'all');
for (;;) {
  for (const each of lives) each();
  await new Promise((resolve) => setTimeout(resolve, 5));
}
