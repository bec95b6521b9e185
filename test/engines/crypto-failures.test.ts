import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, test } from 'node:test';
import { ALGORITHM, type AlgorithmName, factsOf } from '../../src/abi/algorithms.js';
import { sample } from '../support/corpus.js';
import {
  AT,
  algorithmsFor,
  CIPHER_ENGINES,
  der,
  destination,
  ENGINES,
  type Given,
  inSession,
  isClean,
  open,
  openssl,
  output,
  peekError,
  run,
} from './support-crypto.js';

const KEY = sample('random', 64);
const keyFor = (name: AlgorithmName): Buffer => KEY.subarray(0, factsOf(name).keyBytes!);
const AEADS = ['aes-128-gcm', 'aes-256-gcm', 'aes-256-ccm', 'chacha20-poly1305'] as const;

for (const engine of ENGINES) {
  describe(`failures of ${engine.name}`, () => {
    test('padding that is none is not told apart from anything else', () => {
      for (const name of ['aes-128-cbc', 'aes-256-ecb', 'sm4-cbc'] as const) {
        const aux = Buffer.alloc(factsOf(name).ivBytes!, 1);
        const given = { key: keyFor(name), aux, params: [aux.length] };
        // The last byte decrypts to 0, which no padding ends with.
        const source = output(engine, 'encrypt', name, {
          ...given,
          source: Buffer.alloc(64),
          unpadded: true,
        });
        inSession(engine, 'decrypt', name, given, (context) => {
          for (const cut of [0, 1, 16, 63, 64]) {
            const made = run(engine, 'decrypt', name, { ...given, source: source.subarray(cut), context });
            assert.equal(made.status, 'notAuthentic', `${name} without ${cut}`);
            assert.equal(made.produced, 0);
            assert.ok(isClean(64));
          }
        });
      }
    });

    test('room for exactly the plaintext is enough, and one byte less is not', () => {
      for (const size of [0, 1, 15, 16, 17, 100]) {
        const given = { key: keyFor('aes-128-cbc'), aux: Buffer.alloc(16), params: [16] };
        const text = sample('text', size);
        const source = output(engine, 'encrypt', 'aes-128-cbc', { ...given, source: text });
        inSession(engine, 'decrypt', 'aes-128-cbc', given, (context) => {
          const into = (capacity: number) =>
            run(engine, 'decrypt', 'aes-128-cbc', { ...given, source, context, capacity });
          assert.ok(into(size).output.equals(text));
          if (size > 0) {
            assert.equal(into(size - 1).status, 'noSpace');
            assert.ok(isClean(size));
          }
        });
      }
    });

    test('lengths and fields that are wrong', () => {
      const cases: [string, 'encrypt' | 'decrypt', AlgorithmName, Partial<Given>][] = [
        ['badLength', 'encrypt', 'aes-128-cbc', { params: [15] }],
        ['badLength', 'encrypt', 'aes-128-cbc', { params: [0] }],
        ['badLength', 'encrypt', 'aes-128-cbc', { params: [-1] }],
        ['badLength', 'encrypt', 'aes-128-cbc', { aux: Buffer.alloc(17), params: [16] }],
        ['badLength', 'encrypt', 'aes-128-ecb', { aux: Buffer.alloc(1), params: [0] }],
        ['badField', 'encrypt', 'aes-128-cbc', { aux: Buffer.alloc(16), params: [16, 16] }],
        ['badLength', 'encrypt', 'aes-128-cbc', { unpadded: true, source: Buffer.alloc(17) }],
        ['badField', 'encrypt', 'aes-128-ctr', { unpadded: true }],
        ['badField', 'encrypt', 'aes-128-gcm', { aux: Buffer.alloc(12), params: [12], unpadded: true }],
        ['badLength', 'encrypt', 'aes-128-xts', { source: Buffer.alloc(15) }],
        ['badLength', 'encrypt', 'aes-128-gcm', { params: [0] }],
        ['badLength', 'encrypt', 'aes-128-gcm', { aux: Buffer.alloc(65), params: [65] }],
        ['badLength', 'encrypt', 'chacha20-poly1305', { aux: Buffer.alloc(16), params: [11] }],
        ['badLength', 'encrypt', 'aes-128-ccm', { aux: Buffer.alloc(16), params: [6] }],
        [
          'badLength',
          'encrypt',
          'aes-128-ccm',
          { aux: Buffer.alloc(13), params: [13], source: sample('text', 65_536) },
        ],
        ...[1, 3, 5, 11, 17, -1].map(
          (tag) =>
            ['badLength', 'encrypt', 'aes-128-gcm', { aux: Buffer.alloc(12), params: [12, tag] }] as never,
        ),
        ...[2, 5, 15, 18].map(
          (tag) =>
            ['badLength', 'decrypt', 'aes-128-ccm', { aux: Buffer.alloc(12), params: [12, tag] }] as never,
        ),
        ['noSpace', 'encrypt', 'aes-128-cbc', { source: Buffer.alloc(16), capacity: 31 }],
        [
          'noSpace',
          'encrypt',
          'aes-128-gcm',
          { aux: Buffer.alloc(12), params: [12], source: Buffer.alloc(5), capacity: 20 },
        ],
        ['noSpace', 'decrypt', 'aes-128-ctr', { source: Buffer.alloc(5), capacity: 4 }],
        ['badAddress', 'encrypt', 'aes-128-ctr', { source: Buffer.alloc(64), sourceAt: 0, destinationAt: 1 }],
        [
          'badAddress',
          'encrypt',
          'aes-128-ctr',
          { source: Buffer.alloc(64), sourceAt: 63, destinationAt: 0, capacity: 64 },
        ],
      ];
      for (const [status, operation, name, change] of cases) {
        const aux = Buffer.alloc(factsOf(name).class === 'cipher' ? factsOf(name).ivBytes! : 12);
        const given: Given = {
          aux,
          params: [aux.length],
          source: Buffer.alloc(32),
          key: keyFor(name),
          ...change,
        };
        inSession(engine, operation, name, { key: keyFor(name) }, (context) => {
          const made = run(engine, operation, name, { ...given, context });
          assert.equal(made.status, status, `${operation} ${name} ${JSON.stringify(change).slice(0, 80)}`);
          assert.equal(made.produced, 0);
        });
      }
      assert.equal(run(engine, 'digest', 'sha256', { capacity: 31 }).status, 'noSpace');
      const hmac = (given: Given): string =>
        inSession(
          engine,
          'mac',
          'sha256',
          { key: KEY },
          (context) => run(engine, 'mac', 'sha256', { key: KEY, ...given, context }).status,
        );
      assert.equal(hmac({ capacity: 31 }), 'noSpace');
      assert.equal(hmac({ piece: true }), 'badField');
      const derived = (algorithm: AlgorithmName, given: Given): string =>
        run(engine, 'derive', algorithm, { source: KEY, capacity: 32, ...given }).status;
      const { sha256 } = ALGORITHM;
      assert.equal(derived('hkdf', { level: sha256, capacity: 255 * 32 + 1 }), 'badLength');
      assert.equal(derived('hkdf', { level: sha256, params: [1] }), 'badLength');
      assert.equal(derived('hkdf', { level: sha256, params: [0, 1] }), 'badField');
      for (const level of [0, 1, 31, 47, ALGORITHM['aes-128-cmac'], 255]) {
        assert.equal(derived('hkdf', { level }), 'unsupported');
        assert.equal(derived('pbkdf2', { level, params: [0, 1] }), 'unsupported');
      }
      assert.equal(derived('pbkdf2', { level: sha256, params: [1, 1] }), 'badField');
      for (const params of [
        [3, 1, 1],
        [1, 1, 1],
        [0, 1, 1],
        [16, 0, 1],
        [16, 1, 0],
        [65_536, 1, 1],
        [-1, 1, 1],
      ]) {
        assert.equal(derived('scrypt', { params }), 'badField', `${params}`);
      }
      assert.equal(
        derived('scrypt', { params: [2, 1, 2 ** 22] }),
        'badLength',
        'memory that a request may not take',
      );
    });

    test('keys that are none', () => {
      const pair = (type: string, options: object): { privateKey: KeyObject; publicKey: KeyObject } =>
        generateKeyPairSync(type as 'rsa', options as never) as never;
      const rsa = pair('rsa', { modulusLength: 2048 });
      const weak = pair('rsa', { modulusLength: 1024 });
      const p256 = pair('ec', { namedCurve: 'prime256v1' });
      const p384 = pair('ec', { namedCurve: 'secp384r1' });
      const k256 = pair('ec', { namedCurve: 'secp256k1' });
      const ed = pair('ed25519', {});
      const x = pair('x25519', {});
      const digest = [ALGORITHM.sha256];
      const refused = (
        operation: 'sign' | 'verify' | 'agree' | 'encrypt' | 'decrypt' | 'mac',
        ...rest: unknown[]
      ): void => {
        const [name, key, params] = rest as [AlgorithmName, Buffer, number[] | undefined];
        assert.equal(open(engine, operation, name, { key, params: params ?? [] }), 0, `${operation} ${name}`);
        if (engine === openssl) assert.equal(peekError(), 0, `${operation} ${name}`);
      };
      for (const name of algorithmsFor(engine, 'encrypt')) {
        if (name === 'rsa-oaep') continue;
        const bytes = factsOf(name).keyBytes!;
        for (const wrong of [0, 1, bytes - 1, bytes + 1, 64 + bytes]) {
          refused('encrypt', name, Buffer.concat([KEY, KEY, KEY]).subarray(0, wrong));
        }
      }
      refused('mac', 'aes-128-cmac', KEY.subarray(0, 15));
      refused('mac', 'aes-128-cmac', KEY.subarray(0, 32));
      for (const operation of ['encrypt', 'decrypt'] as const) {
        refused(operation, 'aes-128-xts', Buffer.alloc(32, 7));
        refused(operation, 'aes-256-xts', Buffer.concat([KEY.subarray(0, 32), KEY.subarray(0, 32)]));
      }
      const good = der(rsa.privateKey);
      for (const name of ['rsa-pss', 'rsassa-pkcs1-v1_5'] as const) {
        for (const { privateKey, publicKey } of [weak, p256, ed, x]) {
          refused('sign', name, der(privateKey), digest);
          refused('verify', name, der(publicKey), digest);
        }
        refused('sign', name, der(rsa.publicKey), digest);
        refused('verify', name, good, digest);
        refused('sign', name, Buffer.concat([good, Buffer.alloc(1)]), digest);
        refused('sign', name, good.subarray(0, -1), digest);
        refused('sign', name, sample('random', 1200), digest);
        refused('sign', name, Buffer.alloc(0), digest);
        for (const wrong of [0, 1, ALGORITHM.md5, ALGORITHM.sm3, ALGORITHM['aes-128-cmac'], 255, -1]) {
          refused('sign', name, good, [wrong]);
        }
      }
      refused('sign', 'rsa-pss', good, [ALGORITHM.sha256, 224]);
      refused('sign', 'rsa-pss', good, [ALGORITHM.sha256, -1]);
      refused('sign', 'rsassa-pkcs1-v1_5', good, [ALGORITHM.sha256, 20]);
      refused('sign', 'rsassa-pkcs1-v1_5', rsa.privateKey.export({ format: 'der', type: 'pkcs1' }), digest);
      for (const { privateKey, publicKey } of [p384, k256, rsa, ed]) {
        refused('sign', 'ecdsa-p256', der(privateKey), digest);
        refused('verify', 'ecdsa-p256', der(publicKey), digest);
        refused('agree', 'ecdh-p256', der(privateKey));
      }
      refused('sign', 'ed25519', der(ed.privateKey), digest);
      refused('sign', 'ed25519', der(x.privateKey));
      refused('agree', 'x25519', der(ed.privateKey));
      refused('encrypt', 'rsa-oaep', good, digest);
      refused('decrypt', 'rsa-oaep', der(weak.privateKey), digest);

      const agreement = (name: AlgorithmName, mine: KeyObject, source: Buffer): string =>
        inSession(
          engine,
          'agree',
          name,
          { key: der(mine) },
          (context) => run(engine, 'agree', name, { key: der(mine), source, context }).status,
        );
      const other = der(pair('x25519', {}).publicKey);
      assert.equal(agreement('x25519', x.privateKey, other), 'ok');
      const zeroPoint = Buffer.concat([other.subarray(0, -32), Buffer.alloc(32)]);
      const offCurve = Buffer.from(der(p256.publicKey));
      offCurve[offCurve.length - 1]! ^= 1;
      for (const source of [
        zeroPoint,
        der(p256.publicKey),
        other.subarray(1),
        Buffer.alloc(0),
        der(x.privateKey),
      ]) {
        assert.equal(agreement('x25519', x.privateKey, source), 'badKey');
      }
      for (const source of [offCurve, der(p384.publicKey), other]) {
        assert.equal(agreement('ecdh-p256', p256.privateKey, source), 'badKey');
      }
      if (engine === openssl) assert.equal(peekError(), 0);
    });

    test('RSA-OAEP: what does not fit', () => {
      const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
      const params = [ALGORITHM.sha256];
      const key = der(publicKey);
      const sealed = inSession(engine, 'encrypt', 'rsa-oaep', { key, params }, (context) => {
        const seal = (given: Given) => run(engine, 'encrypt', 'rsa-oaep', { key, context, ...given });
        assert.equal(seal({ source: Buffer.alloc(191) }).status, 'badLength');
        assert.equal(seal({ source: Buffer.alloc(10), capacity: 255 }).status, 'noSpace');
        assert.equal(seal({ source: Buffer.alloc(10), params: [1] }).status, 'badField');
        assert.equal(seal({ source: Buffer.alloc(10), unpadded: true }).status, 'badField');
        const wrongWay = run(engine, 'decrypt', 'rsa-oaep', { key, context, source: Buffer.alloc(256) });
        assert.equal(wrongWay.status, 'badSession');
        return seal({ source: Buffer.from('a secret') }).output;
      });
      const secret = der(privateKey);
      inSession(engine, 'decrypt', 'rsa-oaep', { key: secret, params }, (context) => {
        const unseal = (source: Buffer, given: Given = {}) =>
          run(engine, 'decrypt', 'rsa-oaep', { key: secret, context, source, ...given });
        for (const source of [
          Buffer.alloc(256),
          Buffer.alloc(256, 255),
          Buffer.from(sealed.map((byte, at) => (at === 100 ? byte ^ 1 : byte))),
          sealed.subarray(1),
          Buffer.concat([sealed, sealed]),
          Buffer.alloc(0),
        ]) {
          assert.equal(unseal(source).status, 'notAuthentic');
          assert.ok(isClean(300));
        }
        assert.equal(unseal(sealed, { capacity: 7 }).status, 'noSpace');
        assert.equal(unseal(sealed, { capacity: 8 }).output.toString(), 'a secret');
      });
      if (engine === openssl) assert.equal(peekError(), 0);
    });
  });
}

