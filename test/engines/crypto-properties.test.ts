import assert from 'node:assert/strict';
import {
  constants,
  createCipheriv,
  createHash,
  createHmac,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  pbkdf2Sync,
  privateDecrypt,
  publicEncrypt,
  scryptSync,
  sign,
  verify,
} from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ALGORITHM, type AlgorithmName, factsOf } from '../../src/abi/algorithms.js';
import { recordedSeed } from '../device/support-device.js';
import { sample } from '../support/corpus.js';
import {
  algorithmsFor,
  CIPHER_ENGINES,
  der,
  ENGINES,
  inSession,
  nodeCrypto,
  openssl,
  output,
  run,
} from './support-crypto.js';

const seed = recordedSeed();
/** Sizes around blocks, of every block size there is. */
const SIZES = [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 143, 144, 145, 4096, 65537];
const sizes = fc.oneof(fc.constantFrom(...SIZES), fc.nat(3000));
const data = (min = 0): fc.Arbitrary<Buffer> =>
  fc.tuple(sizes, fc.nat(1000)).map(([length, start]) => sample('random', Math.max(min, length), start));
const bytes = (minLength: number, maxLength = minLength): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength, maxLength }).map((each) => Buffer.from(each));

/** Checks a property; `runs` are few, since there are many algorithms. */
function holds<T extends unknown[]>(
  arbitraries: { [N in keyof T]: fc.Arbitrary<T[N]> },
  body: (...values: T) => void,
  numRuns = 25,
): void {
  fc.assert(
    fc.property(fc.tuple<T>(...arbitraries), (values) => body(...values)),
    { seed, numRuns },
  );
}

const TAGS: Record<string, number[]> = {
  gcm: [4, 8, 12, 13, 14, 15, 16],
  ccm: [4, 6, 8, 10, 12, 14, 16],
  poly1305: [16],
};

/** What node:crypto makes of it. */
function seal(
  name: AlgorithmName,
  key: Buffer,
  iv: Buffer,
  aad: Buffer,
  tag: number,
  text: Buffer,
  padding: boolean,
): Buffer {
  const aead = factsOf(name).class === 'aead';
  const cipher = createCipheriv(name as 'aes-128-ccm', key, iv.length === 0 ? (null as never) : iv, {
    authTagLength: tag,
  });
  if (aead) cipher.setAAD(aad, { plaintextLength: text.length });
  else cipher.setAutoPadding(padding);
  const parts = [cipher.update(text), cipher.final()];
  return Buffer.concat(aead ? [...parts, cipher.getAuthTag()] : parts);
}

interface Pair {
  privateKey: KeyObject;
  publicKey: KeyObject;
}
let rsa: Pair | undefined;

function keyPairs(): Record<
  'rsa' | 'ecdsa-p256' | 'ecdsa-p384' | 'ed25519' | 'x25519' | 'ecdh-p256' | 'ecdh-p384',
  Pair
> {
  rsa ??= generateKeyPairSync('rsa', { modulusLength: 2048 });
  const p256 = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const p384 = generateKeyPairSync('ec', { namedCurve: 'secp384r1' });
  const ed25519 = generateKeyPairSync('ed25519');
  const x25519 = generateKeyPairSync('x25519');
  return {
    rsa,
    'ecdsa-p256': p256,
    'ecdsa-p384': p384,
    ed25519,
    x25519,
    'ecdh-p256': p256,
    'ecdh-p384': p384,
  };
}

