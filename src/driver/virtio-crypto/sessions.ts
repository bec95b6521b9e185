import { STATUS } from '../../abi/queue.js';
import { CRYPTO_AKCIPHER_OPCODE, CRYPTO_OPCODE, CRYPTO_STATUS } from '../../abi/virtio-crypto.js';
import { viewMemory } from '../../sys/libc.js';
import { addressOf, copyMemory } from '../../sys/memory.js';
import type { Cipher } from './ciphers.js';
import { type ControlQueue, NO_ANSWER } from './control-queue.js';
import { readSigner, type Signer } from './signatures.js';

/**
 * One session of ours: up to two of the device's, made when they are first used. A cipher has one for each direction
 * (CRYPTO_DIRECTION), a signature one for its kind of key (CRYPTO_KEY_TYPE); either is 1 or 2.
 */
interface Session {
  terms: Cipher | Signer;
  key: Uint8Array;
  /** The device's numbers, low and high half, by direction or kind of key. */
  readonly numbers: Int32Array;
  /** Whether the device has it, by the same. */
  readonly made: Uint8Array;
}

const WAYS = 3;

/**
 * The sessions of a device. Of ciphers it wants one for each direction, where we have one for both. Keys are kept until a session
 * is closed, since a device that is reset forgets its own.
 */
export class Sessions {
  /** Of the session that `use` found: the device's number. */
  low = 0;
  high = 0;
  readonly #sessions = new Map<number, Session>();
  readonly #onStall: () => void;
  #control: ControlQueue | undefined;
  #next = 1;

  /** @param onStall the device does not answer any more */
  constructor(onStall: () => void) {
    this.#onStall = onStall;
  }

  /** Goes on with a device that has been reset. */
  attach(control: ControlQueue | undefined): void {
    this.#control = control;
    for (const { made } of this.#sessions.values()) made.fill(0);
  }

  /** Like `open`, with a key at an address. */
  openAt(cipher: Cipher, address: number, direction: number): number {
    const key = keyOf(cipher.keyBytes);
    copyMemory(addressOf(key), address, key.length);
    const status = this.open(cipher, key, direction);
    key.fill(0);
    return status;
  }

  /** Opens a session, and makes it on the device for one direction. Returns STATUS; the number is in `low`. */
  open(cipher: Cipher, key: Uint8Array, direction: number): number {
    if (key.length !== cipher.keyBytes || (cipher.mode === 'xts' && halvesAreEqual(key)))
      return STATUS.badKey;
    const kept = keyOf(key.length);
    kept.set(key);
    return this.#open(cipher, kept, direction);
  }

  /** The same for signatures, with a key at an address: PKCS#8 to sign, SubjectPublicKeyInfo to verify. */
  openSigner(address: number, length: number, digest: number, verifies: boolean): number {
    const read = readSigner(new Uint8Array(viewMemory(address, length)), digest, verifies);
    return read ? this.#open(read.signer, read.key, read.signer.keyType) : STATUS.badKey;
  }

  /** @param key taken over */
  #open(terms: Cipher | Signer, key: Uint8Array, way: number): number {
    const session: Session = {
      terms,
      key,
      numbers: new Int32Array(2 * WAYS),
      made: new Uint8Array(WAYS),
    };
    const status = this.#make(session, way);
    if (status !== STATUS.ok) {
      session.key.fill(0);
      return status;
    }
    while (this.#sessions.has(this.#next)) this.#next = (this.#next % 0x7fffffff) + 1;
    this.#sessions.set(this.#next, session);
    this.low = this.#next;
    return STATUS.ok;
  }

  /** What a session for signatures is for; undefined where there is none of that number. */
  signerOf(number: number): Signer | undefined {
    const terms = this.#sessions.get(number)?.terms;
    return terms !== undefined && isSigner(terms) ? terms : undefined;
  }

  /**
   * Finds what the device calls a session, which is made there now if it is not. Returns STATUS.
   * @param way the direction, or the kind of key
   */
  use(number: number, terms: Cipher | Signer, way: number): number {
    const session = this.#sessions.get(number);
    if (session === undefined || session.terms !== terms) return STATUS.badSession;
    if (session.made[way] === 0) {
      const status = this.#make(session, way);
      if (status !== STATUS.ok) return status;
    }
    this.low = session.numbers[2 * way]!;
    this.high = session.numbers[2 * way + 1]!;
    return STATUS.ok;
  }

  #make({ terms, key, numbers, made }: Session, way: number): number {
    const control = this.#control;
    if (!control) return STATUS.engineFailed;
    const answer = isSigner(terms) ? control.createRsa(terms, key) : control.create(terms, way, key);
    if (answer === NO_ANSWER) this.#onStall();
    if (answer === CRYPTO_STATUS.unsupported) return STATUS.unsupported;
    if (answer === CRYPTO_STATUS.noSpace) return STATUS.noResources;
    // A device has no better word for a table that is full, or what it does not have.
    if (answer === CRYPTO_STATUS.error) return STATUS.noResources;
    if (answer !== CRYPTO_STATUS.ok) return STATUS.engineFailed;
    numbers[2 * way] = control.sessionLow;
    numbers[2 * way + 1] = control.sessionHigh;
    made[way] = 1;
    return STATUS.ok;
  }

  /** Ends a session, and overwrites its key. Returns STATUS. */
  close(number: number): number {
    const session = this.#sessions.get(number);
    if (!session) return STATUS.badSession;
    this.#sessions.delete(number);
    session.key.fill(0);
    const service = isSigner(session.terms) ? CRYPTO_AKCIPHER_OPCODE : CRYPTO_OPCODE;
    for (let way = 0; way < WAYS; way++) {
      if (session.made[way] === 0 || !this.#control) continue;
      const [low, high] = session.numbers.subarray(2 * way);
      if (this.#control.destroy(service.destroySession, low!, high!) === NO_ANSWER) this.#onStall();
    }
    return STATUS.ok;
  }

  /** Forgets all keys: the device has gone, or is let go. */
  clear(): void {
    for (const { key } of this.#sessions.values()) key.fill(0);
    this.#sessions.clear();
    this.#control = undefined;
  }
}

const isSigner = (terms: Cipher | Signer): terms is Signer => 'digest' in terms;

/** Room for a key. Small arrays live on the heap of V8, which moves them, and leaves copies behind, unless they are views. */
function keyOf(bytes: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(bytes));
}

/** IEEE 1619-2018: the two keys of XTS must differ. */
function halvesAreEqual(key: Uint8Array): boolean {
  const half = key.length / 2;
  let difference = 0;
  for (let i = 0; i < half; i++) difference |= key[i]! ^ key[half + i]!;
  return difference === 0;
}
