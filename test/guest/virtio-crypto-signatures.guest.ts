import assert from 'node:assert/strict';
import { constants, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { before, describe, type TestContext, test } from 'node:test';
import { ALGORITHM } from '../../src/abi/algorithms.js';
import { OPCODE, SQE_FLAG, STATUS } from '../../src/abi/queue.js';
import { Completion, type DeviceMemory, type DeviceQueue, Submission } from '../../src/driver/driver.js';
import { type VirtioCryptoDevice, virtioCrypto } from '../../src/driver/virtio-crypto/virtio-crypto.js';
import { type Accelerator, open } from '../../src/index.js';
import { openVfio } from '../../src/transport/vfio/open.js';
import { GUEST_DEVICE } from './harness/devices.js';
import { bind } from './support-devices.js';
import { loadModule } from './support-kernel.js';
import { RSA_2048, RSA_2050 } from './support-rsa-keys.js';

const NAME = `vfio:${GUEST_DEVICE.crypto}`;
const RSA = 'rsassa-pkcs1-v1_5';
/** Those of QEMU 7.2. It says of the others that it does not support them. */
const DIGESTS = ['sha1', 'sha256', 'sha512'] as const;

const pkcs8 = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'pkcs8' });
const spki = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'spki' });
const pair = RSA_2048;

/** An accelerator that sends everything to the device, closed when the test is over. */
async function openAccelerator(t: TestContext): Promise<Accelerator> {
  const acc = await open(NAME, { inlineBytes: 0 });
  t.after(() => acc.close());
  return acc;
}

/** One request at a time through the driver alone, in memory with a place for each part. */
class Bench {
  readonly at = { key: 0, data: 4096, signature: 8192 } as const;
  readonly device: VirtioCryptoDevice;
  readonly queue: DeviceQueue;
  readonly memory: DeviceMemory;

  private constructor(device: VirtioCryptoDevice, queue: DeviceQueue, memory: DeviceMemory) {
    this.device = device;
    this.queue = queue;
    this.memory = memory;
  }

  static async open(t: TestContext): Promise<Bench> {
    const device = (await virtioCrypto.open(await openVfio(NAME))) as VirtioCryptoDevice;
    t.after(() => device.close());
    return new Bench(device, await device.createQueue({ depth: 16 }), await device.allocate(12_288));
  }

  run(fields: Partial<Submission>): Completion {
    assert.ok(this.queue.submit(Object.assign(new Submission(), fields)));
    this.queue.publish();
    const completion = new Completion();
    while (!this.queue.poll(completion)) assert.equal(this.queue.failed, false);
    return completion;
  }

  openSession(key: Uint8Array, fields: Partial<Submission>): Completion {
    this.memory.mapping.bytes.set(key, this.at.key);
    return this.run({
      operation: OPCODE.sessionOpen,
      algorithm: ALGORITHM[RSA],
      source: this.memory.iova + this.at.key,
      sourceLength: key.length,
      param0: ALGORITHM.sha256,
      ...fields,
    });
  }

  /** A session that works; its number. */
  session(key: Uint8Array, level: number): number {
    const { status, result } = this.openSession(key, { level });
    assert.equal(status, STATUS.ok);
    return result;
  }

  /** A request to sign what lies in the memory. */
  signing(session: number): Partial<Submission> {
    const { iova } = this.memory;
    return {
      operation: OPCODE.sign,
      algorithm: ALGORITHM[RSA],
      session,
      source: iova + this.at.data,
      sourceLength: 100,
      destination: iova + this.at.signature,
      capacity: 512,
    };
  }

  /** A request to verify what `signing` has left there. */
  verifying(session: number): Partial<Submission> {
    const { iova } = this.memory;
    return {
      operation: OPCODE.verify,
      algorithm: ALGORITHM[RSA],
      session,
      source: iova + this.at.data,
      sourceLength: 100,
      aux: iova + this.at.signature,
      auxLength: 256,
    };
  }