for (const engine of ENGINES) {
  describe(`${engine.name} agrees with node:crypto`, () => {
    for (const name of algorithmsFor(engine, 'digest')) {
      test(`digest ${name}`, () => {
        for (const size of SIZES) {
          const source = sample('random', size);
          const expected = createHash(name).update(source).digest();
          assert.ok(output(engine, 'digest', name, { source }).equals(expected), `${size} bytes`);
        }
      });
    }

    for (const name of algorithmsFor(engine, 'mac')) {
      if (factsOf(name).class !== 'digest') continue;
      test(`HMAC with ${name}`, () =>
        holds([data(), bytes(0, 200)], (source, key) => {
          const expected = createHmac(name, key).update(source).digest();
          inSession(engine, 'mac', name, { key }, (context) => {
            for (let round = 0; round < 2; round++) {
              const made = run(engine, 'mac', name, { key, source, context });
              assert.ok(made.output.equals(expected));
            }
          });
        }));
    }

    test('associated data of 64 KiB', () => {
      const aad = sample('random', 65_536 - 12);
      for (const name of ['aes-256-gcm', 'aes-128-ccm', 'chacha20-poly1305'] as const) {
        const key = sample('random', factsOf(name).keyBytes!);
        const iv = Buffer.alloc(12, 3);
        const source = sample('text', 5000);
        const given = { key, source, aux: Buffer.concat([iv, aad]), params: [12, 0] };
        assert.ok(output(engine, 'encrypt', name, given).equals(seal(name, key, iv, aad, 16, source, true)));
      }
    });

    test('in place', () => {
      for (const name of [
        'aes-128-cbc',
        'aes-256-ctr',
        'aes-256-gcm',
        'aes-128-ccm',
        'aes-256-xts',
      ] as const) {
        const facts = factsOf(name);
        const key = sample('random', facts.keyBytes!);
        const source = sample('text', 5000);
        const aux = Buffer.alloc(facts.ivBytes!, 5);
        const given = { key, aux, params: [aux.length, 0], sourceAt: 4096, destinationAt: 4096 };
        const apart = output(engine, 'encrypt', name, { key, aux, params: [aux.length, 0], source });
        inSession(engine, 'encrypt', name, { key }, (context) => {
          for (const [operation, from, to] of [
            ['encrypt', source, apart],
            ['decrypt', apart, source],
          ] as const) {
            const made = run(engine, operation, name, { ...given, source: from, capacity: 6000, context });
            assert.equal(made.status, 'ok', `${operation} ${name}`);
            assert.ok(made.output.equals(to), `${operation} ${name}`);
          }
        });
      }
    });

    test('derivations', () => {
      const digests = fc.constantFrom(...algorithmsFor(engine, 'digest'));
      holds(
        [digests, bytes(0, 80), bytes(0, 80), bytes(0, 500), fc.integer({ min: 1, max: 4000 })],
        (...given) => {
          const [digest, secret, salt, info, wanted] = given;
          const capacity = Math.min(wanted, 255 * factsOf(digest).outputBytes!);
          const level = ALGORITHM[digest];
          const made = output(engine, 'derive', 'hkdf', {
            level,
            source: secret,
            aux: Buffer.concat([salt, info]),
            params: [salt.length],
            capacity,
          });
          assert.ok(made.equals(Buffer.from(hkdfSync(digest, secret, salt, info, capacity))));
          const params = [0, 1 + (wanted % 9)];
          const stretched = output(engine, 'derive', 'pbkdf2', {
            level,
            source: secret,
            aux: salt,
            params,
            capacity,
          });
          assert.ok(stretched.equals(pbkdf2Sync(secret, salt, params[1]!, capacity, digest)));
        },
      );
      holds(
        [bytes(0, 40), bytes(0, 40), fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 8 })],
        (...given) => {
          const [secret, salt, log, r] = given;
          const params = [2 ** log, r, 1 + (r % 3)];
          const made = output(engine, 'derive', 'scrypt', {
            source: secret,
            aux: salt,
            params,
            capacity: 50,
          });
          assert.ok(made.equals(scryptSync(secret, salt, 50, { N: params[0]!, r, p: params[2]! })));
        },
      );
    });

    const keys = keyPairs();
    for (const [name, digest, salt] of [
      ['rsassa-pkcs1-v1_5', 'sha256', undefined],
      ['rsassa-pkcs1-v1_5', 'sha3-256', undefined],
      ['rsa-pss', 'sha384', undefined],
      ['rsa-pss', 'sha256', 11],
      ['rsa-pss', 'sha256', 0],
      ['ecdsa-p256', 'sha256', undefined],
      ['ecdsa-p384', 'sha512', undefined],
      ['ed25519', null, undefined],
    ] as const) {
      test(`signatures: ${name} ${digest ?? ''} ${salt ?? ''}`, () => {
        const pair = keys[name === 'rsa-pss' || name === 'rsassa-pkcs1-v1_5' ? 'rsa' : name];
        // One more than the salt's length: 0 stands for that of the digest.
        const params = [digest ? ALGORITHM[digest] : 0, salt === undefined ? 0 : salt + 1];
        const options =
          name === 'rsa-pss'
            ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: salt ?? factsOf(digest!).outputBytes! }
            : {};
        for (const size of [0, 1, 1000]) {
          const source = sample('text', size);
          const made = output(engine, 'sign', name, { key: der(pair.privateKey), params, source });
          assert.ok(verify(digest, source, { key: pair.publicKey, ...options }, made));
          const theirs = sign(digest, source, { key: pair.privateKey, ...options });
          const key = der(pair.publicKey);
          inSession(engine, 'verify', name, { key, params }, (context) => {
            const verdict = (aux: Buffer, from = source): number => {
              const { status, result } = run(engine, 'verify', name, { key, source: from, aux, context });
              assert.equal(status, 'ok');
              return result;
            };
            assert.equal(verdict(theirs), 1);
            assert.equal(verdict(made), 1);
            const altered = Buffer.from(theirs);
            altered[altered.length - 3]! ^= 1;
            assert.equal(verdict(altered), 0);
            assert.equal(verdict(theirs.subarray(0, -1)), 0);
            assert.equal(verdict(theirs, Buffer.concat([source, Buffer.from('x')])), 0);
          });
        }
      });
    }

    test('RSA-OAEP, with a label and without', () => {
      const { privateKey, publicKey } = keys.rsa;
      for (const oaepHash of ['sha1', 'sha256'] as const) {
        const params = [ALGORITHM[oaepHash]];
        for (const label of [Buffer.alloc(0), Buffer.from('a label'), sample('text', 3000)]) {
          const rest = label.length > 0 ? { oaepLabel: label } : {};
          const source = sample('random', 100);
          const key = der(publicKey);
          const sealed = inSession(engine, 'encrypt', 'rsa-oaep', { key, params }, (context) =>
            run(engine, 'encrypt', 'rsa-oaep', { key, source, aux: label, context }),
          );
          assert.equal(sealed.status, 'ok');
          assert.ok(privateDecrypt({ key: privateKey, oaepHash, ...rest }, sealed.output).equals(source));
          const theirs = publicEncrypt({ key: publicKey, oaepHash, ...rest }, source);
          const secret = der(privateKey);
          inSession(engine, 'decrypt', 'rsa-oaep', { key: secret, params }, (context) => {
            const open = (from: Buffer, aux: Buffer) =>
              run(engine, 'decrypt', 'rsa-oaep', { key: secret, source: from, aux, context });
            assert.ok(open(theirs, label).output.equals(source));
            assert.equal(open(theirs, Buffer.from('another')).status, 'notAuthentic');
            assert.ok(open(theirs, label).output.equals(source), 'a label does not stay');
          });
        }
      }
    });

    for (const name of ['x25519', 'ecdh-p256', 'ecdh-p384'] as const) {
      test(`agreement: ${name}`, () => {
        const mine = keys[name];
        const key = der(mine.privateKey);
        inSession(engine, 'agree', name, { key }, (context) => {
          for (let round = 0; round < 2; round++) {
            const theirs = keyPairs()[name];
            const made = run(engine, 'agree', name, { key, source: der(theirs.publicKey), context });
            const expected = diffieHellman({ privateKey: theirs.privateKey, publicKey: mine.publicKey });
            assert.ok(made.output.equals(expected));
          }
        });
      });
    }
  });
}

