/** Attempts in a row that gained nothing, until it is left. */
const MOST_LOST = 8;
const FIRST_PAUSE = 64;
const LONGEST_PAUSE = 4096;

/**
 * Whether to try a way that is faster for some uses and slower for others: programs do the same again and again. After
 * attempts in vain, calls pass by, more of them every time; the next attempt shows whether that has changed.
 */
export class Worth {
  #lost = 0;
  #pause = FIRST_PAUSE;
  #passing = 0;

  /** Whether to try it now. */
  isWorthIt(): boolean {
    if (this.#passing === 0) return true;
    this.#passing--;
    return false;
  }

  won(): void {
    this.#lost = 0;
    this.#pause = FIRST_PAUSE;
  }

  lost(): void {
    if (++this.#lost < MOST_LOST) return;
    this.#passing = this.#pause;
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
  }
}
