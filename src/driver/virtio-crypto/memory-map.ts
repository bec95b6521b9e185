/** Memory that the device reaches, as both sides know it: turns the addresses of requests into our own. */
export class MemoryMap {
  #iovas = new Float64Array(0);
  #ends = new Float64Array(0);
  #addresses = new Float64Array(0);
  /** Where the last address was found: the next is there, too, most of the time. */
  #last = 0;

  add(iova: number, length: number, address: number): void {
    this.#iovas = Float64Array.of(...this.#iovas, iova);
    this.#ends = Float64Array.of(...this.#ends, iova + length);
    this.#addresses = Float64Array.of(...this.#addresses, address);
  }

  remove(iova: number): void {
    const at = this.#iovas.indexOf(iova);
    const others = (_: number, index: number): boolean => index !== at;
    this.#iovas = this.#iovas.filter(others);
    this.#ends = this.#ends.filter(others);
    this.#addresses = this.#addresses.filter(others);
    this.#last = 0;
  }

  /** This process's address of a range that lies in one piece of memory; 0 where it does not. */
  find(iova: number, length: number): number {
    const iovas = this.#iovas;
    let at = this.#last;
    if (!this.#holds(at, iova, length)) {
      at = 0;
      while (at < iovas.length && !this.#holds(at, iova, length)) at++;
      if (at === iovas.length) return 0;
      this.#last = at;
    }
    return this.#addresses[at]! + (iova - iovas[at]!);
  }

  #holds(at: number, iova: number, length: number): boolean {
    return iova >= this.#iovas[at]! && iova + length <= this.#ends[at]!;
  }
}
