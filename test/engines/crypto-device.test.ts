import assert from 'node:assert/strict';
import { createCipheriv, createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, SQE, SQE_FLAG, statusName } from '../../src/abi/queue.js';
import { ENGINE_ID } from '../../src/device/engines/engine.js';
import { EngineRegistry } from '../../src/device/engines/registry.js';
import { Executor } from '../../src/device/executor.js';
import { sessionKeyBytes } from '../../src/device/sessions.js';
import { DeviceState, SPACE, SPACE_MODE } from '../../src/device/state.js';
import type { WvaQueue } from '../../src/driver/wva/wva-queue.js';
import { Mapping } from '../../src/sys/memory.js';
import { execute, fill, next, put, type RawSqe, until, withDevice } from '../device/support-device.js';
import { sample } from '../support/corpus.js';
import { ipsecMb } from './support-crypto.js';

const MEGABYTE = 1 << 20;
const KEY = sample('random', 32, 77);
const IV = Buffer.alloc(12, 4);
const THREADS = 2;
const COMPRESSORS = ['isa-l', 'libdeflate', 'zlib', 'node'];

function seal(source: Uint8Array, key: Uint8Array = KEY): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, IV);
  return Buffer.concat([cipher.update(source), cipher.final(), cipher.getAuthTag()]);
}

/** The aux fields and parameters of a submission: an IV of 12 bytes, and a tag of 16. */
const withIv = (address: number): number[] => [
  address % 2 ** 32,
  Math.floor(address / 2 ** 32),
  12,
  12,
  16,
  0,
];

/** Executors of two threads of one device, and its key memory, all in this thread. */
class Bench {
  readonly state = new DeviceState({
    threads: THREADS,
    queues: 1,
    spaces: 2,
    regionsPerSpace: 1,
    sessions: 8,
  });
  readonly keys = Mapping.anonymous(sessionKeyBytes(8));
  readonly memory = Mapping.anonymous(MEGABYTE);
  readonly executors: Executor[];
  readonly #entry = new Int32Array(SQE.bytes / 4);

  constructor(disabled: string[] = []) {
    for (const space of [0, 1]) this.state.words[this.state.space(space) + SPACE.mode] = SPACE_MODE.sva;
    this.executors = Array.from(
      { length: THREADS },
      (_, thread) =>
        new Executor(
          this.state,
          thread,
          new EngineRegistry([...COMPRESSORS, ...disabled]),
          this.keys.address,
          [],
        ),
    );
  }

