import assert from 'node:assert/strict';
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { LIMITS, OPCODE, SQE, statusName } from '../../src/abi/queue.js';
import type { DeviceMemory } from '../../src/driver/driver.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { execute, fill, type RawSqe, TestDevice } from './support-device.js';

const MEMORY_BYTES = 1 << 20;
const DESTINATION = 256 * 1024;
const AUX = 512 * 1024;
const TEXT = Buffer.from('what repeats is packed well; '.repeat(400));
const PATTERN = 0x5a;

describe('chains', () => {
  let device: TestDevice;
  let queue: WvaQueue;
  let memory: DeviceMemory;

  before(async () => {
    device = await TestDevice.open({ sva: false });
    queue = await device.queue(16);
    memory = await device.memory(MEMORY_BYTES);
  });
  after(() => device.close());

  /** The words of the third range and of the parameters. */
  const words = (auxLength: number, param0 = 0, param1 = 0): number[] => {
    const aux = memory.iova + AUX;
    return [aux | 0, Math.floor(aux / 4294967296), auxLength, param0, param1, 0];
  };

  /** Lays stages and their parameters out in memory, and runs them over the text. */
  async function run(
    stages: RawSqe[],
    parameters = Buffer.alloc(0),
    changes: Partial<RawSqe> & { count?: number; auxLength?: number } = {},
  ) {
    memory.mapping.bytes.fill(PATTERN, DESTINATION, AUX);
    memory.mapping.bytes.set(TEXT);
    stages.forEach((stage, index) => {
      fill(memory.mapping.words, (AUX + index * SQE.bytes) >> 2, stage);
    });
    memory.mapping.bytes.set(parameters, AUX + stages.length * SQE.bytes);
    const auxLength = changes.auxLength ?? stages.length * SQE.bytes + parameters.length;
    const done = await execute(queue, {
      opcode: OPCODE.chain,
      source: memory.iova,
      sourceLength: TEXT.length,
      destination: memory.iova + DESTINATION,
      capacity: 65_536,
      reserved: words(auxLength, changes.count ?? stages.length),
      ...changes,
    });
    const output = Buffer.from(memory.mapping.bytes.subarray(DESTINATION, DESTINATION + done.produced));
    return { status: statusName(done.status), output, done };
  }

  /** Opens a session of AES-256-GCM; its key is in memory only for as long as that takes. */
  async function openCipher(key: Buffer): Promise<number> {
    memory.mapping.bytes.set(key);
    const opened = await execute(queue, {
      opcode: OPCODE.sessionOpen,
      algorithm: ALGORITHM['aes-256-gcm'],
      level: OPCODE.encrypt,
      source: memory.iova,
      sourceLength: key.length,
    });
    assert.equal(statusName(opened.status), 'ok');
    return opened.result;
  }

  const sha256: RawSqe = { opcode: OPCODE.digest, algorithm: ALGORITHM.sha256 };
  const gzip: RawSqe = { opcode: OPCODE.compress, algorithm: ALGORITHM.gzip, level: 1 };
  const digest = createHash('sha256').update(TEXT).digest();

  test('hash, compress and encrypt in one request', async () => {
    const key = randomBytes(32);
    const iv = randomBytes(12);
    const session = await openCipher(key);
    const encrypt: RawSqe = {
      opcode: OPCODE.encrypt,
      algorithm: ALGORITHM['aes-256-gcm'],
      session,
      reserved: [3 * SQE.bytes, 0, iv.length, iv.length, 0, 0],
    };
    const { status, output } = await run([sha256, gzip, encrypt], iv);
    assert.equal(status, 'ok');
    assert.ok(output.subarray(-32).equals(digest));
    const sealed = output.subarray(0, -32);
    const packed = await run([gzip]);
    const cipher = createCipheriv('aes-256-gcm', key, iv);
    assert.ok(
      sealed.equals(Buffer.concat([cipher.update(packed.output), cipher.final(), cipher.getAuthTag()])),
    );
    await execute(queue, { opcode: OPCODE.sessionClose, session });
    assert.equal((await run([sha256, gzip, encrypt], iv)).status, 'badSession');
  });

  test('what is malformed is refused, and writes nothing beyond its destination', async () => {
    const bad: [string, RawSqe[], object][] = [
      ['badLength', [], { count: 0, auxLength: 64 }],
      ['badLength', [gzip, gzip, gzip, gzip, gzip], {}],
      ['badLength', [gzip], { count: 2 }],
      ['badLength', [gzip], { count: -1 }],
      ['badLength', [gzip], { auxLength: 63 }],
      ['badOpcode', [{ opcode: OPCODE.chain }], {}],
      ['badOpcode', [{ opcode: OPCODE.sessionOpen, algorithm: ALGORITHM.gzip }], {}],
      ['badOpcode', [{ opcode: OPCODE.sessionClose, session: 1 }], {}],
      ['badOpcode', [{ opcode: OPCODE.derive, algorithm: ALGORITHM.scrypt }], {}],
      ['badOpcode', [{ opcode: OPCODE.fill }], {}],
      ['badOpcode', [{ opcode: OPCODE.dualCopy }], {}],
      ['badOpcode', [{ opcode: 255 }], {}],
      ['badField', [{ ...gzip, flags: 1 }], {}],
      ['badField', [{ ...sha256, flags: 1 }], {}],
      ['badField', [{ opcode: OPCODE.copy, flags: 16 }], {}],
      ['badSession', [{ opcode: OPCODE.encrypt, algorithm: ALGORITHM['aes-256-gcm'] }], {}],
      ['badSession', [{ opcode: OPCODE.mac, algorithm: ALGORITHM.sha256, session: 4097 }], {}],
      ['badLength', [{ ...gzip, reserved: [64, 0, 1, 0, 0, 0] }], {}],
      ['badLength', [{ ...gzip, reserved: [0xfffffff0 | 0, 0, 0x20, 0, 0, 0] }], {}],
      ['badLength', [{ ...gzip, reserved: [0, 1, 4, 0, 0, 0] }], {}],
      ['unsupported', [{ opcode: OPCODE.digest, algorithm: ALGORITHM.gzip }], {}],
      ['unsupported', [{ ...gzip, level: 200 }], {}],
      ['corrupt', [{ opcode: OPCODE.decompress, algorithm: ALGORITHM.gzip }], {}],
      ['noSpace', [gzip], { capacity: 20 }],
      ['noSpace', [sha256], { capacity: 31 }],
      ['noSpace', [gzip], { capacity: 0, destination: 0 }],
    ];
    for (const [expected, stages, changes] of bad) {
      const { status, done } = await run(stages, Buffer.alloc(0), changes);
      assert.equal(status, expected, JSON.stringify(stages[0]));
      assert.equal(done.produced, 0);
    }
    assert.ok(gunzipSync((await run([gzip])).output).equals(TEXT));
  });

  test('what lies between the stages is found by nobody', async () => {
    // The text is decompressed between two stages of a chain whose last stage fails.
    const packed = gzipSync(TEXT);
    memory.mapping.bytes.set(packed);
    await run([gzip, { opcode: OPCODE.decompress, algorithm: ALGORITHM.gzip }], Buffer.alloc(0), {
      capacity: 10,
    });
    const room = memory.mapping.bytes.subarray(DESTINATION + 10, DESTINATION + 65_536);
    assert.ok(room.every((byte) => byte === PATTERN));
  });

  test('stages of any kind, in any order, end, and spoil nothing', async () => {
    const opcodes = Object.values(OPCODE);
    const stage = fc.record({
      opcode: fc.constantFrom(...opcodes),
      algorithm: fc.constantFrom(0, 1, 3, 4, 5, 35, 46, 69, 98, 128, 130, 255),
      level: fc.constantFrom(0, 1, 6, 12, 22),
      flags: fc.constantFrom(0, 0, 0, 1, 2, 8, 32, 255),
      session: fc.constantFrom(0, 0, 1, 4097, -1),
      reserved: fc.array(fc.constantFrom(0, 0, 0, 1, 12, 64, 128, 70_000, -1), {
        minLength: 6,
        maxLength: 6,
      }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(stage, { minLength: 1, maxLength: LIMITS.maxStages }), async (stages) => {
        const { done } = await run(stages, randomBytes(64));
        assert.ok(done.produced <= 65_536);
        const beyond = memory.mapping.bytes.subarray(DESTINATION + 65_536, AUX);
        assert.ok(beyond.every((byte) => byte === PATTERN));
      }),
      { numRuns: 400 },
    );
    assert.ok(gunzipSync((await run([gzip])).output).equals(TEXT));
  });
});
