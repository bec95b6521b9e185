import { StringDecoder } from 'node:string_decoder';
import { STATUS } from '../../abi/queue.js';
import type { CipherRecipes } from '../../algorithms/class-options.js';
import { ownCopy } from '../../algorithms/own-copy.js';
import { callerRunner } from '../caller-runner.js';
import { baseOf, showOnDemand } from './becoming.js';
import type { Counter } from './counters.js';
import { isBytes, lengthOf } from './is-bytes.js';
import type { KnownKey } from './recent-keys.js';
import { type ScratchUser, scratch } from './scratch.js';
import type { Worth } from './worth.js';

/** What an object for one message stands for. */
export interface CipherWork {
  counter: Counter;
  worth: Worth;
  recipes: CipherRecipes;
  key: KnownKey;
  /** The object's own. */
  iv: Uint8Array;
  /** Node:crypto's object, as it is at first. */
  makeNode(): AnyCipher;
}

/** What node:crypto's classes for ciphers have, one or the other, whatever they are given. */
export interface AnyCipher {
  setAAD(data: unknown, options?: unknown): this;
  setAuthTag(tag: unknown, encoding?: unknown): this;
  getAuthTag(): Buffer;
  update(data: unknown, inputEncoding?: unknown, outputEncoding?: unknown): Buffer | string;
  final(outputEncoding?: unknown): Buffer | string;
}

/** Measured: of more, making an object is what costs least. */
const MOST_BYTES = 512;
const MAX_AAD_BYTES = 1024;
const BYTES_PER_UNIT = 3;
const NOTHING = Buffer.alloc(0);
/** Encodings in which data may come, and go out. */
const ENCODINGS: readonly unknown[] = ['utf8', 'hex', 'base64', 'base64url', 'latin1', 'binary', 'ascii'];
const isPlain = (encoding: unknown): boolean => !encoding || encoding === 'buffer';

/** `begun`: the message has come, and its end has not been asked for; `done`: it has. */
type Phase = 'new' | 'begun' | 'done';

/**
 * A class for Cipheriv and Decipheriv of node:crypto, for a message of AES-GCM that comes as a whole: an engine of the
 * calling thread does it at once, with a key that is set up already. For any other use it has node:crypto's own.
 */