for (const engine of CIPHER_ENGINES) {
  describe(`authentication by ${engine.name}`, () => {
    for (const name of AEADS) {
      if (!algorithmsFor(engine, 'encrypt').includes(name)) continue;
      test(`${name}: whatever is altered, nothing of the plaintext comes out`, () => {
        const key = keyFor(name);
        for (const size of [0, 1, 16, 1000, 70_000]) {
          const text = sample('text', size);
          const iv = Buffer.alloc(12, 9);
          const aad = Buffer.from('associated');
          const good = { key, aux: Buffer.concat([iv, aad]), params: [12, 16] };
          const sealed = output(engine, 'encrypt', name, { ...good, source: text });
          const flip = (bytes: Buffer, at: number): Buffer => {
            const altered = Buffer.from(bytes);
            altered[at]! ^= 0x10;
            return altered;
          };
          inSession(engine, 'encrypt', name, good, (context) => {
            const attempts: [string, Partial<Given>][] = [
              ['tag', { source: flip(sealed, sealed.length - 1) }],
              ['tag, first byte', { source: flip(sealed, size) }],
              ['IV', { aux: flip(good.aux, 0) }],
              ['AAD', { aux: flip(good.aux, 20) }],
              ['AAD cut', { aux: good.aux.subarray(0, -1) }],
              ['no AAD', { aux: iv }],
              ['cut', { source: sealed.subarray(0, -1) }],
              ['grown', { source: Buffer.concat([sealed, Buffer.alloc(1)]) }],
              ['shorter than a tag', { source: sealed.subarray(0, 15) }],
              ['nothing', { source: Buffer.alloc(0) }],
              ...(size > 0 ? [['ciphertext', { source: flip(sealed, 0) }] as [string, Partial<Given>]] : []),
            ];
            for (const [what, change] of attempts) {
              const answer = run(engine, 'decrypt', name, {
                ...good,
                source: sealed,
                context,
                capacity: size + 16,
                ...change,
              });
              assert.equal(answer.status, 'notAuthentic', `${what} of ${size}`);
              assert.equal(answer.produced, 0);
              assert.ok(isClean(size + 16), `${what} of ${size}: the destination has nothing`);
              if (engine === openssl) assert.equal(peekError(), 0);
            }
            // In place, too: neither ciphertext nor plaintext is left.
            const place = {
              sourceAt: AT.destination,
              source: flip(sealed, sealed.length - 1),
              capacity: size + 1,
            };
            const answer = run(engine, 'decrypt', name, { ...good, ...place, context });
            assert.equal(answer.status, 'notAuthentic');
            assert.ok(destination(size).every((byte) => byte === 0));
            const after = run(engine, 'decrypt', name, { ...good, source: sealed, context, capacity: size });
            assert.ok(after.output.equals(text), 'the session is as good as before');
          });
        }
      });
    }
  });
}
