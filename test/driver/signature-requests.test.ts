import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, STATUS } from '../../src/abi/queue.js';
import {
  CRYPTO_AKCIPHER_OPCODE,
  CRYPTO_AKCIPHER_REQUEST,
  CRYPTO_CIPHER_REQUEST,
  CRYPTO_CREATE_RSA_SESSION,
  CRYPTO_KEY_TYPE,
  CRYPTO_SESSION_ANSWER,
  CRYPTO_STATUS,
} from '../../src/abi/virtio-crypto.js';
import { Completion, Submission } from '../../src/driver/driver.js';
import { Virtqueue } from '../../src/driver/virtio/virtqueue.js';
import { CONTROL_BYTES, CONTROL_CHAIN, ControlQueue } from '../../src/driver/virtio-crypto/control-queue.js';
import { CryptoQueue } from '../../src/driver/virtio-crypto/crypto-queue.js';
import { MemoryMap } from '../../src/driver/virtio-crypto/memory-map.js';
import { RequestTable } from '../../src/driver/virtio-crypto/request-table.js';
import { DATA_CHAIN } from '../../src/driver/virtio-crypto/requests.js';
import { Sessions } from '../../src/driver/virtio-crypto/sessions.js';
import { Interrupt } from '../../src/sys/interrupt.js';
import { Mapping } from '../../src/sys/memory.js';
import { type FoundRequest, IOVA, RingDevice } from './support-virtqueue.js';

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const PKCS8 = privateKey.export({ format: 'der', type: 'pkcs8' });
const SPKI = publicKey.export({ format: 'der', type: 'spki' });
const SIGNATURE_BYTES = 256;
const SHAPE = { size: 8, indirect: true, eventIndex: false };
/** Where the caller's memory, the tables of requests and the control request lie for the device. */
const MEMORY = 0x5000_0000;
const TABLE = 0x6000_0000;
const CONTROL = 0x7000_0000;
const AT = { key: 0, message: 4096, signature: 8192 } as const;
const MESSAGE = Buffer.from('a message');

/** A queue, and a device that makes every session and does with requests what a test says. */
class Scene {
  readonly device = new RingDevice({ ...SHAPE, chain: DATA_CHAIN });
  readonly memory = Mapping.anonymous(12_288);
  readonly table = Mapping.anonymous(4096);
  readonly control = new Uint8Array(CONTROL_BYTES);
  readonly queue: CryptoQueue;
  /** Keys that the device was given, and sessions that it was to end. */
  readonly keys: { type: number; bytes: Buffer }[] = [];
  readonly distrusted: string[] = [];
  readonly completion = new Completion();

  constructor(t: TestContext) {
    const { device } = this;
    const map = new MemoryMap();
    map.add(MEMORY, this.memory.length, this.memory.address);
    const sessions = new Sessions(() => assert.fail('the device answers'));
    sessions.attach(this.#controlQueue());
    const interrupt = new Interrupt();
    const rings = {
      virtqueue: new Virtqueue(device.memory, IOVA, { ...SHAPE, chain: DATA_CHAIN }),
      table: new RequestTable(this.table.bytes, TABLE, this.table.address),
      ring: () => {},
    };
    const owner = {
      sessions,
      memory: map,
      lost: false,
      probe: undefined,
      distrust: (reason: string) => this.distrusted.push(reason),
      look: () => {},
    };
    this.queue = new CryptoQueue(0, 8, rings, interrupt, false, owner, async () => {});
    this.memory.bytes.set(MESSAGE, AT.message);
    t.after(() => {
      interrupt.close();
      this.memory.unmap();
      this.table.unmap();
    });
  }

  /** The device's side of the control queue answers while its doorbell is rung. */
  #controlQueue(): ControlQueue {
    const device = new RingDevice({ ...SHAPE, chain: CONTROL_CHAIN });
    const view = new DataView(this.control.buffer);
    const ring = (): void => {
      const found = device.take()!;
      const [request, key] = found.buffers;
      const answer = found.buffers.at(-1)!.address - CONTROL;
      if (key?.writable === false) {
        const type = view.getUint32(
          request!.address - CONTROL + CRYPTO_CREATE_RSA_SESSION.offset.keyType,
          true,
        );
        const at = key.address - CONTROL;
        this.keys.push({ type, bytes: Buffer.from(this.control.slice(at, at + key.length)) });
        view.setUint32(answer + CRYPTO_SESSION_ANSWER.offset.sessionLow, 40 + this.keys.length, true);
        view.setUint32(answer + CRYPTO_SESSION_ANSWER.offset.status, CRYPTO_STATUS.ok, true);
      } else {
        view.setUint8(answer, CRYPTO_STATUS.ok);
      }
      device.complete(found.head, found.buffers.at(-1)!.length);
    };
    const virtqueue = new Virtqueue(device.memory, IOVA, { ...SHAPE, chain: CONTROL_CHAIN });
    return new ControlQueue(virtqueue, this.control, CONTROL, ring);
  }

