interface Taker<T> {
  resolve: (item: T | undefined) => void;
  reject: (error: Error) => void;
}

/** A line between two loops that run at the same time: what one puts in, the other takes out, in order. */
export class Channel<T> {
  readonly #items: T[];
  readonly #takers: Taker<T>[] = [];
  #closed = false;
  #error: Error | undefined;

  constructor(items: Iterable<T> = []) {
    this.#items = [...items];
  }

  /** Items that can be taken without waiting. */
  get size(): number {
    return this.#items.length;
  }

  put(item: T): void {
    const taker = this.#takers.shift();
    if (taker) taker.resolve(item);
    else this.#items.push(item);
  }

  /** The next item; undefined once the channel is closed and empty. */
  take(): Promise<T | undefined> {
    if (this.#error) return Promise.reject(this.#error);
    const item = this.#items.shift();
    if (item !== undefined || this.#closed) return Promise.resolve(item);
    return new Promise((resolve, reject) => this.#takers.push({ resolve, reject }));
  }

  /** Nothing more will be put in. */
  close(): void {
    this.#closed = true;
    for (const taker of this.#takers.splice(0)) taker.resolve(undefined);
  }

  /** Ends whoever takes, now or later, with an error. */
  fail(error: Error): void {
    this.#error ??= error;
    for (const taker of this.#takers.splice(0)) taker.reject(this.#error);
  }
}

/** Runs loops that are joined by channels; the first error ends them all. */
export async function together(
  loops: Promise<void>[],
  channels: { fail(error: Error): void }[],
): Promise<void> {
  try {
    await Promise.all(loops);
  } catch (error) {
    for (const channel of channels) channel.fail(error as Error);
    throw error;
  }
}
