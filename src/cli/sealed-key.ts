import { hkdf, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { whileBlocking } from './interruption.js';
import {
  BOUND_BYTES,
  COMMITMENT_BYTES,
  encodeHeader,
  KEY_BYTES,
  parseHeader,
  refused,
  type ScryptCost,
  type SealedHeader,
} from './sealed-format.js';
import type { Secret, SecretKind } from './secret.js';

const INFO = Buffer.from('warpdrive encrypted file');
/** What OpenSSL takes beyond the blocks that scrypt goes over. */
const SCRYPT_SLACK_BYTES = 1024 * 1024;

/*
 * Both derivations run in this process, not on the device: a passphrase and a master key open every file that was
 * encrypted with them, and a device may be a broker's. It gets the key of one file at a time.
 */

/** The header of a new file, with its commitment, and the file's key, which the caller overwrites. */
export async function newFileKey(
  header: SealedHeader,
  secret: Secret,
): Promise<{ header: Buffer; key: Buffer }> {
  const bound = encodeHeader(header);
  const { key, commitment } = await derive(header, bound, secret);
  return { header: Buffer.concat([bound, commitment]), key };
}

/**
 * The key of a file with this header; the caller overwrites it.
 * @param secretOf asked for the kind of secret that the header wants
 * @throws the one Failure for encrypted files where the secret is another one
 */
export async function fileKey(
  bytes: Buffer,
  secretOf: (kind: SecretKind) => Promise<Secret>,
): Promise<{ header: SealedHeader; key: Buffer }> {
  const header = parseHeader(bytes);
  const wanted: SecretKind = header.scrypt ? 'passphrase' : 'key';
  const secret = await secretOf(wanted);
  if (secret.kind !== wanted) throw refused();
  const { key, commitment } = await derive(header, bytes.subarray(0, BOUND_BYTES), secret);
  if (!timingSafeEqual(commitment, bytes.subarray(BOUND_BYTES))) {
    key.fill(0);
    throw refused();
  }
  return { header, key };
}

/** HKDF-SHA256 (RFC 5869) of the master key with all of the header: who changes any of it gets another key. */
async function derive(
  header: SealedHeader,
  bound: Uint8Array,
  secret: Secret,
): Promise<{ key: Buffer; commitment: Buffer }> {
  const { salt } = header;
  const master = header.scrypt ? await stretch(secret.bytes, salt, header.scrypt) : secret.bytes;
  const info = Buffer.concat([INFO, bound]);
  const bytes = Buffer.from(
    await promisify(hkdf)('sha256', master, salt, info, KEY_BYTES + COMMITMENT_BYTES),
  );
  if (master !== secret.bytes) master.fill(0);
  return { key: bytes.subarray(0, KEY_BYTES), commitment: bytes.subarray(KEY_BYTES) };
}

/** The master key of a passphrase. */
function stretch(passphrase: Buffer, salt: Uint8Array, { log2Cost, r, p }: ScryptCost): Promise<Buffer> {
  const N = 2 ** log2Cost;
  const maxmem = 128 * r * (N + p) + SCRYPT_SLACK_BYTES;
  const work = new Promise<Buffer>((resolve, reject) => {
    scrypt(passphrase, salt, KEY_BYTES, { N, r, p, maxmem }, (error, key) => {
      if (error) reject(error);
      else resolve(key);
    });
  });
  return whileBlocking(work);
}
