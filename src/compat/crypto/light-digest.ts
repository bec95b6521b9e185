import { baseOf, showOnDemand } from './becoming.js';
import type { Counter } from './counters.js';
import { digestEncoding, type TextEncoding } from './encodings.js';
import { isBytes, lengthOf } from './is-bytes.js';
import { type ScratchUser, scratch } from './scratch.js';
import type { Worth } from './worth.js';

/** What Hash and Hmac of node:crypto have, whatever they are given. */
export interface AnyDigest {
  update(data: unknown, encoding?: unknown): this;
  digest(encoding?: unknown): string | Buffer;
  _flush(callback: (error?: Error | null) => void): void;
}

/** What an object for digests stands for. */
export interface DigestWork {
  readonly counter: Counter;
  readonly worth: Worth;
  /** More bytes than that are digested as fast by node:crypto's object; of text, characters. */
  readonly mostBytes: number;
  readonly mostText: number;
  /** Node:crypto's object, as it is at first. */
  makeNode(): AnyDigest;
  /** The digest of data; undefined if node:crypto has to make it. Text is UTF-8. */
  finish(data: string | Buffer, encoding: TextEncoding | undefined): string | Buffer | undefined;
}

/** `bytes`: those that came lie in the scratch memory. */
type Phase = 'empty' | 'text' | 'bytes' | 'done';

/**
 * A class for Hash and Hmac of node:crypto: an object that costs nothing, for data that is given at once and then
 * digested. For any other use it has node:crypto's own.
 */
export function makeLightDigest(sample: AnyDigest): new (work: DigestWork) => AnyDigest {
  class Light extends baseOf(Object.getPrototypeOf(sample) as AnyDigest) implements ScratchUser {
    readonly #work: DigestWork;
    #node: AnyDigest | undefined;
    #phase: Phase = 'empty';
    #text = '';
    #length = 0;

    constructor(work: DigestWork) {
      super();
      this.#work = work;
    }

    override update(data: unknown, encoding?: unknown): this {
      if (!this.#keep(data, encoding)) this.become().update(data, encoding);
      return this;
    }

    /** Keeps data, if it is all that there is so far, and such that it can be digested here. */
    #keep(data: unknown, encoding: unknown): boolean {
      if (this.#phase !== 'empty' || this.#node !== undefined) return false;
      if (typeof data === 'string') {
        if (data.length > this.#work.mostText) return false;
        if (encoding !== undefined && encoding !== 'utf8') return false;
        // Text does not change: it need not be copied.
        this.#text = data;
        this.#phase = 'text';
        return true;
      }
      if (!isBytes(data)) return false;
      const length = lengthOf(data);
      // What is empty may be detached.
      if (length === 0 || length > this.#work.mostBytes) return false;
      scratch.claim(this);
      scratch.bytes.set(data);
      this.#length = length;
      this.#phase = 'bytes';
      return true;
    }

    override digest(encoding?: unknown): string | Buffer {
      return this.#finish(encoding) ?? this.become().digest(encoding);
    }

    #finish(encoding: unknown): string | Buffer | undefined {
      const phase = this.#phase;
      if (this.#node !== undefined || phase === 'done') return undefined;
      const wanted = digestEncoding(encoding);
      if (wanted === null) return undefined;
      const data = phase === 'bytes' ? scratch.view(this.#length) : this.#text;
      const result = this.#work.finish(data, wanted);
      if (result === undefined) return undefined;
      if (phase === 'bytes') scratch.release(this.#length);
      this.#text = '';
      this.#phase = 'done';
      this.#work.counter.caller++;
      this.#work.worth.won();
      return result;
    }

    /** Of a stream. What was digested here is not kept for one that ends afterwards: an error, and no other digest. */
    override _flush(callback: (error?: Error | null) => void): void {
      if (this.#phase !== 'done') super._flush(callback);
      else callback(Object.assign(new Error('Digest already called'), { code: 'ERR_CRYPTO_HASH_FINALIZED' }));
    }

    leave(): void {
      this.become();
    }

    /** Node:crypto's object, as this would be by now. */
    become(): AnyDigest {
      if (this.#node !== undefined) return this.#node;
      const node = this.#work.makeNode();
      const phase = this.#phase;
      this.#node = node;
      if (phase === 'done') {
        node.digest();
        return node;
      }
      this.#work.counter.node('use');
      this.#work.worth.lost();
      if (phase === 'bytes') {
        node.update(scratch.view(this.#length));
        scratch.release(this.#length);
      } else if (phase === 'text') node.update(this.#text);
      this.#text = '';
      return node;
    }
  }
  showOnDemand(Light.prototype, sample, (from) => from.become());
  return Light;
}
