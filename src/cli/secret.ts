import { closeSync, openSync, readSync } from 'node:fs';
import { askPassphrase } from './ask-passphrase.js';
import { describe, Failure } from './failure.js';
import { Unavailable } from './machinery.js';
import { KEY_BYTES } from './sealed-format.js';

export type SecretKind = 'key' | 'passphrase';

/** A key or a passphrase, in memory that is overwritten once it is done with. */
export interface Secret {
  kind: SecretKind;
  bytes: Buffer;
}

/** Where the secret comes from. */
export interface SecretOptions {
  keyFile: string | undefined;
  passphraseFile: string | undefined;
}

/** Longer than any passphrase, and room for 64 digits with white space around them. */
const MAX_SECRET_BYTES = 4096;
const VARIABLE = 'WARPDRIVE_PASSPHRASE';
const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** The secret of one command: found or asked for once, used for all its files. */
export class Secrets {
  readonly #options: SecretOptions;
  readonly #isNew: boolean;
  #secret: Secret | undefined;
  #variable: string | undefined;

  /** @param isNew whether a passphrase is asked for twice, since nothing can tell that it was mistyped */
  constructor(options: SecretOptions, isNew: boolean) {
    this.#options = options;
    this.#isNew = isNew;
    this.#variable = process.env[VARIABLE];
    // Neither engine threads nor programs that are started have any use for it.
    delete process.env[VARIABLE];
  }

  /**
   * The secret, asked for at the terminal where no option and no variable gives it.
   * @param wanted what the file needs; without a key nothing else is asked for
   */
  async get(wanted: SecretKind): Promise<Secret> {
    this.#secret ??= await this.#find(wanted);
    return this.#secret;
  }

  /** Whether a key, rather than a passphrase, is what new files are encrypted with. */
  get kind(): SecretKind {
    return this.#options.keyFile === undefined ? 'passphrase' : 'key';
  }

  async #find(wanted: SecretKind): Promise<Secret> {
    const { keyFile, passphraseFile } = this.#options;
    if (keyFile !== undefined) return { kind: 'key', bytes: readKey(keyFile) };
    if (passphraseFile !== undefined) return { kind: 'passphrase', bytes: readPassphrase(passphraseFile) };
    if (this.#variable !== undefined) {
      const bytes = passphraseOf(Buffer.from(this.#variable), `the variable ${VARIABLE}`);
      this.#variable = undefined;
      return { kind: 'passphrase', bytes };
    }
    if (wanted === 'key') throw new Failure('was encrypted with a key: --key-file FILE names it');
    return { kind: 'passphrase', bytes: await this.#ask() };
  }

  async #ask(): Promise<Buffer> {
    const first = passphraseOf(await askPassphrase('Passphrase: '), 'the passphrase');
    if (!this.#isNew) return first;
    const second = await askPassphrase('The same passphrase again: ');
    const isSame = first.equals(second);
    second.fill(0);
    if (isSame) return first;
    first.fill(0);
    throw new Unavailable('the two passphrases differ');
  }

  /** Overwrites the secret. */
  wipe(): void {
    this.#secret?.bytes.fill(0);
    this.#secret = undefined;
  }
}

/** A key from a file: its 32 bytes, or 64 hexadecimal digits. */
function readKey(path: string): Buffer {
  const bytes = readSecretFile(path);
  if (bytes.length === KEY_BYTES) return bytes;
  const key = keyOfDigits(bytes);
  bytes.fill(0);
  if (key) return key;
  throw new Unavailable(`a key file holds ${KEY_BYTES} bytes, or ${2 * KEY_BYTES} hexadecimal digits`, {
    subject: path,
  });
}

function keyOfDigits(bytes: Buffer): Buffer | undefined {
  const isSpace = (byte: number | undefined): boolean => byte === 0x20 || (byte! >= 0x09 && byte! <= 0x0d);
  let start = 0;
  let end = bytes.length;
  while (start < end && isSpace(bytes[start])) start++;
  while (end > start && isSpace(bytes[end - 1])) end--;
  if (end - start !== 2 * KEY_BYTES) return undefined;
  const key = Buffer.allocUnsafeSlow(KEY_BYTES);
  for (let at = 0; at < 2 * KEY_BYTES; at++) {
    const digit = digitOf(bytes[start + at]!);
    if (digit < 0) return undefined;
    key[at >> 1] = at % 2 === 0 ? digit << 4 : key[at >> 1]! | digit;
  }
  return key;
}

function digitOf(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : -1;
}

/** The first line of a file. */
function readPassphrase(path: string): Buffer {
  const bytes = readSecretFile(path);
  const newline = bytes.indexOf(NEWLINE);
  let end = newline < 0 ? bytes.length : newline;
  if (newline > 0 && bytes[end - 1] === RETURN) end--;
  bytes.fill(0, end);
  return passphraseOf(bytes.subarray(0, end), path);
}

function passphraseOf(bytes: Buffer, subject: string): Buffer {
  if (bytes.length > 0) return bytes;
  throw new Unavailable('is empty: a passphrase has at least one character', { subject });
}

/** All of a small file, in memory of its own. */
function readSecretFile(path: string): Buffer {
  const room = Buffer.allocUnsafeSlow(MAX_SECRET_BYTES + 1);
  let length = 0;
  try {
    const fd = openSync(path, 'r');
    try {
      for (;;) {
        const read = readSync(fd, room, length, room.length - length, null);
        length += read;
        if (read === 0 || length === room.length) break;
      }
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw new Unavailable(describe(error), { subject: path, cause: error });
  }
  if (length <= MAX_SECRET_BYTES) return room.subarray(0, length);
  room.fill(0);
  throw new Unavailable(`is too long for a key or a passphrase: more than ${MAX_SECRET_BYTES} bytes`, {
    subject: path,
  });
}
