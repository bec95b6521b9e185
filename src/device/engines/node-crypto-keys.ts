import {
  constants,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  sign,
  verify,
} from 'node:crypto';
import { ALGORITHM, algorithmName } from '../../abi/algorithms.js';
import { OPCODE, STATUS } from '../../abi/queue.js';
import { viewMemory } from '../../sys/libc.js';
import type { EngineRequest, Outcome } from './engine.js';
import { OUTPUT_BYTES, signatureDigest } from './openssl-checks.js';
import { RSA_BITS } from './openssl-keys.js';

/** A session's parameters in its context: which way it goes, the digest, and the length of the salt. */
const DIGEST_UNIT = 4;
const SALT_UNIT = 4 * 256;
const IS_PUBLIC = 2;

const CURVE: (string | undefined)[] = [];
CURVE[ALGORITHM['ecdsa-p256']] = 'prime256v1';
CURVE[ALGORITHM['ecdh-p256']] = 'prime256v1';
CURVE[ALGORITHM['ecdsa-p384']] = 'secp384r1';
CURVE[ALGORITHM['ecdh-p384']] = 'secp384r1';

/** No bytes, at an address: node:crypto of Node 20 takes none at all for the length of a message in CCM. */
const EMPTY = Buffer.alloc(1).subarray(1);

/** Bytes of memory, not copied. */
export function bytesAt(address: number, length: number): Uint8Array {
  return length === 0 ? EMPTY : new Uint8Array(viewMemory(address, length));
}

/** Hands a result over, if there is room. */
export function deliver(request: EngineRequest, result: Uint8Array): Outcome {
  request.consumed = request.sourceLength;
  if (result.length > request.capacity) return STATUS.noSpace;
  bytesAt(request.destination, result.length).set(result);
  request.produced = result.length;
  return STATUS.ok;
}

/** Signatures, RSA-OAEP and key agreement by node:crypto: the key is read anew for each request. */
export class NodeKeys {
  /** The number of a context for the key in `request`, or 0 when it is none. */
  open({ operation, algorithm, key, keyLength, param0, param1 }: EngineRequest): number {
    const isPublic =
      operation === OPCODE.verify || (operation === OPCODE.encrypt && algorithm === ALGORITHM['rsa-oaep']);
    const parsed = parse(bytesAt(key, keyLength), isPublic);
    if (!parsed || !fits(parsed, algorithm)) return 0;
    const plain = algorithm === ALGORITHM.ed25519 || operation === OPCODE.agree;
    if (plain ? param0 !== 0 : signatureDigest(param0) === undefined) return 0;
    const isPss = algorithm === ALGORITHM['rsa-pss'];
    if (param1 !== 0 && !isPss) return 0;
    const salt = !isPss ? 0 : param1 === 0 ? OUTPUT_BYTES[param0]! : (param1 >>> 0) - 1;
    const bits = parsed.asymmetricKeyDetails?.modulusLength ?? 0;
    if (isPss && salt + OUTPUT_BYTES[param0]! + 2 > Math.ceil((bits - 1) / 8)) return 0;
    return 1 + (isPublic ? IS_PUBLIC : 0) + param0 * DIGEST_UNIT + salt * SALT_UNIT;
  }

  run(request: EngineRequest): Outcome {
    const { operation, algorithm, context } = request;
    const isPublic = (context & IS_PUBLIC) !== 0;
    const key = parse(bytesAt(request.key, request.keyLength), isPublic)!;
    const bytes = bytesAt(request.source, request.sourceLength);
    if (operation === OPCODE.agree) return agree(request, key, bytes);
    const digest = digestOf(context);
    const options =
      algorithm === ALGORITHM['rsa-pss']
        ? { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: Math.floor(context / SALT_UNIT) }
        : { key };
    if (operation === OPCODE.sign) return deliver(request, sign(digest, bytes, options));
    const signature = bytesAt(request.aux, request.auxLength);
    request.consumed = request.sourceLength;
    try {
      request.result = verify(digest, bytes, options, signature) ? 1 : 0;
    } catch {
      request.result = 0;
    }
    return STATUS.ok;
  }

  /** RSA-OAEP in either direction; the request's parameters are the label. */
  oaep(request: EngineRequest): Outcome {
    const encrypts = request.operation === OPCODE.encrypt;
    const isPublic = (request.context & IS_PUBLIC) !== 0;
    if (encrypts !== isPublic) return STATUS.badSession;
    if (request.param0 !== 0 || request.param1 !== 0 || request.unpadded) return STATUS.badField;
    request.consumed = request.sourceLength;
    const options = {
      key: parse(bytesAt(request.key, request.keyLength), isPublic)!,
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: digestOf(request.context)!,
      ...(request.auxLength > 0 ? { oaepLabel: bytesAt(request.aux, request.auxLength) } : {}),
    };
    const bytes = bytesAt(request.source, request.sourceLength);
    try {
      return deliver(request, encrypts ? publicEncrypt(options, bytes) : privateDecrypt(options, bytes));
    } catch {
      return encrypts ? STATUS.badLength : STATUS.notAuthentic;
    }
  }
}

function digestOf(context: number): string | null {
  return algorithmName(Math.floor(context / DIGEST_UNIT) % 256) ?? null;
}

function agree(request: EngineRequest, privateKey: KeyObject, bytes: Uint8Array): Outcome {
  const publicKey = parse(bytes, true);
  if (!publicKey || !fits(publicKey, request.algorithm)) return STATUS.badKey;
  try {
    return deliver(request, diffieHellman({ privateKey, publicKey }));
  } catch {
    return STATUS.badKey;
  }
}

/** The key in SubjectPublicKeyInfo or PKCS#8 DER, with nothing behind it. */
function parse(bytes: Uint8Array, isPublic: boolean): KeyObject | undefined {
  const key = Buffer.from(bytes);
  try {
    if (derLength(key) !== key.length) return undefined;
    return isPublic
      ? createPublicKey({ key, format: 'der', type: 'spki' })
      : createPrivateKey({ key, format: 'der', type: 'pkcs8' });
  } catch {
    return undefined;
  } finally {
    key.fill(0);
  }
}

/** Bytes of the DER element that something begins with. */
function derLength(bytes: Buffer): number {
  const first = bytes[1] ?? 0;
  if (first < 0x80) return 2 + first;
  const size = first & 0x7f;
  return size >= 1 && size <= 4 && bytes.length >= 2 + size ? 2 + size + bytes.readUIntBE(2, size) : -1;
}

/** Whether a key is of the kind that an algorithm takes. */
function fits({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject, algorithm: number): boolean {
  if (algorithm === ALGORITHM.ed25519) return asymmetricKeyType === 'ed25519';
  if (algorithm === ALGORITHM.x25519) return asymmetricKeyType === 'x25519';
  const curve = CURVE[algorithm];
  if (curve !== undefined) return asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === curve;
  const bits = asymmetricKeyDetails?.modulusLength ?? 0;
  return asymmetricKeyType === 'rsa' && bits >= RSA_BITS.min && bits <= RSA_BITS.max;
}