  run(sqe: RawSqe, thread = 0, space = 0): { status: string; executor: Executor } {
    const executor = this.executors[thread]!;
    this.#entry.fill(0);
    fill(this.#entry, 0, sqe);
    return { status: statusName(executor.run(this.#entry, space)), executor };
  }

  open(
    operation: number,
    algorithm: number,
    key: Uint8Array,
    flags = 0,
  ): { status: string; session: number } {
    this.memory.bytes.set(key);
    const { status, executor } = this.run({
      opcode: OPCODE.sessionOpen,
      algorithm,
      level: operation,
      flags,
      source: this.memory.address,
      sourceLength: key.length,
    });
    this.memory.bytes.fill(0, 0, key.length);
    return { status, session: executor.result };
  }

  close(): void {
    for (const executor of this.executors) executor.close();
    this.keys.unmap();
    this.memory.unmap();
  }
}

const LISTS = [['ipsec-mb'], ['ipsec-mb', 'openssl'], ...(ipsecMb ? [[]] : [])];
for (const disabled of LISTS) {
  const engine = (['ipsec-mb', 'openssl', 'node-crypto'] as const)[disabled.length]!;

  describe(`sessions with keys, by ${engine}`, () => {
    test('a session serves every thread, and its key is gone once it ends', () => {
      const bench = new Bench(disabled);
      const { memory } = bench;
      const { status, session } = bench.open(OPCODE.encrypt, ALGORITHM['aes-256-gcm'], KEY);
      assert.equal(status, 'ok');
      assert.ok(Buffer.from(bench.keys.bytes).includes(KEY), 'it is in the memory of the device');
      const text = sample('text', 5000);
      memory.bytes.set(text, 8192);
      memory.bytes.set(IV, 4096);
      const request = {
        opcode: OPCODE.encrypt,
        algorithm: ALGORITHM['aes-256-gcm'],
        session,
        source: memory.address + 8192,
        sourceLength: text.length,
        destination: memory.address + 65_536,
        capacity: 6000,
        reserved: withIv(memory.address + 4096),
      };
      for (let round = 0; round < 6; round++) {
        const made = bench.run(request, round % THREADS);
        assert.equal(made.status, 'ok');
        assert.equal(made.executor.engine, ENGINE_ID[engine]);
        assert.equal(made.executor.produced, text.length + 16);
        assert.ok(seal(text).equals(memory.bytes.subarray(65_536, 65_536 + text.length + 16)));
      }
      // From another address space it is none, whatever is asked of it.
      assert.equal(bench.run(request, 1, 1).status, 'badSession');
      assert.equal(bench.run({ opcode: OPCODE.sessionClose, session }, 0, 1).status, 'badSession');
      assert.equal(bench.run(request, 1).status, 'ok');
      assert.equal(bench.run({ opcode: OPCODE.sessionClose, session }, 1).status, 'ok');
      assert.ok(
        bench.keys.bytes.every((byte) => byte === 0),
        'nothing of the key is left',
      );
      assert.equal(bench.run(request).status, 'badSession');
      bench.close();
    });

    test('keys that are none are refused and forgotten, and an empty key is one for HMAC alone', () => {
      const bench = new Bench(disabled);
      for (const key of [KEY.subarray(1), KEY.subarray(0, 16), Buffer.alloc(0)]) {
        assert.equal(bench.open(OPCODE.encrypt, ALGORITHM['aes-256-gcm'], key).status, 'badKey');
        assert.ok(bench.keys.bytes.every((byte) => byte === 0));
      }
      assert.equal(bench.open(OPCODE.sign, ALGORITHM['rsa-pss'], KEY).status, 'badKey');
      const { status, session } = bench.open(OPCODE.mac, ALGORITHM.sha256, Buffer.alloc(0));
      assert.equal(status, 'ok');
      const { memory } = bench;
      const made = bench.run({
        opcode: OPCODE.mac,
        algorithm: ALGORITHM.sha256,
        session,
        destination: memory.address,
        capacity: 32,
      });
      assert.equal(made.status, 'ok');
      assert.ok(createHmac('sha256', '').digest().equals(memory.bytes.subarray(0, 32)));
      // All the slots are free again, but for the one.
      for (let i = 1; i < 8; i++) assert.equal(bench.open(OPCODE.mac, ALGORITHM.sha256, KEY).status, 'ok');
      assert.equal(bench.open(OPCODE.mac, ALGORITHM.sha256, KEY).status, 'noResources');
      bench.close();
    });

    test('what was opened for one thing does no other', () => {
      const bench = new Bench(disabled);
      const { session } = bench.open(OPCODE.decrypt, ALGORITHM['aes-256-gcm'], KEY);
      const { address } = bench.memory;
      const sqe = { session, source: address, sourceLength: 32, destination: address + 4096, capacity: 64 };
      const reserved = withIv(address + 8192);
      for (const [opcode, algorithm, status] of [
        [OPCODE.encrypt, ALGORITHM['aes-256-gcm'], 'badSession'],
        [OPCODE.decrypt, ALGORITHM['aes-128-gcm'], 'badSession'],
        [OPCODE.decrypt, ALGORITHM['chacha20-poly1305'], 'badSession'],
        [OPCODE.decrypt, ALGORITHM['aes-256-gcm'], 'notAuthentic'],
      ] as const) {
        assert.equal(bench.run({ ...sqe, opcode, algorithm, reserved }).status, status);
      }
      assert.equal(
        bench.run({ ...sqe, opcode: OPCODE.mac, algorithm: ALGORITHM.sha256 }).status,
        'badSession',
      );
      bench.close();
    });
  });
}

describe('engines of cryptography in a device', () => {
  test('parts of a MAC are taken by whatever thread, in one sequence', () => {
    const bench = new Bench();
    const { memory } = bench;
    const { session, status } = bench.open(OPCODE.mac, ALGORITHM.sha512, KEY, SQE_FLAG.piece);
    assert.equal(status, 'ok');
    const text = sample('text', 3000);
    memory.bytes.set(text, 4096);
    for (let round = 0; round < 3; round++) {
      const sqe = { opcode: OPCODE.mac, algorithm: ALGORITHM.sha512, session };
      for (let at = 0; at < 3000; at += 1000) {
        const source = memory.address + 4096 + at;
        const part = { ...sqe, flags: SQE_FLAG.piece, source, sourceLength: 1000 };
        assert.equal(bench.run(part, (at / 1000 + round) % THREADS).status, 'ok');
      }
      const made = bench.run({ ...sqe, destination: memory.address, capacity: 64 }, round % THREADS);
      assert.equal(made.status, 'ok');
      const expected = createHmac('sha512', KEY).update(text).digest();
      assert.ok(expected.equals(memory.bytes.subarray(0, 64)));
    }
    bench.close();
  });

  test('two engine threads use one session at once', () =>
    withDevice({ maxThreads: 2 }, async (device) => {
      const queue: WvaQueue = await device.queue(32);
      const memory = await device.memory(16 * MEGABYTE);
      const text = sample('text', MEGABYTE);
      memory.mapping.bytes.set(KEY);
      const opened = await execute(queue, {
        opcode: OPCODE.sessionOpen,
        algorithm: ALGORITHM['aes-256-ctr'],
        level: OPCODE.encrypt,
        source: memory.iova,
        sourceLength: 32,
      });
      assert.equal(statusName(opened.status), 'ok');
      memory.mapping.bytes.fill(1, 0, 32);
      memory.mapping.bytes.set(text, MEGABYTE);
      const counter = Buffer.alloc(16, 8);
      memory.mapping.bytes.set(counter, 4096);
      const sealed = createCipheriv('aes-256-ctr', KEY, counter).update(text);
      const iv = memory.iova + 4096;
      const seen = new Set<number>();
      const round = async (): Promise<void> => {
        for (let i = 0; i < 12; i++) {
          put(queue.pair, {
            opcode: i % 2 === 0 ? OPCODE.encrypt : OPCODE.decrypt,
            algorithm: ALGORITHM['aes-256-ctr'],
            session: opened.result,
            requestId: i,
            source: memory.iova + MEGABYTE,
            sourceLength: MEGABYTE,
            destination: memory.iova + (2 + i) * MEGABYTE,
            capacity: MEGABYTE,
            reserved: [iv % 2 ** 32, Math.floor(iv / 2 ** 32), 16, 16, 0, 0],
          });
        }
        queue.publish();
        for (let i = 0; i < 12; i++) {
          const done = await next(queue);
          assert.equal(statusName(done.status), 'ok');
          seen.add(done.thread);
          const at = (2 + done.requestId) * MEGABYTE;
          assert.ok(sealed.equals(memory.mapping.bytes.subarray(at, at + MEGABYTE)));
        }
      };
      await until(async () => {
        await round();
        return seen.size === 2;
      }, 'both threads have done some');
      const closed = await execute(queue, { opcode: OPCODE.sessionClose, session: opened.result });
      assert.equal(statusName(closed.status), 'ok');
    }));
});
