import type { Accelerator } from '../accelerator/accelerator.js';
import { open } from '../accelerator/open.js';
import { DeviceLostError } from '../errors.js';

/** How long after a device could not be had, or went away, until another is looked for. */
const RETRY_MS = 1000;
/** How long opening is worth waiting for: a device that answers at all is there much sooner. */
const WAIT_MS = 5000;

/**
 * The accelerator that all of this thread's calls share: WARPDRIVE_DEVICE, or what `open()` finds. It is opened when it
 * is first wanted, and keeps the process alive only while somebody waits for it.
 */
export class SharedAccelerator {
  #current: Accelerator | undefined;
  #opening = false;
  #retryAt = 0;
  #decided: Promise<void> = Promise.resolve();
  /** Runs while opening is worth waiting for, and keeps the process alive once somebody waits. */
  #waiting: NodeJS.Timeout | undefined;

  /** The accelerator, if it is open. Otherwise opening it begins. */
  get current(): Accelerator | undefined {
    if (this.#current === undefined) this.#start();
    return this.#current;
  }

  /** Whether it is being opened, and worth waiting for. */
  get isOpening(): boolean {
    return this.#waiting !== undefined;
  }

  /** Resolves when opening, which is under way, has ended one way or the other, or is worth waiting for no longer. */
  decided(): Promise<void> {
    this.#waiting?.ref();
    return this.#decided;
  }

  /** Tells of an error of a request: an accelerator whose device has gone is given up. */
  noteError(accelerator: Accelerator, error: unknown): void {
    if (!(error instanceof DeviceLostError) || accelerator !== this.#current) return;
    this.#current = undefined;
    this.#retryAt = performance.now() + RETRY_MS;
    accelerator.close().catch(() => {});
  }

  #start(): void {
    if (this.#opening || performance.now() < this.#retryAt) return;
    this.#opening = true;
    this.#decided = new Promise((resolve) => {
      const decide = (): void => {
        clearTimeout(this.#waiting);
        this.#waiting = undefined;
        resolve();
      };
      this.#waiting = setTimeout(decide, WAIT_MS).unref();
      void this.#open().then(decide);
    });
  }

  async #open(): Promise<void> {
    try {
      this.#current = await open();
    } catch {
      // There is none; calls go elsewhere, and say so in their counters.
      this.#retryAt = performance.now() + RETRY_MS;
    }
    this.#opening = false;
  }
}

/** This thread's. */
export const shared = new SharedAccelerator();
