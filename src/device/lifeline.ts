/*
 * How a process ends whose threads are in native code.
 *
 * When a process exits, Node ends its threads wherever they are; one that is just loading the native library then aborts
 * the whole process, since it can no longer run the JavaScript that this takes. So the threads of a device leave by
 * themselves: whoever hosts the device cuts its lifeline, and waits until each has said that it is done with native code.
 *
 *   word 0: set when the host process ends | word 1 + n: thread n is there
 *
 * A thread is entered by whoever starts it, before it looks at word 0: so either the starter sees the cut, or the host
 * sees the thread.
 */

const CUT = 0;
const FIRST_THREAD = 1;
/** Numbers of threads, as a lifeline counts them. */
export const CONTROL_THREAD = 0;
export const engineThread = (engine: number): number => CONTROL_THREAD + 1 + engine;

/** What the host process and all threads of one device share, from its start to its end. */
export class Lifeline {
  readonly #words: Int32Array;

  /** @param buffer of another thread's lifeline, or how many engine threads there may be, but for the one beyond them */
  constructor(buffer: SharedArrayBuffer | number) {
    const isNew = typeof buffer === 'number';
    this.#words = new Int32Array(isNew ? new SharedArrayBuffer((FIRST_THREAD + 2 + buffer) * 4) : buffer);
  }

  get buffer(): SharedArrayBuffer {
    return this.#words.buffer as SharedArrayBuffer;
  }

  /** The host process ends: leave. */
  get isCut(): boolean {
    return Atomics.load(this.#words, CUT) !== 0;
  }

  /** Tells every thread to leave. Those that sleep in the kernel have to be woken besides. */
  cut(): void {
    Atomics.store(this.#words, CUT, 1);
    Atomics.notify(this.#words, CUT);
  }

  /** Enters a thread that is about to be started; false if it must not be any more. */
  enter(thread: number): boolean {
    Atomics.store(this.#words, FIRST_THREAD + thread, 1);
    if (!this.isCut) return true;
    this.leave(thread);
    return false;
  }

  /** The thread has ended, or makes no native call any more. */
  leave(thread: number): void {
    Atomics.store(this.#words, FIRST_THREAD + thread, 0);
    Atomics.notify(this.#words, FIRST_THREAD + thread);
  }

  /** Blocks until a thread has left; false if it has not within `timeoutMs`. */
  waitFor(thread: number, timeoutMs: number): boolean {
    return Atomics.wait(this.#words, FIRST_THREAD + thread, 1, timeoutMs) !== 'timed-out';
  }

  /** Blocks until every engine thread has left, or until the time `end` (of performance.now). */
  waitForEngines(end: number): void {
    const engines = this.#words.length - FIRST_THREAD - 1;
    for (let engine = 0; engine < engines; engine++) {
      this.waitFor(engineThread(engine), Math.max(0, end - performance.now()));
    }
  }

  /** Blocks until something is worth another look: the lifeline is cut, `wake` was called, or so long. */
  pause(timeoutMs: number): void {
    if (!this.isCut) Atomics.wait(this.#words, CUT, 0, timeoutMs);
  }

  /** Ends every `pause`. */
  wake(): void {
    Atomics.notify(this.#words, CUT);
  }
}
