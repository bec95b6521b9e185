import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, scryptSync } from 'node:crypto';

/*
 * A second reader and writer of encrypted files, made from docs/encrypted-files.md with node:crypto alone. The writer also
 * makes what `warpdrive encrypt` never would.
 */

export const CHUNK = 65_536;
export const TAG = 16;
export const HEADER = 91;

export type Algorithm = 'aes-256-gcm' | 'chacha20-poly1305';
export type Secret = { key: Buffer } | { passphrase: string };

export interface SealOptions {
  algorithm?: Algorithm;
  log2Cost?: number;
  r?: number;
  p?: number;
  salt?: Buffer;
  prefix?: Buffer;
  /** Instead of cutting the plaintext: each chunk, and whether its nonce says that it is the last. */
  chunks?: { plain: Buffer; last: boolean }[];
  /** Changes the header before the key is derived from it. */
  spoil?: (header: Buffer) => void;
}

function keysOf(header: Buffer, secret: Secret): { key: Buffer; commitment: Buffer } {
  const salt = header.subarray(20, 52);
  let master: Buffer;
  if ('key' in secret) {
    master = secret.key;
  } else {
    const N = 2 ** header[11]!;
    const r = header.readUInt32BE(12);
    const p = header.readUInt32BE(16);
    master = scryptSync(secret.passphrase, salt, 32, { N, r, p, maxmem: 2 ** 30 });
  }
  const info = Buffer.concat([Buffer.from('warpdrive encrypted file'), header.subarray(0, 59)]);
  const bytes = Buffer.from(hkdfSync('sha256', master, salt, info, 64));
  return { key: bytes.subarray(0, 32), commitment: bytes.subarray(32) };
}

function nonceOf(header: Buffer, index: number, last: boolean): Buffer {
  const nonce = Buffer.concat([header.subarray(52, 59), Buffer.alloc(5)]);
  nonce.writeUInt32BE(index, 7);
  nonce[11] = last ? 1 : 0;
  return nonce;
}

/** The types of node:crypto know each algorithm by itself: the calls are the same for both. */
const OPTIONS = { authTagLength: TAG };

export function sealReference(plain: Buffer, secret: Secret, options: SealOptions = {}): Buffer {
  const { algorithm = 'aes-256-gcm', log2Cost = 10, r = 8, p = 1 } = options;
  const header = Buffer.alloc(59);
  header.write('89574458' + '0d0a1a0a', 'hex');
  header[8] = 1;
  header[9] = algorithm === 'aes-256-gcm' ? 1 : 2;
  if ('passphrase' in secret) {
    header[10] = 1;
    header[11] = log2Cost;
    header.writeUInt32BE(r, 12);
    header.writeUInt32BE(p, 16);
  }
  header.set(options.salt ?? randomBytes(32), 20);
  header.set(options.prefix ?? randomBytes(7), 52);
  options.spoil?.(header);
  const { key, commitment } = keysOf(header, secret);
  const count = Math.max(1, Math.ceil(plain.length / CHUNK));
  const chunks =
    options.chunks ??
    Array.from({ length: count }, (_, index) => ({
      plain: plain.subarray(index * CHUNK, (index + 1) * CHUNK),
      last: index === count - 1,
    }));
  const sealed = chunks.flatMap((chunk, index) => {
    const cipher = createCipheriv(
      algorithm as 'aes-256-gcm',
      key,
      nonceOf(header, index, chunk.last),
      OPTIONS,
    );
    return [cipher.update(chunk.plain), cipher.final(), cipher.getAuthTag()];
  });
  return Buffer.concat([header, commitment, ...sealed]);
}

/** @throws where anything is not as it should be */
export function openReference(file: Buffer, secret: Secret): Buffer {
  const header = file.subarray(0, 59);
  const { key, commitment } = keysOf(header, secret);
  if (!file.subarray(59, HEADER).equals(commitment)) throw new Error('another key');
  const algorithm: Algorithm = header[9] === 1 ? 'aes-256-gcm' : 'chacha20-poly1305';
  const plain: Buffer[] = [];
  let at = HEADER;
  for (let index = 0; ; index++) {
    const end = Math.min(file.length, at + CHUNK + TAG);
    const isLast = end === file.length;
    const nonce = nonceOf(header, index, isLast);
    const decipher = createDecipheriv(algorithm as 'aes-256-gcm', key, nonce, OPTIONS);
    decipher.setAuthTag(file.subarray(end - TAG, end));
    plain.push(decipher.update(file.subarray(at, end - TAG)), decipher.final());
    if (isLast) return Buffer.concat(plain);
    at = end;
  }
}

/** The chunks of a file, as they lie there. */
export function chunksOf(file: Buffer): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = HEADER; at < file.length; at += CHUNK + TAG) chunks.push(file.subarray(at, at + CHUNK + TAG));
  return chunks;
}