  /** Completed by the driver itself. */
  run(fields: Partial<Submission>): Completion {
    assert.ok(this.queue.submit(Object.assign(new Submission(), fields)));
    assert.ok(this.queue.poll(this.completion));
    return this.completion;
  }

  open(key: Uint8Array, level: number): number {
    this.memory.bytes.set(key, AT.key);
    const request = { operation: OPCODE.sessionOpen, level, algorithm: ALGORITHM['rsassa-pkcs1-v1_5'] };
    const source = { source: MEMORY + AT.key, sourceLength: key.length, param0: ALGORITHM.sha256 };
    const { status, result } = this.run({ ...request, ...source });
    assert.equal(status, STATUS.ok);
    return result;
  }

  /** Sends a request; what the device finds. */
  send(operation: number, session: number): FoundRequest {
    const signature = MEMORY + AT.signature;
    const submission = Object.assign(new Submission(), {
      operation,
      session,
      algorithm: ALGORITHM['rsassa-pkcs1-v1_5'],
      source: MEMORY + AT.message,
      sourceLength: MESSAGE.length,
      ...(operation === OPCODE.sign
        ? { destination: signature, capacity: 512 }
        : { aux: signature, auxLength: SIGNATURE_BYTES }),
    });
    assert.ok(this.queue.submit(submission));
    this.queue.publish();
    return this.device.take()!;
  }

  /** What becomes of a request that the device completes with a status, and says that it wrote so much. */
  finish(
    { head, buffers }: FoundRequest,
    status: number | undefined,
    written: number,
  ): Completion | undefined {
    if (status !== undefined) this.table.bytes[buffers.at(-1)!.address - TABLE] = status;
    this.device.complete(head, written);
    return this.queue.poll(this.completion) ? this.completion : undefined;
  }

  /** What the device finds in a buffer of the driver's own. */
  inTable(address: number, length: number): Buffer {
    return Buffer.from(this.table.bytes.subarray(address - TABLE, address - TABLE + length));
  }
}

