/** Bytes as Node's own functions take them, but for text; undefined for what they refuse. */
export function bytesOf(given: unknown): Uint8Array | undefined {
  if (ArrayBuffer.isView(given)) {
    return given instanceof Uint8Array
      ? given
      : new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
  }
  if (given instanceof ArrayBuffer || given instanceof SharedArrayBuffer) return new Uint8Array(given);
  return undefined;
}
