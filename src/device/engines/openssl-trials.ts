import { type CipherGCMTypes, createCipheriv, createHash, createHmac } from 'node:crypto';
import { ALGORITHM, type AlgorithmName, factsOf } from '../../abi/algorithms.js';
import { OPCODE, type OperationName, STATUS } from '../../abi/queue.js';
import type { Mapping } from '../../sys/memory.js';
import { type Engine, EngineRequest } from './engine.js';
import type { Trial } from './self-test.js';

/* What an engine for cryptography must show before it is used. Making keys takes too long for a trial. */

const SAMPLE = Buffer.from('the quick brown fox jumps over the lazy dog; '.repeat(3));
const KEY = Buffer.from(Array.from({ length: 64 }, (_, index) => index * 3 + 1));
const IV = KEY.subarray(5, 21);
const SOURCE_AT = 0;
const KEY_AT = 1024;
const IV_AT = 2048;
const OUTPUT_AT = 4096;

/** One digest of each family, and one cipher of each mode: they share their code with the rest of it. */
const DIGESTS: readonly AlgorithmName[] = [
  'md5',
  'sha1',
  'sha256',
  'sha512',
  'sha3-256',
  'blake2b512',
  'sm3',
];
const MACS: readonly AlgorithmName[] = ['sha256', 'aes-128-cmac'];
const CIPHERS: readonly AlgorithmName[] = ['aes-128-cbc', 'aes-256-ctr', 'aes-256-xts', 'sm4-cbc'];
const AEADS: readonly AlgorithmName[] = ['aes-256-gcm', 'aes-128-ccm', 'chacha20-poly1305'];

/** AES-128-CMAC of the sample with the key's first 16 bytes, by the command `openssl mac`: node:crypto has none. */
const SAMPLE_CMAC = Buffer.from('3cbb7b732480b9c19eebd14523bb3826', 'hex');

function offers({ capabilities }: Engine, operation: OperationName, algorithm: AlgorithmName): boolean {
  return capabilities.some(
    ({ operations, algorithms }) => operations.includes(operation) && algorithms.includes(algorithm),
  );
}

function prepare(memory: Mapping, operation: OperationName, algorithm: AlgorithmName): EngineRequest {
  const request = new EngineRequest();
  memory.bytes.set(SAMPLE, SOURCE_AT);
  memory.bytes.set(KEY, KEY_AT);
  memory.bytes.set(IV, IV_AT);
  request.operation = OPCODE[operation];
  request.algorithm = ALGORITHM[algorithm];
  request.source = memory.address + SOURCE_AT;
  request.sourceLength = SAMPLE.length;
  request.destination = memory.address + OUTPUT_AT;
  request.capacity = 1024;
  request.key = memory.address + KEY_AT;
  request.keyLength = factsOf(algorithm).keyBytes ?? 20;
  return request;
}

/** Runs a request, twice: what a context keeps must not show. */
function gives(engine: Engine, memory: Mapping, request: EngineRequest, expected: Uint8Array): boolean {
  for (let round = 0; round < 2; round++) {
    request.restart();
    if (engine.run(request) !== STATUS.ok || request.produced !== expected.length) return false;
    if (!Buffer.from(expected).equals(memory.bytes.subarray(OUTPUT_AT, OUTPUT_AT + expected.length)))
      return false;
  }
  return true;
}

function inContext(engine: Engine, request: EngineRequest, trial: () => boolean): boolean {
  request.context = engine.openContext(request);
  if (request.context === 0) return false;
  const passed = trial();
  engine.closeContext(request.context);
  return passed;
}

const digests: Trial = (engine, memory) =>
  DIGESTS.filter((name) => offers(engine, 'digest', name)).every((name) => {
    const request = prepare(memory, 'digest', name);
    return gives(engine, memory, request, createHash(name).update(SAMPLE).digest());
  });

const macs: Trial = (engine, memory) =>
  MACS.filter((name) => offers(engine, 'mac', name)).every((name) => {
    const request = prepare(memory, 'mac', name);
    const expected =
      factsOf(name).class === 'digest'
        ? createHmac(name, KEY.subarray(0, request.keyLength)).update(SAMPLE).digest()
        : SAMPLE_CMAC;
    return inContext(engine, request, () => gives(engine, memory, request, expected));
  });

const ciphers: Trial = (engine, memory) =>
  [...CIPHERS, ...AEADS]
    .filter((name) => offers(engine, 'encrypt', name))
    .every((name) => {
      const request = prepare(memory, 'encrypt', name);
      const { class: kind, keyBytes, ivBytes } = factsOf(name);
      const aead = kind === 'aead';
      request.aux = memory.address + IV_AT;
      request.param0 = ivBytes!;
      request.auxLength = aead ? IV.length : ivBytes!;
      const cipher = createCipheriv(
        name as CipherGCMTypes,
        KEY.subarray(0, keyBytes),
        IV.subarray(0, ivBytes),
        {
          authTagLength: 16,
        },
      );
      if (aead) cipher.setAAD(IV.subarray(ivBytes), { plaintextLength: SAMPLE.length });
      const parts = [cipher.update(SAMPLE), cipher.final()];
      const expected = Buffer.concat(aead ? [...parts, cipher.getAuthTag()] : parts);
      return inContext(
        engine,
        request,
        () => gives(engine, memory, request, expected) && decrypts(engine, memory, request, expected),
      );
    });

/** Back again, and not when a bit has changed. */
function decrypts(engine: Engine, memory: Mapping, request: EngineRequest, sealed: Uint8Array): boolean {
  memory.bytes.set(sealed, SOURCE_AT);
  request.operation = OPCODE.decrypt;
  request.sourceLength = sealed.length;
  if (!gives(engine, memory, request, SAMPLE)) return false;
  if (request.auxLength === request.param0) return true;
  memory.bytes[SOURCE_AT + 3]! ^= 1;
  return engine.run(request) === STATUS.notAuthentic;
}

export const CRYPTO_TRIALS: readonly Trial[] = [digests, macs, ciphers];
