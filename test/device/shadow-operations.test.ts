import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { brotliDecompressSync } from 'node:zlib';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { LIMITS, OPCODE, STATUS } from '../../src/abi/queue.js';
import { data, RemoteClient, RemoteQueue } from '../support/remote-client.js';
import { sampleText } from './support-device.js';
import { LocalDevice } from './support-local-device.js';

const MIB = 1 << 20;

/** A third range, as an offset in the client's memory. */
function third(offset: number, length: number): { auxLow: number; auxHigh: number; auxLength: number } {
  const at = RemoteClient.iova + offset;
  return { auxLow: at % 2 ** 32, auxHigh: Math.floor(at / 2 ** 32), auxLength: length };
}

/** Fields of a range that a request has not got. */
const NO_DESTINATION = { destinationLow: 0, destinationHigh: 0, destinationCapacity: 0 };

describe('a queue in memory without a descriptor has every operation', () => {
  test('with one range, two or three', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.remote(5 * MIB);
    await client.negotiate();
    assert.equal(await client.map(), 0);
    const queue = await RemoteQueue.enable(client, { depth: 8, at: 0 });
    const text = sampleText(30_001);
    text.copy(client.memory, MIB);
    const at = (offset: number): Buffer => client.memory.subarray(offset, offset + text.length);
    const ask = async (fields: Parameters<RemoteQueue['put']>[0]): ReturnType<RemoteQueue['next']> => {
      queue.put(fields);
      await queue.ring();
      return queue.next();
    };

    const copied = await ask({ opcode: OPCODE.copy, ...data(MIB, text.length, 2 * MIB, text.length) });
    assert.deepEqual([copied.status, copied.produced], [STATUS.ok, text.length]);
    assert.ok(at(2 * MIB).equals(text));

    client.memory.fill(0, 2 * MIB);
    const dual = await ask({
      opcode: OPCODE.dualCopy,
      ...data(MIB, text.length, 2 * MIB, text.length),
      ...third(3 * MIB, text.length),
    });
    assert.equal(dual.status, STATUS.ok);
    assert.ok(at(2 * MIB).equals(text) && at(3 * MIB).equals(text));

    client.memory[3 * MIB + 12_345]! ^= 1;
    const source = { ...data(MIB, text.length, 0, 0), ...NO_DESTINATION };
    const compared = await ask({ opcode: OPCODE.compare, ...source, ...third(3 * MIB, text.length) });
    assert.deepEqual([compared.status, compared.consumed], [STATUS.ok, 12_345]);

    const filled = await ask({
      opcode: OPCODE.fill,
      ...data(0, 0, 2 * MIB, 1003),
      sourceLow: 0,
      sourceHigh: 0,
      param0: 0x64726177,
      param1: 0x76697265,
    });
    assert.deepEqual([filled.status, filled.produced], [STATUS.ok, 1003]);
    const pattern = client.memory.subarray(2 * MIB, 2 * MIB + 1003);
    assert.ok(pattern.equals(Buffer.alloc(1003, Buffer.from('77617264657269' + '76', 'hex'))));
    assert.equal(client.memory[2 * MIB + 1003], text[1003], 'nothing is written beyond it');

    const digits = Buffer.from('123456789');
    digits.copy(client.memory, MIB);
    const sum = await ask({
      opcode: OPCODE.checksum,
      algorithm: ALGORITHM['crc64-ecma'],
      ...data(MIB, digits.length, 0, 0),
      ...NO_DESTINATION,
    });
    assert.deepEqual([sum.status, sum.produced], [STATUS.ok, 0x995dc9bb], 'the high half of the check value');

    text.copy(client.memory, MIB);
    const br = { opcode: OPCODE.compress, algorithm: ALGORITHM.br, level: 5 };
    const packed = await ask({ ...br, ...data(MIB, text.length, 2 * MIB, MIB) });
    assert.equal(packed.status, STATUS.ok);
    assert.ok(brotliDecompressSync(client.memory.subarray(2 * MIB, 2 * MIB + packed.produced)).equals(text));
  });

  test('the largest there is, with three ranges, and ranges that nobody mapped', async (t) => {
    const local = await LocalDevice.start(t);
    const client = local.remote(50 * MIB);
    await client.negotiate();
    assert.equal(await client.map(), 0);
    const queue = await RemoteQueue.enable(client, { depth: 8, at: 0 });
    const most = LIMITS.maxTransfer;
    client.memory.fill('three', MIB, MIB + most);
    const source = client.memory.subarray(MIB, MIB + most);
    const dual = { opcode: OPCODE.dualCopy, ...data(MIB, most, 17 * MIB, most) };
    queue.put({ ...dual, ...third(33 * MIB, most) });
    await queue.ring();
    assert.equal((await queue.next()).status, STATUS.ok);
    assert.ok(client.memory.subarray(17 * MIB, 17 * MIB + most).equals(source));
    assert.ok(client.memory.subarray(33 * MIB, 33 * MIB + most).equals(source));
    for (const [fields, status] of [
      [{ ...dual, ...third(33 * MIB, most + 1) }, STATUS.badLength],
      [{ ...dual, ...third(49 * MIB, most) }, STATUS.badAddress],
      [{ ...dual, ...third(33 * MIB, 100) }, STATUS.badLength],
      [{ opcode: 200, ...data(MIB, 100, 17 * MIB, 100) }, STATUS.badOpcode],
    ] as const) {
      queue.put(fields);
      await queue.ring();
      assert.equal((await queue.next()).status, status);
    }
  });
});
