import { STATUS } from '../../abi/queue.js';
import { CRYPTO_DIRECTION, CRYPTO_STATUS } from '../../abi/virtio-crypto.js';
import { addressOf, copyMemory } from '../../sys/memory.js';
import type { Cipher } from './ciphers.js';
import { type ControlQueue, NO_ANSWER } from './control-queue.js';

/** One session of ours: up to two of the device's, one for each direction, made when they are first used. */
interface Session {
  cipher: Cipher;
  key: Uint8Array;
  /** The device's numbers, low and high half, by direction. */
  readonly numbers: Int32Array;
  /** Whether the device has it, by direction. */
  readonly made: Uint8Array;
}

const ENCRYPT = CRYPTO_DIRECTION.encrypt;
const DECRYPT = CRYPTO_DIRECTION.decrypt;
const DIRECTIONS = DECRYPT + 1;

/**
 * The sessions of a device. It wants one for each direction, where we have one for both. Keys are kept until a session
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
  openAt(cipher: Cipher, address: number, encrypts: boolean): number {
    const key = keyOf(cipher.keyBytes);
    copyMemory(addressOf(key), address, key.length);
    const status = this.open(cipher, key, encrypts);
    key.fill(0);
    return status;
  }

  /** Opens a session, and makes it on the device for one direction. Returns STATUS; the number is in `low`. */
  open(cipher: Cipher, key: Uint8Array, encrypts: boolean): number {
    if (key.length !== cipher.keyBytes || (cipher.mode === 'xts' && halvesAreEqual(key)))
      return STATUS.badKey;
    const kept = keyOf(key.length);
    kept.set(key);
    const session: Session = {
      cipher,
      key: kept,
      numbers: new Int32Array(2 * DIRECTIONS),
      made: new Uint8Array(DIRECTIONS),
    };
    const status = this.#make(session, encrypts ? ENCRYPT : DECRYPT);
    if (status !== STATUS.ok) {
      session.key.fill(0);
      return status;
    }
    while (this.#sessions.has(this.#next)) this.#next = (this.#next % 0x7fffffff) + 1;
    this.#sessions.set(this.#next, session);
    this.low = this.#next;
    return STATUS.ok;
  }

  /** Finds what the device calls a session, which is made there now if it is not. Returns STATUS. */
  use(number: number, cipher: Cipher, encrypts: boolean): number {
    const session = this.#sessions.get(number);
    if (session === undefined || session.cipher !== cipher) return STATUS.badSession;
    const direction = encrypts ? ENCRYPT : DECRYPT;
    if (session.made[direction] === 0) {
      const status = this.#make(session, direction);
      if (status !== STATUS.ok) return status;
    }
    this.low = session.numbers[2 * direction]!;
    this.high = session.numbers[2 * direction + 1]!;
    return STATUS.ok;
  }

  #make(session: Session, direction: number): number {
    const control = this.#control;
    if (!control) return STATUS.engineFailed;
    const answer = control.create(session.cipher, direction, session.key);
    if (answer === NO_ANSWER) this.#onStall();
    if (answer === CRYPTO_STATUS.unsupported) return STATUS.unsupported;
    if (answer === CRYPTO_STATUS.noSpace) return STATUS.noResources;
    // A device has no better word for a table that is full, or a cipher that it does not have.
    if (answer === CRYPTO_STATUS.error) return STATUS.noResources;
    if (answer !== CRYPTO_STATUS.ok) return STATUS.engineFailed;
    session.numbers[2 * direction] = control.sessionLow;
    session.numbers[2 * direction + 1] = control.sessionHigh;
    session.made[direction] = 1;
    return STATUS.ok;
  }

  /** Ends a session, and overwrites its key. Returns STATUS. */
  close(number: number): number {
    const session = this.#sessions.get(number);
    if (!session) return STATUS.badSession;
    this.#sessions.delete(number);
    session.key.fill(0);
    for (const direction of [ENCRYPT, DECRYPT]) {
      if (session.made[direction] === 0 || !this.#control) continue;
      const [low, high] = session.numbers.subarray(2 * direction);
      if (this.#control.destroy(low!, high!) === NO_ANSWER) this.#onStall();
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
