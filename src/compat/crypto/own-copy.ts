/** Bytes in memory of their own, as node:crypto gives them: callers may take or transfer the buffer below. */
export function ownCopy(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}