describe('openssl agrees with node-crypto', () => {
  for (const name of algorithmsFor(openssl, 'mac').filter((each) => factsOf(each).class === 'mac')) {
    test(name, () =>
      holds([data(), bytes(factsOf(name).keyBytes!)], (source, key) => {
        const theirs = output(nodeCrypto, 'mac', name, { key, source });
        assert.ok(output(openssl, 'mac', name, { key, source }).equals(theirs));
      }),
    );
  }
});

describe('sequences of openssl', () => {
  const parts = fc.array(data(), { maxLength: 8 });

  for (const name of algorithmsFor(openssl, 'digest')) {
    test(`digest ${name} in parts`, () =>
      holds(
        [fc.array(parts, { minLength: 1, maxLength: 3 })],
        (sequences) => {
          inSession(openssl, 'digest', name, {}, (context) => {
            for (const sequence of sequences) {
              for (const source of sequence) {
                const taken = run(openssl, 'digest', name, { source, piece: true, capacity: 0, context });
                assert.deepEqual([taken.status, taken.produced, taken.consumed], ['ok', 0, source.length]);
              }
              // A whole digest between the parts has a context of its own.
              output(openssl, 'digest', name, { source: Buffer.from('aside') });
              const made = run(openssl, 'digest', name, { context });
              assert.ok(made.output.equals(createHash(name).update(Buffer.concat(sequence)).digest()));
            }
          });
        },
        8,
      ));
  }

  for (const name of algorithmsFor(openssl, 'mac')) {
    test(`MAC ${name} in parts`, () =>
      holds(
        [fc.array(parts, { minLength: 1, maxLength: 3 }), bytes(factsOf(name).keyBytes ?? 40)],
        (sequences, key) => {
          inSession(openssl, 'mac', name, { key, piece: true }, (context) => {
            for (const sequence of sequences) {
              for (const source of sequence) {
                const taken = run(openssl, 'mac', name, { key, source, piece: true, capacity: 0, context });
                assert.deepEqual([taken.status, taken.produced], ['ok', 0]);
              }
              const made = run(openssl, 'mac', name, { key, context });
              assert.ok(
                made.output.equals(output(openssl, 'mac', name, { key, source: Buffer.concat(sequence) })),
              );
            }
          });
        },
        8,
      ));
  }
});