  get signature(): Buffer {
    return Buffer.from(this.memory.mapping.bytes.subarray(this.at.signature, this.at.signature + 256));
  }

  get data(): Buffer {
    return Buffer.from(this.memory.mapping.bytes.subarray(this.at.data, this.at.data + 100));
  }
}

describe('signatures by driver/virtio-crypto', () => {
  before(() => {
    loadModule('vfio-pci');
    bind(GUEST_DEVICE.crypto, 'vfio-pci');
  });

  test('are made and verified as everywhere else, by the device', async (t) => {
    const acc = await openAccelerator(t);
    const [listing] = acc.devices();
    assert.deepEqual(listing!.algorithms['sign'], [RSA]);
    assert.deepEqual(listing!.algorithms['verify'], [RSA]);
    const data = randomBytes(5000);
    const { result, info } = await acc.sign(data, { algorithm: RSA, key: pair.privateKey, info: true });
    assert.deepEqual(result, sign('sha256', data, pair.privateKey));
    assert.deepEqual(
      { ran: info.ran, engine: info.engine, device: info.device },
      { ran: 'queue', engine: 'hardware', device: NAME },
    );
    const options = { algorithm: RSA, key: pair.publicKey, info: true } as const;
    const verdict = await acc.verify(data, result, options);
    assert.equal(verdict.result, true);
    assert.equal(verdict.info.ran, 'queue');
    assert.equal((await acc.verify(randomBytes(5000), result, options)).result, false);
  });

  test("are node:crypto's, with every digest and keys of any length", async (t) => {
    const acc = await openAccelerator(t);
    for (const { privateKey, publicKey } of [pair, RSA_2050]) {
      for (const digest of DIGESTS) {
        const signer = acc.signSession({ algorithm: RSA, key: privateKey, digest });
        const verifier = acc.verifySession({ algorithm: RSA, key: publicKey, digest });
        for (const length of [0, 100, 70_000]) {
          const data = randomBytes(length);
          const signature = await signer.sign(data);
          assert.deepEqual(signature, sign(digest, data, privateKey), `${digest} of ${length} bytes`);
          assert.equal(await verifier.verify(data, signature), true);
          assert.equal(verifier.verifySync(data, signature), true);
          assert.equal(await verifier.verify(Buffer.concat([data, Buffer.alloc(1)]), signature), false);
        }
        signer.close();
        verifier.close();
      }
    }
  });

  test('that begin with a zero, of which QEMU leaves out the last byte, are made by the calling thread', async (t) => {
    const acc = await openAccelerator(t);
    // With the first, one of three does; with the other, one of 256.
    for (const { privateKey } of [RSA_2050, pair]) {
      using signer = acc.signSession({ algorithm: RSA, key: privateKey });
      const messages = Array.from({ length: 40 }, (_, i) => Buffer.from(`message ${i}`));
      const made = await Promise.all(messages.map((data) => signer.sign(data, { info: true })));
      made.forEach(({ result, info }, i) => {
        assert.deepEqual(result, sign('sha256', messages[i]!, privateKey));
        assert.equal(info.ran, result[0] === 0 ? 'caller' : 'queue');
        assert.equal(info.why, result[0] === 0 ? 'not on the device' : undefined);
      });
      assert.ok(privateKey === pair.privateKey || made.some(({ result }) => result[0] === 0));
      assert.deepEqual(signer.signSync(messages[0]!), made[0]!.result);
    }
  });

  test('that QEMU cuts off are refused by the driver: it can be seen, and all but the last byte is there', async (t) => {
    const bench = await Bench.open(t);
    const signer = bench.session(pkcs8(pair.privateKey), OPCODE.sign);
    const { bytes } = bench.memory.mapping;
    let done: Completion;
    do {
      bytes[bench.at.data]!++;
      if (bytes[bench.at.data] === 0) bytes[bench.at.data + 1]!++;
      bytes.fill(0xee, bench.at.signature, bench.at.signature + 256);
      done = bench.run(bench.signing(signer));
    } while (done.status === STATUS.ok);
    assert.deepEqual([done.status, done.produced], [STATUS.unsupported, 0]);
    const whole = sign('sha256', bench.data, pair.privateKey);
    assert.equal(whole[0], 0);
    assert.deepEqual(bench.signature, Buffer.concat([whole.subarray(0, 255), Buffer.of(0xee)]));
  });

  test('of many messages come in order', async (t) => {
    const acc = await openAccelerator(t);
    using signer = acc.signSession({ algorithm: RSA, key: pair.privateKey });
    using verifier = acc.verifySession({ algorithm: RSA, key: pair.publicKey });
    const messages = Array.from({ length: 50 }, (_, i) => Buffer.from(`message ${i}`));
    const signatures = await signer.signMany(messages);
    signatures.forEach((each, i) => {
      assert.deepEqual(each, sign('sha256', messages[i]!, pair.privateKey));
    });
    const pairs = messages.map((data, i) => ({ data, signature: signatures[i]! }));
    assert.deepEqual(new Set(await verifier.verifyMany(pairs)), new Set([true]));
  });

  test('of another length or value are none', async (t) => {
    const acc = await openAccelerator(t);
    const data = randomBytes(100);
    using verifier = acc.verifySession({ algorithm: RSA, key: pair.publicKey });
    const right = sign('sha256', data, pair.privateKey);
    const { n } = pair.publicKey.export({ format: 'jwk' });
    const modulus = Buffer.from(n!, 'base64url');
    const altered = Buffer.from(right);
    altered[200]! ^= 0x10;
    const wrong = [
      Buffer.alloc(0),
      Buffer.alloc(1),
      right.subarray(1),
      right.subarray(0, 255),
      // QEMU takes this for the same number.
      Buffer.concat([Buffer.alloc(1), right]),
      Buffer.concat([right, Buffer.alloc(1)]),
      altered,
      modulus,
      Buffer.alloc(256),
      Buffer.alloc(256, 0xff),
      sign('sha512', data, pair.privateKey),
      sign('sha256', data, { key: pair.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING }),
    ];
    for (const [index, signature] of wrong.entries()) {
      assert.equal(await verifier.verify(data, signature), false, `wrong signature ${index}`);
    }
    assert.equal(await verifier.verify(data, right), true);
  });

  test('that the device has not are made by the calling thread, which says so', async (t) => {
    const acc = await openAccelerator(t);
    const data = randomBytes(100);
    for (const options of [
      { algorithm: RSA, digest: 'sha384' },
      { algorithm: RSA, digest: 'sha3-256' },
      { algorithm: 'rsa-pss' },
    ] as const) {
      const made = await acc.sign(data, { ...options, key: pair.privateKey, info: true });
      assert.equal(made.info.ran, 'caller');
      assert.equal(made.info.why, 'not on the device');
      const verdict = await acc.verify(data, made.result, { ...options, key: pair.publicKey, info: true });
      assert.equal(verdict.result, true);
      assert.equal(verdict.info.ran, 'caller');
    }
    const sealed = await acc.publicEncrypt(data, { key: pair.publicKey });
    assert.deepEqual(await acc.privateDecrypt(sealed, { key: pair.privateKey }), data);
  });

  test('need a key that is one, and a session that is for them', async (t) => {
    const bench = await Bench.open(t);
    const { sign: signs, verify: verifies, encrypt } = OPCODE;
    const ec = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const secret = pkcs8(pair.privateKey);
    const open = spki(pair.publicKey);
    for (const [key, fields] of [
      [randomBytes(100), { level: signs }],
      [secret.subarray(0, 600), { level: signs }],
      [pair.privateKey.export({ format: 'der', type: 'pkcs1' }), { level: signs }],
      [open, { level: signs }],
      [secret, { level: verifies }],
      [pkcs8(ec.privateKey), { level: signs }],
      [spki(ec.publicKey), { level: verifies }],
      [pkcs8(small.privateKey), { level: signs }],
      [spki(small.publicKey), { level: verifies }],
      [Buffer.alloc(0), { level: signs }],
      [secret, { level: signs, param0: ALGORITHM.md5 }],
      [secret, { level: signs, param0: 0 }],
      [secret, { level: signs, param1: 33 }],
    ] as const) {
      assert.equal(bench.openSession(key, fields).status, STATUS.badKey, JSON.stringify(fields));
    }
    const refused = (fields: Partial<Submission>): number => bench.openSession(secret, fields).status;
    assert.equal(refused({ level: encrypt }), STATUS.unsupported);
    assert.equal(refused({ level: signs, algorithm: ALGORITHM['rsa-pss'] }), STATUS.unsupported);
    assert.equal(refused({ level: signs, flags: SQE_FLAG.piece }), STATUS.unsupported);
    assert.equal(refused({ level: signs, sourceLength: 4097 }), STATUS.badLength);
    assert.equal(refused({ level: signs, source: 0x1000 }), STATUS.badAddress);

    const signer = bench.session(secret, signs);
    const verifier = bench.session(open, verifies);
    const aes = bench.openSession(randomBytes(16), { level: encrypt, algorithm: ALGORITHM['aes-128-ecb'] });
    assert.equal(aes.status, STATUS.ok);
    for (const session of [0, 999, verifier, aes.result]) {
      assert.equal(bench.run(bench.signing(session)).status, STATUS.badSession);
    }
    for (const session of [0, 999, signer, aes.result]) {
      assert.equal(bench.run(bench.verifying(session)).status, STATUS.badSession);
    }
    const block = { ...bench.signing(signer), operation: encrypt, algorithm: ALGORITHM['aes-128-ecb'] };
    assert.equal(bench.run(block).status, STATUS.badSession);

    const spoilt = (fields: Partial<Submission>): number =>
      bench.run({ ...bench.signing(signer), ...fields }).status;
    assert.equal(spoilt({ capacity: 255 }), STATUS.noSpace);
    assert.equal(spoilt({ source: 0x1000 }), STATUS.badAddress);
    assert.equal(spoilt({ destination: 0x1000 }), STATUS.badAddress);
    assert.equal(spoilt({ destination: bench.memory.iova + 12_288 - 255 }), STATUS.badAddress);
    assert.equal(spoilt({ algorithm: ALGORITHM['rsa-pss'] }), STATUS.unsupported);
    assert.equal(bench.run({ ...bench.verifying(verifier), aux: 0x1000 }).status, STATUS.badAddress);

    // None of it has done harm.
    const done = bench.run(bench.signing(signer));
    assert.deepEqual([done.status, done.produced, done.consumed], [STATUS.ok, 256, 100]);
    assert.deepEqual(bench.signature, sign('sha256', bench.data, pair.privateKey));
    assert.equal(bench.run(bench.verifying(verifier)).result, 1);
    assert.equal(bench.run({ operation: OPCODE.sessionClose, session: signer }).status, STATUS.ok);
    assert.equal(bench.run(bench.signing(signer)).status, STATUS.badSession);
  });

  test('are made by a device that has been reset, with the key that it has forgotten', async (t) => {
    const bench = await Bench.open(t);
    const signer = bench.session(pkcs8(pair.privateKey), OPCODE.sign);
    for (let requestId = 0; requestId < 16; requestId++) {
      assert.ok(bench.queue.submit(Object.assign(new Submission(), bench.signing(signer), { requestId })));
    }
    bench.device.reset('a test wants it');
    const completion = new Completion();
    for (let requestId = 0; requestId < 16; requestId++) {
      assert.ok(bench.queue.poll(completion));
      assert.equal(completion.status, STATUS.engineFailed);
    }
    assert.equal(bench.run(bench.signing(signer)).status, STATUS.ok);
    assert.deepEqual(bench.signature, sign('sha256', bench.data, pair.privateKey));
  });
});
