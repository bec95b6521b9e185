import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ALGORITHM, type AlgorithmName } from '../../src/abi/algorithms.js';
import { algorithmsFor, ENGINES, inSession, output, run } from './support-crypto.js';
import { CIPHERS, DER, DERIVATIONS, DIGESTS, ED25519, MACS, X25519 } from './vectors.js';

const hex = (text: string): Buffer => Buffer.from(text, 'hex');

for (const engine of ENGINES) {
  describe(`known answers with ${engine.name}`, () => {
    for (const { from, algorithm, text, digest } of DIGESTS) {
      test(`${from}: ${algorithm} of '${text}'`, () => {
        const made = output(engine, 'digest', algorithm, { source: Buffer.from(text) });
        assert.equal(made.toString('hex'), digest);
      });
    }

    for (const { from, algorithm, key, data, mac } of MACS) {
      test(`${from}: ${algorithm}, ${data.length / 2} bytes`, () => {
        const made = output(engine, 'mac', algorithm, { key: hex(key), source: hex(data) });
        assert.equal(made.toString('hex'), mac);
      });
    }

    // OpenSSL has SM4's authenticated modes from 3.1 on, and so Node from version 22 on.
    const ciphers = algorithmsFor(engine, 'encrypt');
    const isHere = (name: AlgorithmName): boolean => ciphers.includes(name) || !/^sm4-[gc]cm$/.test(name);
    for (const { from, algorithm, key, iv, aad, text, sealed, tagBytes } of CIPHERS) {
      if (!isHere(algorithm)) continue;
      test(`${from}: ${algorithm}`, () => {
        const given = {
          key: hex(key),
          aux: hex(iv + (aad ?? '')),
          params: [iv.length / 2, tagBytes ?? 0],
          unpadded: /-(ecb|cbc)$/.test(algorithm),
        };
        const made = output(engine, 'encrypt', algorithm, { ...given, source: hex(text) });
        assert.equal(made.toString('hex'), sealed);
        const back = output(engine, 'decrypt', algorithm, { ...given, source: hex(sealed) });
        assert.equal(back.toString('hex'), text);
      });
    }

    for (const { from, algorithm, digest, secret, salt, info, params, output: expected } of DERIVATIONS) {
      test(`${from}: ${algorithm} ${params.join(' ')}`, () => {
        const made = output(engine, 'derive', algorithm, {
          level: digest ? ALGORITHM[digest] : 0,
          source: hex(secret),
          aux: hex(salt + (info ?? '')),
          params,
          capacity: expected.length / 2,
        });
        assert.equal(made.toString('hex'), expected);
      });
    }

    test('RFC 8032, 7.1, test 2: ed25519', () => {
      const source = hex(ED25519.message);
      const key = hex(DER.ed25519.private + ED25519.seed);
      assert.equal(output(engine, 'sign', 'ed25519', { key, source }).toString('hex'), ED25519.signature);
      const verifying = { key: hex(DER.ed25519.public + ED25519.publicKey) };
      inSession(engine, 'verify', 'ed25519', verifying, (context) => {
        const aux = hex(ED25519.signature);
        const verdict = (given: { source: Buffer; aux: Buffer }) =>
          run(engine, 'verify', 'ed25519', { ...verifying, ...given, context, capacity: 0 }).result;
        assert.equal(verdict({ source, aux }), 1);
        assert.equal(verdict({ source: Buffer.from('s'), aux }), 0);
        assert.equal(verdict({ source, aux: aux.subarray(1) }), 0);
        assert.equal(verdict({ source, aux: Buffer.alloc(0) }), 0);
      });
    });

    test('RFC 7748, 6.1: x25519', () => {
      const key = hex(DER.x25519.private + X25519.privateKey);
      const source = hex(DER.x25519.public + X25519.peer);
      assert.equal(output(engine, 'agree', 'x25519', { key, source }).toString('hex'), X25519.shared);
    });

    test('there is a vector for every family that it offers', () => {
      const families = (names: string[]): Set<string> =>
        new Set(names.map((name) => name.replace(/^aes-\d+/, 'aes').replace(/^sm4-\w+/, 'sm4')));
      const known = families([...DIGESTS, ...CIPHERS].map(({ algorithm }) => algorithm));
      const offered = [...algorithmsFor(engine, 'digest'), ...algorithmsFor(engine, 'encrypt')];
      for (const family of families(offered)) {
        assert.ok(family === 'rsa-oaep' || known.has(family), `a vector for ${family}`);
      }
    });
  });
}
