import { Mapping } from '../../sys/memory.js';
import type { OpensslFunctions } from './openssl-binding.js';

/** Cells for results that come by pointer, then room for names and parameters, then room for outputs. */
const POINTER_AT = 0;
const LENGTH_AT = 8;
const NAME_AT = 64;
export const NAME_BYTES = 64;
const OUTPUT_AT = 128;
/** More than a signature, a decrypted RSA block or a shared secret has. */
export const OUTPUT_BYTES = 1024;
const PARAMS_AT = 2048;
const BYTES = 4096;

/** OSSL_PARAM_UTF8_STRING and OSSL_PARAM_UNMODIFIED of <openssl/params.h>. */
const UTF8_STRING = 4;
const PARAM_BYTES = 40;

/** What a context is for: a number above its address, so that whoever closes it knows what it is. */
export const KIND = {
  digest: 1,
  mac: 2,
  macInParts: 3,
  cipher: 4,
  sign: 5,
  verify: 6,
  oaepEncrypt: 7,
  oaepDecrypt: 8,
  agree: 9,
} as const;
const KIND_UNIT = 2 ** 47;

/** A context as a session keeps it: the address, which lies below 2^47, and what it is. 0 stays 0. */
export const withKind = (address: number, kind: number): number =>
  address === 0 ? 0 : address + kind * KIND_UNIT;
export const kindOf = (context: number): number => Math.floor(context / KIND_UNIT);
export const addressIn = (context: number): number => context % KIND_UNIT;

/** Memory of one engine that the library writes small results to. */
export class OpensslMemory {
  readonly #mapping = Mapping.anonymous(BYTES);
  readonly #f: OpensslFunctions;
  /** A pointer by reference. */
  readonly pointerCell: number;
  /** A length by reference. */
  readonly lengthCell: number;
  readonly name: number;
  readonly output: number;

  constructor(f: OpensslFunctions) {
    this.#f = f;
    const { address } = this.#mapping;
    this.pointerCell = address + POINTER_AT;
    this.lengthCell = address + LENGTH_AT;
    this.name = address + NAME_AT;
    this.output = address + OUTPUT_AT;
  }

  get pointer(): number {
    const { words } = this.#mapping;
    return (words[0]! >>> 0) + (words[1]! >>> 0) * 4294967296;
  }

  set pointer(value: number) {
    this.#setWide(POINTER_AT, value);
  }

  /** The low half: nothing here is longer. */
  get length(): number {
    return this.#mapping.words[LENGTH_AT >> 2]!;
  }

  set length(value: number) {
    this.#setWide(LENGTH_AT, value);
  }

  /** The text at `name`. */
  get text(): string {
    const bytes = this.#mapping.bytes.subarray(NAME_AT, NAME_AT + NAME_BYTES);
    return Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString('latin1');
  }

  /** A list of one OSSL_PARAM that is a name; good until the next call. */
  params(key: string, value: string): number {
    const { bytes, address } = this.#mapping;
    bytes.fill(0, PARAMS_AT);
    const keyAt = PARAMS_AT + 2 * PARAM_BYTES;
    const valueAt = keyAt + key.length + 1;
    bytes.set(Buffer.from(key), keyAt);
    bytes.set(Buffer.from(value), valueAt);
    this.#setWide(PARAMS_AT, address + keyAt);
    this.#setWide(PARAMS_AT + 8, UTF8_STRING);
    this.#setWide(PARAMS_AT + 16, address + valueAt);
    this.#setWide(PARAMS_AT + 24, value.length);
    this.#mapping.words.fill(-1, (PARAMS_AT + 32) >> 2, (PARAMS_AT + 40) >> 2);
    return address + PARAMS_AT;
  }

  /** Overwrites what was put at `output`. */
  forget(): void {
    this.#f.OPENSSL_cleanse(this.output, OUTPUT_BYTES);
  }

  close(): void {
    this.forget();
    this.#mapping.unmap();
  }

  #setWide(offset: number, value: number): void {
    this.#mapping.words[offset >> 2] = value | 0;
    this.#mapping.words[(offset >> 2) + 1] = (value / 4294967296) | 0;
  }
}
