/** Bytes on their way out, in order. */
export class Ready {
  #parts: Buffer[] = [];
  #at = 0;
  /** How many there are. */
  length = 0;

  add(part: Buffer): void {
    if (part.length === 0) return;
    this.#parts.push(part);
    this.length += part.length;
  }

  /** Takes as many as there is room for; returns how many. */
  copy(target: Uint8Array, start: number, room: number): number {
    let count = 0;
    while (count < room && this.#parts.length > 0) {
      const part = this.#parts[0]!;
      const end = Math.min(part.length, this.#at + room - count);
      target.set(this.#at === 0 && end === part.length ? part : part.subarray(this.#at, end), start + count);
      count += end - this.#at;
      this.#at = end;
      if (end < part.length) break;
      this.#parts.shift();
      this.#at = 0;
    }
    this.length -= count;
    return count;
  }

  clear(): void {
    this.#parts = [];
    this.#at = 0;
    this.length = 0;
  }
}
