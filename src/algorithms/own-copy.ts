/** Bytes in memory of their own, which has a fixed place: it can be overwritten, and taken or transferred by whoever gets it. */
export function ownCopy(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.byteLength);
  copy.set(bytes);
  return copy;
}
