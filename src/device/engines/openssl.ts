import { ALGORITHM, type AlgorithmName, algorithmsOf } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import type { Capability, Engine, EngineRequest, Outcome } from './engine.js';
import { bindOpenssl, type Openssl, type OpensslFunctions } from './openssl-binding.js';
import { OpensslCiphers } from './openssl-ciphers.js';
import { OpensslDigests } from './openssl-digests.js';
import { OpensslKeys } from './openssl-keys.js';
import { addressIn, KIND, kindOf, OpensslMemory, withKind } from './openssl-memory.js';

/* OpenSSL, as Node brings it: digests, MACs, ciphers, derivations, public keys. No context is made for a request. */

const RANK = 10;

/** Finds OpenSSL 3, or undefined. */
export function loadOpenssl(): Engine | undefined {
  const openssl = bindOpenssl();
  return openssl && new OpensslEngine(openssl);
}

class OpensslEngine implements Engine {
  readonly name = 'openssl';
  readonly library: string;
  readonly version: string;
  readonly capabilities: readonly Capability[];
  readonly #f: OpensslFunctions;
  readonly #memory: OpensslMemory;
  readonly #digests: OpensslDigests;
  readonly #ciphers: OpensslCiphers;
  readonly #keys: OpensslKeys;

  constructor({ f, library, version }: Openssl) {
    this.#f = f;
    this.library = library;
    this.version = version;
    this.#memory = new OpensslMemory(f);
    this.#digests = new OpensslDigests(f, this.#memory);
    this.#ciphers = new OpensslCiphers(f, this.#memory);
    this.#keys = new OpensslKeys(f, this.#memory, this.#digests);
    const { digests, macs } = this.#digests;
    this.capabilities = [
      ...digestCapabilities(digests, macs),
      ...cipherCapabilities(this.#ciphers.algorithms),
      ...KEYS,
    ];
    // What the library has not was looked for in vain; node:crypto takes an error that it finds for its own.
    f.ERR_clear_error();
  }

  run(request: EngineRequest): Outcome {
    const context = addressIn(request.context);
    const kind = kindOf(request.context);
    switch (request.operation) {
      case OPCODE.digest:
        return this.#digests.digest(request, context);
      case OPCODE.mac:
        return this.#digests.mac(request, context, kind);
      case OPCODE.encrypt:
      case OPCODE.decrypt:
        return kind === KIND.cipher
          ? this.#ciphers.run(request, context)
          : this.#keys.oaep(request, context, kind);
      case OPCODE.derive:
        return this.#digests.derive(request);
      case OPCODE.sign:
        return this.#keys.sign(request, context);
      case OPCODE.verify:
        return this.#keys.verify(request, context);
      case OPCODE.agree:
        return this.#keys.agree(request, context);
      default:
        return STATUS.unsupported;
    }
  }

  openContext(request: EngineRequest): number {
    const kind = kindFor(request);
    const context = withKind(this.#open(request, kind), kind);
    // Reading a key leaves errors even where it succeeds in the end.
    this.#f.ERR_clear_error();
    return context;
  }

  #open(request: EngineRequest, kind: number): number {
    switch (kind) {
      case KIND.digest:
        return request.keyLength === 0 ? this.#digests.openDigest(request.algorithm) : 0;
      case KIND.mac:
      case KIND.macInParts:
        return this.#digests.openMac(request);
      case KIND.cipher:
        return this.#ciphers.open(request);
      default:
        return this.#keys.open(request, kind);
    }
  }

  closeContext(context: number): void {
    const f = this.#f;
    const address = addressIn(context);
    switch (kindOf(context)) {
      case KIND.digest:
      case KIND.sign:
      case KIND.verify:
        f.EVP_MD_CTX_free(address);
        break;
      case KIND.mac:
      case KIND.macInParts:
        f.EVP_MAC_CTX_free(address);
        break;
      case KIND.cipher:
        this.#ciphers.free(address);
        break;
      default:
        f.EVP_PKEY_CTX_free(address);
    }
  }

  close(): void {
    this.#keys.close();
    this.#ciphers.close();
    this.#digests.close();
    this.#memory.close();
  }
}

const OAEP = new Set<AlgorithmName>(algorithmsOf('encrypt'));
const OAEP_NUMBER = ALGORITHM['rsa-oaep'];

/** What a session is for. */
function kindFor({ operation, algorithm, piece }: EngineRequest): number {
  switch (operation) {
    case OPCODE.digest:
      return KIND.digest;
    case OPCODE.mac:
      return piece ? KIND.macInParts : KIND.mac;
    case OPCODE.sign:
      return KIND.sign;
    case OPCODE.verify:
      return KIND.verify;
    case OPCODE.agree:
      return KIND.agree;
    default:
      if (algorithm !== OAEP_NUMBER) return KIND.cipher;
      return operation === OPCODE.encrypt ? KIND.oaepEncrypt : KIND.oaepDecrypt;
  }
}

/** Nanoseconds for a byte, on one machine; the slow ones apart. */
const SLOW_DIGESTS: Partial<Record<AlgorithmName, number>> = {
  md5: 1.5,
  sha1: 0.6,
  sha224: 0.6,
  sha256: 0.6,
  sm3: 4,
};

function digestCapabilities(digests: readonly AlgorithmName[], macs: readonly AlgorithmName[]): Capability[] {
  const bySpeed = new Map<number, AlgorithmName[]>();
  for (const name of digests) {
    const speed = SLOW_DIGESTS[name] ?? 2;
    bySpeed.set(speed, [...(bySpeed.get(speed) ?? []), name]);
  }
  const made: Capability[] = [];
  for (const [nsPerByte, algorithms] of bySpeed) {
    const each = { operations: ['digest'], algorithms, rank: RANK, nsPerByte, fixedNs: 300 } as const;
    made.push({ ...each, session: 'none' }, { ...each, session: 'exclusive', pieces: true });
    const keyed = algorithms.filter((name) => macs.includes(name));
    const mac = { operations: ['mac'], algorithms: keyed, rank: RANK, nsPerByte, fixedNs: 800 } as const;
    made.push({ ...mac, session: 'shared' }, { ...mac, session: 'exclusive', pieces: true });
  }
  const cmacs = macs.filter((name) => !digests.includes(name));
  const cmac = { operations: ['mac'], algorithms: cmacs, rank: RANK, nsPerByte: 1, fixedNs: 600 } as const;
  made.push({ ...cmac, session: 'shared' }, { ...cmac, session: 'exclusive', pieces: true });
  made.push(
    { operations: ['derive'], algorithms: ['hkdf'], rank: RANK, nsPerByte: 60, fixedNs: 5000 },
    {
      operations: ['derive'],
      algorithms: ['pbkdf2'],
      rank: RANK,
      nsPerByte: 0,
      fixedNs: 5000,
      nsPerUnit: 400,
    },
    {
      operations: ['derive'],
      algorithms: ['scrypt'],
      rank: RANK,
      nsPerByte: 0,
      fixedNs: 20_000,
      nsPerUnit: 450,
    },
  );
  return made;
}

/** Modes that each block has to wait for the one before, in one direction at least. */
const SERIAL = /-(cbc|cfb|ofb)$/;

function cipherCapabilities(algorithms: readonly AlgorithmName[]): Capability[] {
  const shared = { operations: ['encrypt', 'decrypt'], rank: RANK, session: 'shared' } as const;
  const split = {
    fast: algorithms.filter((name) => name.startsWith('aes') && !SERIAL.test(name) && !name.endsWith('-ccm')),
    serial: algorithms.filter(
      (name) => name.startsWith('aes') && (SERIAL.test(name) || name.endsWith('-ccm')),
    ),
    chacha: algorithms.filter((name) => name.startsWith('chacha')),
    sm4: algorithms.filter((name) => name.startsWith('sm4')),
  };
  return [
    { ...shared, algorithms: split.fast, nsPerByte: 0.15, fixedNs: 600 },
    { ...shared, algorithms: split.serial, nsPerByte: 1, fixedNs: 800 },
    { ...shared, algorithms: split.chacha, nsPerByte: 0.5, fixedNs: 800 },
    { ...shared, algorithms: split.sm4, nsPerByte: 6, fixedNs: 800 },
  ];
}

const KEYED = { rank: RANK, nsPerByte: 0.6, session: 'shared' } as const;
const KEYS: readonly Capability[] = [
  { ...KEYED, operations: ['sign'], algorithms: ['rsassa-pkcs1-v1_5', 'rsa-pss'], fixedNs: 900_000 },
  { ...KEYED, operations: ['verify'], algorithms: ['rsassa-pkcs1-v1_5', 'rsa-pss'], fixedNs: 30_000 },
  { ...KEYED, operations: ['sign'], algorithms: ['ecdsa-p256', 'ed25519'], fixedNs: 40_000 },
  { ...KEYED, operations: ['verify'], algorithms: ['ecdsa-p256', 'ed25519'], fixedNs: 100_000 },
  { ...KEYED, operations: ['sign', 'verify'], algorithms: ['ecdsa-p384'], fixedNs: 900_000 },
  { ...KEYED, operations: ['encrypt'], algorithms: [...OAEP], fixedNs: 35_000 },
  { ...KEYED, operations: ['decrypt'], algorithms: [...OAEP], fixedNs: 900_000 },
  { ...KEYED, operations: ['agree'], algorithms: ['x25519', 'ecdh-p256'], fixedNs: 60_000 },
  { ...KEYED, operations: ['agree'], algorithms: ['ecdh-p384'], fixedNs: 900_000 },
];
