/** How long a queue may stand still with requests in it before its doorbell is rung again, and before a reset. */
const RING_MS = 1000;
const RESET_MS = 10_000;

/** Watches whether a queue gets on with its requests. */
export class StallWatch {
  #completed = -1;
  #since = 0;
  #rung = false;

  /**
   * @param completed how many requests the queue has completed so far; @param inFlight how many it has
   * @param now in milliseconds
   */
  look(completed: number, inFlight: number, now: number): 'wait' | 'ring' | 'reset' {
    if (completed !== this.#completed || inFlight === 0) {
      this.#completed = completed;
      this.#since = now;
      this.#rung = false;
      return 'wait';
    }
    const stillMs = now - this.#since;
    if (stillMs > RESET_MS) {
      this.#since = now;
      return 'reset';
    }
    if (stillMs <= RING_MS || this.#rung) return 'wait';
    this.#rung = true;
    return 'ring';
  }
}