export function makeLightCipher(sample: AnyCipher, encrypts: boolean): new (work: CipherWork) => AnyCipher {
  class Light extends baseOf(Object.getPrototypeOf(sample) as AnyCipher) implements ScratchUser {
    readonly #work: CipherWork;
    #node: AnyCipher | undefined;
    #phase: Phase = 'new';
    #aad: Uint8Array | undefined;
    #tag: Uint8Array | undefined;
    /** Of the message, in the scratch memory. */
    #length = 0;
    #encoding: unknown;
    #decoder: StringDecoder | undefined;

    constructor(work: CipherWork) {
      super();
      this.#work = work;
    }

    get #isNew(): boolean {
      return this.#node === undefined && this.#phase === 'new';
    }

    override setAAD(data: unknown, options?: unknown): this {
      const isUsual = this.#isNew && options === undefined && this.#aad === undefined;
      // What is empty may be detached.
      const isShort = isBytes(data) && lengthOf(data) > 0 && lengthOf(data) <= MAX_AAD_BYTES;
      if (isUsual && isShort) {
        this.#aad = new Uint8Array(data as Uint8Array);
      } else this.become().setAAD(data, options);
      return this;
    }

    override setAuthTag(data: unknown, encoding?: unknown): this {
      const isUsual = !encrypts && this.#isNew && this.#tag === undefined;
      if (isUsual && isBytes(data) && lengthOf(data) === this.#work.recipes.tagBytes) {
        this.#tag = new Uint8Array(data);
      } else this.become().setAuthTag(data, encoding);
      return this;
    }

    override update(data: unknown, inputEncoding?: unknown, outputEncoding?: unknown): Buffer | string {
      if (this.#isNew && this.#take(data, inputEncoding, outputEncoding)) {
        const bytes = this.#run();
        if (bytes) {
          this.#phase = 'begun';
          this.#encoding = outputEncoding;
          const result = this.#decode(bytes, outputEncoding, false);
          // What was secret stays in no memory that is used again.
          if (!encrypts) bytes.fill(0);
          return result;
        }
        scratch.release(this.#length);
      }
      return this.become().update(data, inputEncoding, outputEncoding);
    }

    /** Puts a message into the scratch memory, if it is such that an engine may be given it. */
    #take(data: unknown, inputEncoding: unknown, outputEncoding: unknown): boolean {
      if (!isPlain(outputEncoding) && !ENCODINGS.includes(outputEncoding)) return false;
      // What is decrypted before its tag has come is nothing that an engine gives.
      if (!encrypts && !this.#tag) return false;
      if (typeof data === 'string') return this.#takeText(data, inputEncoding ?? 'utf8');
      if (!isBytes(data)) return false;
      const length = lengthOf(data);
      if (length === 0 || length > MOST_BYTES) return false;
      scratch.claim(this);
      scratch.bytes.set(data);
      this.#length = length;
      return true;
    }

    #takeText(text: string, encoding: unknown): boolean {
      if (text.length === 0 || text.length * BYTES_PER_UNIT > MOST_BYTES) return false;
      if (!ENCODINGS.includes(encoding) || (encoding === 'hex' && text.length % 2 !== 0)) return false;
      scratch.claim(this);
      this.#length = scratch.buffer.write(text, encoding as BufferEncoding);
      if (this.#length > 0) return true;
      scratch.release(0);
      return false;
    }

    /** What comes out of the message; undefined if node:crypto has to look at it. */
    #run(): Buffer | undefined {
      const { recipes, key, iv } = this.#work;
      const { session, offer } = key;
      if (session === undefined) return undefined;
      const { engines } = callerRunner;
      const length = this.#length;
      if (encrypts) {
        const status = engines.direct(recipes.encrypt, scratch.view(length), offer, session, iv, this.#aad);
        if (status !== STATUS.ok) return undefined;
        const output = engines.lookAtOutput();
        this.#tag = new Uint8Array(output.subarray(length));
        return output.subarray(0, length);
      }
      const tag = this.#tag!;
      scratch.bytes.set(tag, length);
      const sealed = scratch.view(length + tag.length);
      const status = engines.direct(recipes.decrypt, sealed, offer, session, iv, this.#aad);
      return status === STATUS.ok ? engines.lookAtOutput() : undefined;
    }

    override final(outputEncoding?: unknown): Buffer | string {
      const changes = !isPlain(this.#encoding) && this.#encoding !== outputEncoding;
      const isUsual = isPlain(outputEncoding) || (ENCODINGS.includes(outputEncoding) && !changes);
      if (this.#node !== undefined || this.#phase !== 'begun' || !isUsual) {
        return this.become().final(outputEncoding);
      }
      scratch.release(this.#length);
      this.#phase = 'done';
      this.#work.counter.caller++;
      this.#work.worth.won();
      return this.#decode(NOTHING, outputEncoding, true);
    }

    /** As node:crypto does it: characters may be cut in two by the end. */
    #decode(bytes: Buffer, encoding: unknown, isEnd: boolean): Buffer | string {
      if (isPlain(encoding)) return ownCopy(bytes);
      if (encoding === 'hex') return bytes.toString('hex');
      this.#decoder ??= new StringDecoder(encoding as BufferEncoding);
      return isEnd ? this.#decoder.end(bytes) : this.#decoder.write(bytes);
    }

    override getAuthTag(): Buffer {
      const isReady = encrypts && this.#phase === 'done' && this.#tag !== undefined;
      return isReady ? ownCopy(this.#tag!) : this.become().getAuthTag();
    }

    leave(): void {
      this.become();
    }

    /** Node:crypto's object, as this would be by now. */
    become(): AnyCipher {
      if (this.#node !== undefined) return this.#node;
      const node = this.#work.makeNode();
      const phase = this.#phase;
      this.#node = node;
      if (phase === 'done') return ended(node);
      this.#work.counter.node('use');
      this.#work.worth.lost();
      if (this.#aad) node.setAAD(this.#aad);
      if (!encrypts && this.#tag) node.setAuthTag(this.#tag);
      if (phase === 'begun') {
        node.update(scratch.view(this.#length), undefined, this.#encoding);
        scratch.release(this.#length);
      }
      return node;
    }
  }
  const { prototype } = Light;
  showOnDemand(prototype, sample, (from) => from.become());
  Reflect.deleteProperty(prototype, encrypts ? 'setAuthTag' : 'getAuthTag');
  return Light;
}

/** An object of node:crypto after its end. */
function ended(node: AnyCipher): AnyCipher {
  try {
    node.final();
  } catch {
    // There was nothing to be right or wrong about.
  }
  return node;
}
