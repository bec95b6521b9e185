/** Entries that are done with stay in the list until there are so many of them. */
const COMPACT = 4096;

/**
 * What waits for its turn: for a time to come, or for others to be done. Ten thousands may, and each costs less here than
 * where it is run.
 */
export class WaitingLine<T> {
  readonly #most: number;
  readonly #run: (item: T) => void;
  readonly #items: (T | undefined)[] = [];
  #head = 0;
  #running = 0;
  #held: Promise<void> | undefined;
  #advancing = false;

  /** @param most how many run at a time; @param run begins one, and calls `done` when it has ended */
  constructor(most: number, run: (item: T) => void) {
    this.#most = most;
    this.#run = run;
  }

  /** Holds all that come until this resolves. */
  hold(until: Promise<void>): void {
    if (this.#held === until) return;
    this.#held = until;
    void until.then(() => {
      if (this.#held !== until) return;
      this.#held = undefined;
      this.#advance();
    });
  }

  /** Whether what enters now is run at once. */
  get isClear(): boolean {
    return !this.#held && this.#running < this.#most && this.#head === this.#items.length;
  }

  enter(item: T): void {
    this.#items.push(item);
    this.#advance();
  }

  /** One of those that run has ended. */
  done(): void {
    this.#running--;
    this.#advance();
  }

  #advance(): void {
    // One that ends at once comes back here.
    if (this.#advancing || this.#held) return;
    this.#advancing = true;
    try {
      while (this.#running < this.#most && this.#head < this.#items.length) {
        const item = this.#items[this.#head]!;
        this.#items[this.#head++] = undefined;
        this.#running++;
        this.#run(item);
      }
    } finally {
      this.#advancing = false;
    }
    if (this.#head === this.#items.length) {
      this.#items.length = 0;
      this.#head = 0;
    } else if (this.#head > COMPACT) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
  }
}