for (const engine of CIPHER_ENGINES) {
  describe(`ciphers of ${engine.name}`, () => {
    for (const name of algorithmsFor(engine, 'encrypt')) {
      const facts = factsOf(name);
      const mode = name.slice(name.lastIndexOf('-') + 1);
      if (facts.class !== 'cipher' && facts.class !== 'aead') continue;
      // Only OpenSSL gets at the modes that node:crypto has not.
      if (!algorithmsFor(nodeCrypto, 'encrypt').includes(name)) continue;
      test(`encrypt and decrypt ${name}`, () => {
        const aead = facts.class === 'aead';
        const iv = bytes(facts.minIvBytes!, facts.maxIvBytes!);
        const aad = aead ? bytes(0, 100) : fc.constant(Buffer.alloc(0));
        const tag = fc.constantFrom(...(aead ? TAGS[mode]! : [0]));
        const key = bytes(facts.keyBytes!).filter(
          (each) =>
            mode !== 'xts' || !each.subarray(each.length / 2).equals(each.subarray(0, each.length / 2)),
        );
        const requests = fc.array(fc.tuple(data(mode === 'xts' ? 16 : 0), iv, aad, tag, fc.boolean()), {
          minLength: 1,
          maxLength: 6,
        });
        holds([key, requests], (secret, list) => {
          // One session for all of them, in both directions: nothing of one request may show in the next.
          inSession(engine, 'encrypt', name, { key: secret }, (context) => {
            for (const [text, nonce, associated, tagBytes, unpadded] of list) {
              const whole = facts.pads === true && unpadded;
              const source = whole ? text.subarray(0, text.length - (text.length % 16)) : text;
              if (mode === 'ccm' && source.length >= 256 ** (15 - nonce.length)) continue;
              const expected = seal(name, secret, nonce, associated, tagBytes || 16, source, !whole);
              const given = {
                key: secret,
                aux: Buffer.concat([nonce, associated]),
                params: [nonce.length, tagBytes],
                unpadded: whole,
                context,
              };
              const sealed = run(engine, 'encrypt', name, { ...given, source, capacity: expected.length });
              assert.equal(sealed.status, 'ok');
              assert.ok(sealed.output.equals(expected));
              assert.equal(sealed.consumed, source.length);
              // Exactly the room that it takes, and where it lies.
              const room = { capacity: source.length };
              const back = run(engine, 'decrypt', name, { ...given, source: expected, ...room });
              assert.equal(back.status, 'ok');
              assert.ok(back.output.equals(source));
            }
          });
        });
      });
    }
  });
}
