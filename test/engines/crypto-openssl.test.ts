import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import { ALGORITHM, type AlgorithmName } from '../../src/abi/algorithms.js';
import { loadOpenssl } from '../../src/device/engines/openssl.js';
import { bindOpenssl } from '../../src/device/engines/openssl-binding.js';
import { sample } from '../support/corpus.js';
import {
  AT,
  algorithmsFor,
  base,
  der,
  type Given,
  inSession,
  nodeCrypto,
  open,
  openssl,
  peekError,
  requestFor,
  run,
} from './support-crypto.js';

/** What functions of the library hand over to whoever calls them, where their names do not say so. */
const HOLDS: Record<string, string> = {
  d2i_PUBKEY: 'EVP_PKEY',
  EVP_PKCS82PKEY: 'EVP_PKEY',
  d2i_PKCS8_PRIV_KEY_INFO: 'PKCS8_PRIV_KEY_INFO',
  EVP_PKEY_CTX_new_from_pkey: 'EVP_PKEY_CTX',
  EVP_PKEY_CTX_dup: 'EVP_PKEY_CTX',
};
const KEY = sample('random', 64);

describe('the engine openssl', () => {
  test('leaves node:crypto alone', () => {
    const aux = Buffer.alloc(12);
    inSession(openssl, 'decrypt', 'aes-128-gcm', { key: KEY.subarray(0, 16) }, (context) => {
      for (let i = 0; i < 100; i++) {
        const made = run(openssl, 'decrypt', 'aes-128-gcm', { aux, params: [12], source: KEY, context });
        assert.equal(made.status, 'notAuthentic');
        assert.equal(peekError(), 0);
        createHash('sha256').update('x').digest();
      }
    });
  });

  test('gives back all that it takes from the library, whatever becomes of a request', () => {
    const binding = bindOpenssl()!;
    const held = new Map<string, number>();
    const counting = Object.fromEntries(
      (Object.entries(binding.f) as [string, (...given: never[]) => unknown][]).map(([name, call]) => [
        name,
        (...given: never[]) => {
          const result = call(...given);
          const kind = HOLDS[name] ?? name.replace(/_(new|fetch|free)$/, '');
          const takes = name in HOLDS || /_(new|fetch)$/.test(name);
          if (takes && result !== 0) held.set(kind, (held.get(kind) ?? 0) + 1);
          if (name.endsWith('_free') && given[0] !== 0) held.set(kind, (held.get(kind) ?? 0) - 1);
          return result;
        },
      ]),
    );
    const engine = loadOpenssl({ ...binding, f: counting as never })!;
    const counts = (): Map<string, number> => new Map([...held].filter(([, count]) => count !== 0));
    const atRest = counts();
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const ec = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const params = [ALGORITHM.sha256];
    const rsaKey = { key: der(rsa.privateKey), params };
    const cases: [Parameters<typeof open>[1], AlgorithmName, Given, Given?][] = [
      ['encrypt', 'aes-256-cbc', { key: KEY.subarray(0, 32) }, { aux: KEY.subarray(0, 16), params: [16] }],
      ['decrypt', 'aes-256-gcm', { key: KEY.subarray(0, 32) }, { aux: KEY.subarray(0, 12), params: [12] }],
      ['encrypt', 'aes-128-gcm', { key: KEY.subarray(0, 3) }],
      ['encrypt', 'aes-128-xts', { key: Buffer.alloc(32) }],
      ['mac', 'sha256', { key: KEY }, {}],
      ['mac', 'aes-128-cmac', { key: KEY.subarray(0, 16), piece: true }, {}],
      ['mac', 'aes-128-cmac', { key: KEY }],
      ['digest', 'sha512', {}, {}],
      ['sign', 'rsa-pss', rsaKey, {}],
      ['sign', 'rsa-pss', { ...rsaKey, params: [0] }],
      ['sign', 'rsa-pss', { ...rsaKey, params: [ALGORITHM.sha256, 1000] }],
      ['sign', 'rsa-pss', { ...rsaKey, key: Buffer.concat([rsaKey.key, KEY]) }],
      ['sign', 'ecdsa-p256', { ...rsaKey }],
      ['sign', 'ecdsa-p256', { key: der(ec.privateKey), params }, {}],
      ['verify', 'ecdsa-p256', { key: der(ec.publicKey), params }, { aux: KEY }],
      ['verify', 'ecdsa-p256', { key: Buffer.concat([der(ec.publicKey), KEY]), params }],
      ['encrypt', 'rsa-oaep', { key: der(rsa.publicKey), params }, { aux: KEY }],
      ['encrypt', 'rsa-oaep', { key: der(rsa.publicKey), params }, { source: sample('text', 300) }],
      ['decrypt', 'rsa-oaep', rsaKey, { aux: KEY }],
      ['decrypt', 'rsa-oaep', { ...rsaKey, params: [7] }],
      ['agree', 'ecdh-p256', { key: der(ec.privateKey) }, { source: der(ec.publicKey) }],
      ['agree', 'ecdh-p256', { key: der(ec.privateKey) }, { source: der(rsa.publicKey) }],
      ['agree', 'ecdh-p256', { key: der(ec.privateKey) }, { source: KEY }],
    ];
    for (const [operation, name, given, request] of cases) {
      const context = open(engine, operation, name, given);
      assert.equal(context !== 0, request !== undefined, `${operation} ${name}`);
      if (request) {
        assert.notDeepEqual(counts(), atRest);
        run(engine, operation, name, { key: given.key!, source: KEY, context, ...request });
        engine.closeContext(context);
      }
      assert.deepEqual(counts(), atRest, `${operation} ${name}`);
    }
    run(engine, 'derive', 'hkdf', { level: ALGORITHM.sha256, source: KEY, capacity: 100 });
    engine.close();
    assert.ok(
      [...held.values()].every((count) => count === 0),
      'closed, it holds nothing',
    );
    assert.equal(peekError(), 0);
  });

  test('allocates next to nothing for digests and ciphers in the steady state', () => {
    const digest = requestFor('digest', 'sha256', { source: sample('text', 64) });
    const aux = Buffer.alloc(12);
    const cipher = requestFor('encrypt', 'aes-128-gcm', { source: sample('text', 64), aux, params: [12] });
    cipher.key = base + AT.key;
    cipher.keyLength = 16;
    cipher.context = openssl.openContext(cipher);
    const count = 20_000;
    const loop = (): void => {
      for (let i = 0; i < count; i++) {
        digest.restart();
        openssl.run(digest);
        cipher.restart();
        openssl.run(cipher);
      }
    };
    loop();
    loop();
    const samples = [0, 1, 2, 3, 4].map(() => {
      const before = process.memoryUsage().heapUsed;
      loop();
      return process.memoryUsage().heapUsed - before;
    });
    // Addresses beyond 2^31 are boxed on their way to the library. The collector may run between; the least that is not below nothing is what the requests took.
    const least = Math.min(...samples.filter((grown) => grown >= 0));
    assert.ok(least / (2 * count) < 128, `${least / (2 * count)} bytes a request`);
    openssl.closeContext(cipher.context);
  });

  test('offers nothing that its twin has not, but for modes that node:crypto does not know', () => {
    for (const operation of ['digest', 'mac', 'derive', 'sign', 'verify', 'agree'] as const) {
      assert.deepEqual(algorithmsFor(nodeCrypto, operation), algorithmsFor(openssl, operation));
    }
    const missing = algorithmsFor(openssl, 'encrypt').filter(
      (name) => !algorithmsFor(nodeCrypto, 'encrypt').includes(name),
    );
    assert.ok(
      missing.every((name) => name.startsWith('sm4-')),
      `${missing}`,
    );
  });
});