describe('signatures of a virtio-crypto device', () => {
  const digest = createHash('sha256').update(MESSAGE).digest();
  const { offset: FIELD } = CRYPTO_AKCIPHER_REQUEST;
  const HEADER = CRYPTO_CIPHER_REQUEST.bytes;

  test('take the key without its wrapping, which is not left in the memory of the device', (t) => {
    const scene = new Scene(t);
    scene.open(PKCS8, OPCODE.sign);
    scene.open(SPKI, OPCODE.verify);
    assert.deepEqual(scene.keys, [
      { type: CRYPTO_KEY_TYPE.private, bytes: privateKey.export({ format: 'der', type: 'pkcs1' }) },
      { type: CRYPTO_KEY_TYPE.public, bytes: publicKey.export({ format: 'der', type: 'pkcs1' }) },
    ]);
    assert.equal(Buffer.from(scene.control).indexOf(scene.keys[0]!.bytes.subarray(0, 64)), -1);
  });

  test('are asked for with the digest behind the header, and verified with the signature before it', (t) => {
    const scene = new Scene(t);
    const signing = scene.send(OPCODE.sign, scene.open(PKCS8, OPCODE.sign));
    const [header, target, status] = signing.buffers;
    assert.deepEqual(signing.buffers.slice(1), [
      { address: MEMORY + AT.signature, length: SIGNATURE_BYTES, writable: true },
      { address: status!.address, length: 1, writable: true },
    ]);
    assert.equal(target!.address + SIGNATURE_BYTES <= MEMORY + scene.memory.length, true);
    const asked = scene.inTable(header!.address, header!.length);
    assert.deepEqual(asked.subarray(HEADER), digest);
    assert.equal(asked.readUInt32LE(FIELD.opcode), CRYPTO_AKCIPHER_OPCODE.sign);
    assert.equal(asked.readUInt32LE(FIELD.sessionLow), 41);
    assert.equal(asked.readUInt32LE(FIELD.sourceLength), digest.length);
    assert.equal(asked.readUInt32LE(FIELD.destinationLength), SIGNATURE_BYTES);

    const verifying = scene.send(OPCODE.verify, scene.open(SPKI, OPCODE.verify));
    const [head, signature, hash, verdict] = verifying.buffers;
    assert.deepEqual(signature, { address: MEMORY + AT.signature, length: SIGNATURE_BYTES, writable: false });
    assert.deepEqual(scene.inTable(hash!.address, hash!.length), digest);
    assert.deepEqual([hash!.writable, verdict!.length, verdict!.writable], [false, 1, true]);
    const said = scene.inTable(head!.address, head!.length);
    assert.equal(said.length, HEADER);
    assert.equal(said.readUInt32LE(FIELD.opcode), CRYPTO_AKCIPHER_OPCODE.verify);
    assert.equal(said.readUInt32LE(FIELD.sourceLength), SIGNATURE_BYTES);
    assert.equal(said.readUInt32LE(FIELD.destinationLength), digest.length);
  });

  test('count only where the device says that all is well, and has written all of it', (t) => {
    const scene = new Scene(t);
    const session = scene.open(PKCS8, OPCODE.sign);
    const whole = SIGNATURE_BYTES + 1;
    for (const [status, written, expected] of [
      [CRYPTO_STATUS.ok, whole, STATUS.ok],
      [CRYPTO_STATUS.ok, whole - 1, STATUS.unsupported],
      [CRYPTO_STATUS.ok, 1, STATUS.unsupported],
      [CRYPTO_STATUS.ok, 0, STATUS.unsupported],
      [CRYPTO_STATUS.error, whole, STATUS.engineFailed],
      [CRYPTO_STATUS.keyRejected, whole, STATUS.engineFailed],
      [CRYPTO_STATUS.badSession, whole, STATUS.badSession],
      [0x55, whole, STATUS.engineFailed],
      // It has not touched the status.
      [undefined, whole, STATUS.engineFailed],
    ] as const) {
      const done = scene.finish(scene.send(OPCODE.sign, session), status, written);
      assert.equal(done?.status, expected, `${status}, ${written}`);
      assert.equal(done.produced, expected === STATUS.ok ? SIGNATURE_BYTES : 0);
    }
    assert.deepEqual(scene.distrusted, []);
    assert.equal(scene.finish(scene.send(OPCODE.sign, session), CRYPTO_STATUS.ok, whole + 1), undefined);
    assert.match(scene.distrusted[0]!, /has written 258 bytes where 257 fit/);
  });

  test('are right only where the device says so, and wrong only where it says that', (t) => {
    const scene = new Scene(t);
    const session = scene.open(SPKI, OPCODE.verify);
    for (const [answer, status, result] of [
      [CRYPTO_STATUS.ok, STATUS.ok, 1],
      [CRYPTO_STATUS.keyRejected, STATUS.ok, 0],
      [CRYPTO_STATUS.error, STATUS.engineFailed, 0],
      [CRYPTO_STATUS.unsupported, STATUS.unsupported, 0],
      [0xfe, STATUS.engineFailed, 0],
      [undefined, STATUS.engineFailed, 0],
    ] as const) {
      const done = scene.finish(scene.send(OPCODE.verify, session), answer, 1);
      assert.deepEqual([done?.status, done?.result], [status, result], `${answer}`);
    }
    assert.equal(scene.finish(scene.send(OPCODE.verify, session), CRYPTO_STATUS.ok, 2), undefined);
    assert.match(scene.distrusted[0]!, /has written 2 bytes where 1 fit/);
  });

  test('are numbers below the modulus: others the device is not asked about', (t) => {
    const scene = new Scene(t);
    const session = scene.open(SPKI, OPCODE.verify);
    const modulus = Buffer.from(publicKey.export({ format: 'jwk' }).n!, 'base64url');
    const below = Buffer.from(modulus);
    below[SIGNATURE_BYTES - 1]! -= 1;
    const request = {
      operation: OPCODE.verify,
      session,
      algorithm: ALGORITHM['rsassa-pkcs1-v1_5'],
      source: MEMORY + AT.message,
      sourceLength: MESSAGE.length,
      aux: MEMORY + AT.signature,
      auxLength: SIGNATURE_BYTES,
    };
    for (const signature of [modulus, Buffer.alloc(SIGNATURE_BYTES, 0xff)]) {
      scene.memory.bytes.set(signature, AT.signature);
      const { status, result } = scene.run(request);
      assert.deepEqual([status, result], [STATUS.ok, 0]);
    }
    scene.memory.bytes.set(below, AT.signature);
    assert.ok(scene.send(OPCODE.verify, session));
  });

  test('that the device was given twice, or not at all, end the trust in it', (t) => {
    const scene = new Scene(t);
    const session = scene.open(PKCS8, OPCODE.sign);
    const found = scene.send(OPCODE.sign, session);
    assert.equal(scene.finish(found, CRYPTO_STATUS.ok, SIGNATURE_BYTES + 1)?.status, STATUS.ok);
    scene.send(OPCODE.sign, session);
    assert.equal(scene.finish({ ...found, head: 7 }, CRYPTO_STATUS.ok, SIGNATURE_BYTES + 1), undefined);
    assert.match(scene.distrusted[0]!, /has completed request 7, which it was not given/);
  });
});
