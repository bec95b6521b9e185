/** Who has bytes in the scratch memory. */
export interface ScratchUser {
  /** The memory is wanted by somebody else: takes the bytes out, and lets go of it. */
  leave(): void;
}

/**
 * Memory for what an object was given: callers may change their buffers afterwards, and node:crypto's object may have to
 * be given the bytes yet. It belongs to one object at a time, of those that are used one after the other in most programs.
 */
class Scratch {
  readonly buffer = Buffer.allocUnsafeSlow(4 * 1024 + 16);
  /** The same: methods of Buffer take longer. */
  readonly bytes = new Uint8Array(this.buffer.buffer);
  #user: ScratchUser | undefined;
  #view = this.buffer;

  /** Gives the memory to `user`, which has it until it releases it or has to leave. */
  claim(user: ScratchUser): void {
    this.#user?.leave();
    this.#user = user;
  }

  /** The first bytes. Making a view takes longer than hashing what is in it, so that the last one is kept. */
  view(length: number): Buffer {
    if (this.#view.length !== length) this.#view = this.buffer.subarray(0, length);
    return this.#view;
  }

  /** Overwrites what was there. */
  release(length: number): void {
    this.#user = undefined;
    this.bytes.fill(0, 0, length);
  }
}

/** This thread's. */
export const scratch = new Scratch();
