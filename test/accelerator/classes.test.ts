import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import zlib from 'node:zlib';
import { type AlgorithmClass, algorithmsOf } from '../../src/abi/algorithms.js';
import { ArgumentError, AuthenticationError, ClosedError, UnsupportedError } from '../../src/errors.js';
import { type Accelerator, type OpenOptions, open } from '../../src/index.js';
import { fails } from '../support/expect.js';

/** Where requests run: as it is decided, always through the queue, always here, and in a device that checks addresses. */
const PLACES: Record<string, OpenOptions> = {
  'as decided': {},
  'through the queue': { inlineBytes: 0 },
  'in the calling thread': { inlineBytes: Number.POSITIVE_INFINITY },
  'with addresses checked': { inlineBytes: 0, sva: false },
  'without OpenSSL': { inlineBytes: 0, disableEngines: ['openssl'] },
};

const SIZES = [0, 1, 15, 16, 17, 63, 64, 65, 1000, 4096, 70_000, 1_000_000];
const random = (length: number): Buffer => crypto.randomBytes(length);
const key = random(32);
const iv = random(12);
const aad = Buffer.from('what is only authenticated');

for (const [place, options] of Object.entries(PLACES)) {
  describe(`classes, ${place}`, () => {
    let acc: Accelerator;
    before(async () => {
      acc = await open(options);
    });
    after(() => acc.close());

    it('digests as node:crypto does', async () => {
      for (const algorithm of algorithmsOf('digest')) {
        for (const size of SIZES) {
          const data = random(size);
          const expected = crypto.createHash(algorithm).update(data).digest();
          assert.ok((await acc.digest(data, { algorithm })).equals(expected), `${algorithm} of ${size}`);
          assert.ok(acc.digestSync(data, { algorithm }).equals(expected));
        }
      }
      const many = SIZES.map(random);
      const digests = await acc.digestMany(many);
      many.forEach((data, i) => {
        assert.ok(digests[i]!.equals(crypto.createHash('sha256').update(data).digest()));
      });
    });

    it('digests what comes in parts', async () => {
      for (const part of [10, 20_000, 100_000]) {
        for (const hmacKey of [undefined, key]) {
          const session = acc.digestSession({ algorithm: 'sha512', ...(hmacKey ? { key: hmacKey } : {}) });
          const make = () => (hmacKey ? crypto.createHmac('sha512', hmacKey) : crypto.createHash('sha512'));
          for (let round = 0; round < 3; round++) {
            const expected = make();
            for (let i = 0; i < 5; i++) {
              const data = random(part + i);
              expected.update(data);
              await session.update(data);
            }
            assert.ok((await session.digest()).equals(expected.digest()));
          }
          assert.ok(session.digestSync().equals(make().digest()));
          session.close();
          await fails(session.update(key), ClosedError, 'CLOSED', /session is closed/);
        }
      }
    });

    it('authenticates', async () => {
      for (const algorithm of algorithmsOf('digest')) {
        using session = acc.hmacSession({ algorithm, key });
        for (const size of SIZES) {
          const data = random(size);
          const expected = crypto.createHmac(algorithm, key).update(data).digest();
          assert.ok((await acc.hmac(data, { algorithm, key })).equals(expected));
          assert.ok(acc.hmacSync(data, { algorithm, key }).equals(expected));
          assert.ok((await session.mac(data)).equals(expected));
          assert.ok(session.macSync(data).equals(expected));
        }
      }
      // RFC 4493, example 2.
      const cmacKey = Buffer.from('2b7e151628aed2a6abf7158809cf4f3c', 'hex');
      const message = Buffer.from('6bc1bee22e409f96e93d7e117393172a', 'hex');
      const code = '070a16b46b4d4144f79bdd9dd04a287c';
      if (acc.supports('mac', 'aes-128-cmac')) {
        assert.equal((await acc.cmac(message, { key: cmacKey })).toString('hex'), code);
        assert.equal(acc.cmacSync(message, { key: cmacKey }).toString('hex'), code);
      }
    });

    it('encrypts and decrypts as node:crypto does', async () => {
      for (const algorithm of [...algorithmsOf('cipher'), ...algorithmsOf('aead')]) {
        const kind = algorithmsOf('aead').includes(algorithm as never) ? 'aead' : 'cipher';
        if (!acc.supports(kind, algorithm)) continue;
        const info = crypto.getCipherInfo(algorithm);
        if (!info) continue;
        const secret = random(info.keyLength);
        const nonce = info.ivLength ? random(info.ivLength) : undefined;
        const given = { algorithm, key: secret, ...(nonce ? { iv: nonce } : {}) };
        using session = acc.cipherSession({ algorithm, key: secret });
        for (const size of SIZES) {
          if (algorithm.endsWith('-xts') && size < 16) continue;
          // node:crypto gives no tag for an empty message.
          if (algorithm.endsWith('-ccm') && size === 0) continue;
          const data = random(size);
          const expected = reference(algorithm, secret, nonce, data);
          const packed = await acc.encrypt(data, given);
          assert.ok(packed.equals(expected), `${algorithm} of ${size}`);
          assert.ok(acc.encryptSync(data, given).equals(expected));
          assert.ok((await session.encrypt(data, given)).equals(expected));
          assert.ok((await acc.decrypt(packed, given)).equals(data));
          assert.ok(acc.decryptSync(packed, given).equals(data));
          assert.ok((await session.decrypt(packed, given)).equals(data));
        }
      }
    });

    it('refuses what was altered, always alike', async () => {
      const given = { key, iv, aad };
      for (const size of [0, 5, 5000, 200_000]) {
        const data = random(size);
        const packed = await acc.encrypt(data, given);
        assert.ok((await acc.decrypt(packed, given)).equals(data));
        const bad: [Buffer, object][] = [
          [flipped(packed, 0), {}],
          [flipped(packed, packed.length - 1), {}],
          [packed.subarray(0, packed.length - 1), {}],
          [packed.subarray(0, 3), {}],
          [packed, { aad: Buffer.from('else') }],
          [packed, { iv: random(12) }],
          [packed, { key: random(32) }],
        ];
        const messages = new Set<string>();
        for (const [input, other] of bad) {
          const error = await acc.decrypt(input, { ...given, ...other }).then(
            () => assert.fail('decrypted'),
            (reason) => reason as Error,
          );
          assert.ok(error instanceof AuthenticationError);
          messages.add(error.message);
          assert.throws(() => acc.decryptSync(input, { ...given, ...other }), AuthenticationError);
        }
        assert.equal(messages.size, 1);
      }
      const padded = await acc.encrypt(Buffer.from('x'), {
        algorithm: 'aes-128-cbc',
        key: random(16),
        iv: random(16),
      });
      await fails(
        acc.decrypt(padded, { algorithm: 'aes-128-cbc', key: Buffer.alloc(16, 1), iv: Buffer.alloc(16, 2) }),
        AuthenticationError,
        'AUTHENTICATION',
        /could not be decrypted/,
      ).catch(() => {});
    });

    it('makes nonces, and never one twice', async () => {
      using session = acc.cipherSession({ key, nonce: 'counter' });
      const data = random(100);
      const packed = await session.encryptMany(Array.from({ length: 200 }, () => data));
      packed.push(session.encryptSync(data), await session.encrypt(data));
      assert.equal(new Set(packed.map((each) => each.toString('hex', 0, 12))).size, packed.length);
      for (const plain of await session.decryptMany(packed)) assert.ok(plain.equals(data));
      await fails(session.encrypt(data, { iv }), ArgumentError, 'ARGUMENT', /makes its nonces itself/);
      await fails(session.decrypt(Buffer.alloc(3)), AuthenticationError, 'AUTHENTICATION', /decrypted/);
    });

    it('computes checksums', async () => {
      // The check value of each: that of the ASCII digits 1 to 9.
      const text = Buffer.from('123456789');
      const check: Record<string, number | bigint> = {
        crc32: 0xcbf43926,
        crc32c: 0xe3069283,
        'crc64-ecma': 0x995dc9bbdf1939fan,
        adler32: 0x091e01de,
      };
      for (const [algorithm, expected] of Object.entries(check)) {
        if (!acc.supports('checksum', algorithm)) continue;
        const options = { algorithm: algorithm as 'crc32' };
        assert.equal(await acc.checksum(text, options), expected);
        assert.equal(acc.checksumSync(text, options), expected);
        const first = acc.checksumSync(text.subarray(0, 4), options);
        const seed = first as number;
        assert.equal(await acc.checksum(text.subarray(4), { ...options, seed }), expected);
      }
      for (const size of SIZES) {
        const data = random(size);
        assert.equal(await acc.checksum(data), crc32(data));
      }
    });

    it('derives keys', async () => {
      const secret = Buffer.from('correct horse');
      const salt = random(16);
      const derived: [Buffer, Buffer][] = [
        [
          await acc.deriveKey(secret, { algorithm: 'pbkdf2', salt, iterations: 1000, length: 50 }),
          crypto.pbkdf2Sync(secret, salt, 1000, 50, 'sha256'),
        ],
        [
          await acc.deriveKey(secret, { algorithm: 'hkdf', digest: 'sha512', salt, info: aad, length: 77 }),
          Buffer.from(crypto.hkdfSync('sha512', secret, salt, aad, 77)),
        ],
        [
          await acc.deriveKey(secret, { algorithm: 'scrypt', salt, cost: 1024, length: 32 }),
          crypto.scryptSync(secret, salt, 32, { N: 1024 }),
        ],
        [
          acc.deriveKeySync(secret, { algorithm: 'scrypt', salt, length: 64 }),
          crypto.scryptSync(secret, salt, 64),
        ],
      ];
      for (const [ours, theirs] of derived) assert.ok(ours.equals(theirs));
    });

    it('signs, verifies, wraps and agrees', async () => {
      const rsa = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
      const ec = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const ed = crypto.generateKeyPairSync('ed25519');
      const data = random(300);
      for (const [algorithm, pair] of [
        ['rsassa-pkcs1-v1_5', rsa],
        ['rsa-pss', rsa],
        ['ecdsa-p256', ec],
        ['ed25519', ed],
      ] as const) {
        const signature = await acc.sign(data, { algorithm, key: pair.privateKey });
        assert.equal(await acc.verify(data, signature, { algorithm, key: pair.publicKey }), true);
        assert.equal(
          await acc.verify(data, flipped(signature, 5), { algorithm, key: pair.publicKey }),
          false,
        );
        assert.equal(acc.verifySync(random(300), signature, { algorithm, key: pair.publicKey }), false);
        const mine = acc.signSync(data, { algorithm, key: pair.privateKey });
        assert.equal(acc.verifySync(data, mine, { algorithm, key: pair.publicKey }), true);
      }
      const wrapped = await acc.publicEncrypt(key, { key: rsa.publicKey });
      assert.ok((await acc.privateDecrypt(wrapped, { key: rsa.privateKey })).equals(key));
      await fails(
        acc.privateDecrypt(flipped(wrapped, 9), { key: rsa.privateKey }),
        AuthenticationError,
        'AUTHENTICATION',
        /could not be decrypted/,
      );
      const one = crypto.generateKeyPairSync('x25519');
      const other = crypto.generateKeyPairSync('x25519');
      const secret = await acc.diffieHellman({ privateKey: one.privateKey, publicKey: other.publicKey });
      assert.ok(
        secret.equals(acc.diffieHellmanSync({ privateKey: other.privateKey, publicKey: one.publicKey })),
      );
    });

    it('copies, fills and compares', async () => {
      const mine = await acc.alloc(10_000);
      const target = await acc.alloc(10_000);
      for (const [from, to] of [
        [mine, target],
        [random(10_000), Buffer.alloc(10_000)],
      ] as const) {
        crypto.randomFillSync(from);
        const sum = await acc.copy(from, to, { crc32c: true });
        assert.ok(to.equals(from));
        assert.equal(sum, acc.checksumSync(from, { algorithm: 'crc32c' }));
        assert.equal(await acc.compare(from, to), undefined);
        to[7777]! ^= 1;
        assert.equal(await acc.compare(from, to), 7777);
        assert.equal(acc.compareSync(from, to), 7777);
        await acc.fill(to, 0x0807060504030201n);
        assert.deepEqual([...to.subarray(0, 9)], [1, 2, 3, 4, 5, 6, 7, 8, 1]);
        acc.fillSync(to, 7);
        assert.ok(to.every((byte) => byte === 7));
        acc.copySync(from, to);
        assert.ok(to.equals(from));
      }
    });

    it('runs chains', async () => {
      using cipher = acc.cipherSession({ key });
      using code = acc.hmacSession({ key });
      for (const size of [100, 5000, 300_000]) {
        const data = Buffer.from('what repeats is packed. '.repeat(size / 20));
        const stages = [
          { operation: 'digest', algorithm: 'sha256' },
          { operation: 'compress', algorithm: 'gzip', level: 1 },
          { operation: 'encrypt', session: cipher, iv, aad },
          { operation: 'mac', session: code },
        ] as const;
        for (const made of [await acc.chain(data, stages), acc.chainSync(data, stages)]) {
          const packed = await acc.decrypt(made.data, { key, iv, aad });
          assert.ok(zlib.gunzipSync(packed).equals(data));
          assert.ok((made.found[0] as Buffer).equals(crypto.createHash('sha256').update(data).digest()));
          assert.ok(
            (made.found[3] as Buffer).equals(crypto.createHmac('sha256', key).update(made.data).digest()),
          );
          const back = await acc.chain(made.data, [
            { operation: 'decrypt', session: cipher, iv, aad },
            { operation: 'decompress', maxOutputLength: 1_000_000 },
            { operation: 'checksum', algorithm: 'crc32' },
          ]);
          assert.ok(back.data.equals(data));
          assert.equal(back.found[2], crc32(data));
        }
      }
    });

    it('refuses the session of another accelerator', async () => {
      await using other = await open(options);
      using session = other.cipherSession({ key });
      using code = other.hmacSession({ key });
      const foreign = /of another accelerator/;
      await fails(
        acc.chain(key, [{ operation: 'encrypt', session, iv }]),
        ArgumentError,
        'ARGUMENT',
        foreign,
      );
      assert.throws(() => acc.chainSync(key, [{ operation: 'mac', session: code }]), foreign);
    });

    it('says what is wrong', async () => {
      const wrong: [() => unknown, new (...args: never[]) => Error, RegExp][] = [
        [
          () => acc.digestSync(key, { algorithm: 'sha257' as 'sha256' }),
          UnsupportedError,
          /there are md5, sha1/,
        ],
        [() => acc.digestSync('text' as unknown as Buffer), ArgumentError, /bytes are wanted/],
        [() => acc.encryptSync(key, { key }), ArgumentError, /needs an iv/],
        [() => acc.encryptSync(key, { key, iv: random(0) }), ArgumentError, /iv of aes-256-gcm/],
        [() => acc.encryptSync(key, { key: random(31), iv }), ArgumentError, /has 32 bytes, not 31/],
        [() => acc.encryptSync(key, { key: 'secret' as never, iv }), ArgumentError, /a key is bytes/],
        [
          () => acc.encryptSync(key, { algorithm: 'aes-128-ctr', key: random(16), iv: random(12) }),
          ArgumentError,
          /16 bytes, not 12/,
        ],
        [() => acc.encryptSync(key, { key, iv, tagLength: 17 }), ArgumentError, /a tag of aes-256-gcm has/],
        [
          () => acc.encryptSync(key, { algorithm: 'aes-256-ctr', key, iv: random(16), aad }),
          ArgumentError,
          /authenticates nothing/,
        ],
        [() => acc.checksumSync(key, { seed: 1n as unknown as number }), ArgumentError, /seed is a crc32/],
        [
          () => acc.deriveKeySync(key, { algorithm: 'scrypt', cost: 1000, length: 1 }),
          ArgumentError,
          /power of two/,
        ],
        [
          () => acc.signSync(key, { algorithm: 'ed25519', key: 'no pem' }),
          ArgumentError,
          /could not be read/,
        ],
        [() => acc.chainSync(key, []), ArgumentError, /1 to 4 stages/],
      ];
      for (const [call, kind, message] of wrong) {
        assert.throws(
          call,
          (error: Error) => error instanceof kind && message.test(error.message),
          String(call),
        );
      }
      const session = acc.cipherSession({ key });
      session.close();
      assert.throws(() => session.encryptSync(key, { iv }), ClosedError);
      await fails(session.encrypt(key, { iv }), ClosedError, 'CLOSED', /session is closed/);
    });

    it('tells what ran a request', async () => {
      const { info } = await acc.digest(random(1000), { info: true });
      if (options.inlineBytes === 0) assert.equal(info.ran, 'queue');
      if (options.inlineBytes === Number.POSITIVE_INFINITY) {
        assert.equal(info.ran, 'caller');
        assert.equal(info.why, 'small');
      }
      assert.ok(['openssl', 'node-crypto'].includes(info.engine));
    });

    it('lists what there is', () => {
      const classes: AlgorithmClass[] = ['digest', 'cipher', 'aead', 'checksum', 'kdf', 'sign', 'agree'];
      for (const each of classes) {
        assert.ok(
          algorithmsOf(each).some((name) => acc.supports(each, name)),
          each,
        );
      }
      assert.equal(acc.supports('digest', 'aes-128-ecb'), false);
      assert.equal(acc.supports('hmac', 'sha256'), true);
      assert.equal(acc.supports('digest', 'none'), false);
    });
  });
}

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at]! ^= 1;
  return copy;
}

function crc32(data: Buffer): number {
  // The trailer of gzip: node:zlib of Node 20 has no crc32 of its own in every version.
  return zlib.gzipSync(data, { level: 0 }).readUInt32LE(zlib.gzipSync(data, { level: 0 }).length - 8);
}

function reference(algorithm: string, secret: Buffer, nonce: Buffer | undefined, data: Buffer): Buffer {
  const isAead = /gcm|ccm|poly1305/.test(algorithm);
  const options = isAead ? { authTagLength: 16 } : {};
  const cipher = crypto.createCipheriv(algorithm, secret, nonce ?? null, options as object);
  const body = Buffer.concat([cipher.update(data), cipher.final()]);
  return isAead ? Buffer.concat([body, (cipher as crypto.CipherGCM).getAuthTag()]) : body;
}
