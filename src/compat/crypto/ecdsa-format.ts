/*
 * Signatures of ECDSA in two formats: ECDSA-Sig-Value of RFC 3279, 2.2.3, which is a SEQUENCE of two INTEGERs in DER, and
 * that of IEEE P1363: both numbers with as many bytes as the curve's order has, one after the other.
 */

const SEQUENCE = 0x30;
const INTEGER = 0x02;
/** A length of 128 bytes or more is said in another way; neither curve here has signatures that long. */
const MAX_SHORT_LENGTH = 127;

/** Both numbers, of `size` bytes each, from DER; undefined if it is none. */
export function toRaw(der: Uint8Array, size: number): Buffer | undefined {
  if (der[0] !== SEQUENCE || der[1] !== der.length - 2 || der.length - 2 > MAX_SHORT_LENGTH) return undefined;
  const raw = Buffer.alloc(2 * size);
  let at = 2;
  for (const end of [size, 2 * size]) {
    const length = der[at + 1]!;
    const number = der.subarray(at + 2, at + 2 + length);
    // A zero in front says that the number is positive.
    const bytes = number[0] === 0 ? number.subarray(1) : number;
    if (der[at] !== INTEGER || number.length !== length || bytes.length > size) return undefined;
    raw.set(bytes, end - bytes.length);
    at += 2 + length;
  }
  return at === der.length ? raw : undefined;
}

/** DER from both numbers; undefined if they have not as many bytes as they should. */
export function toDer(raw: Uint8Array, size: number): Buffer | undefined {
  if (raw.length !== 2 * size) return undefined;
  const body = [raw.subarray(0, size), raw.subarray(size)].flatMap((number) => {
    const first = number.findIndex((byte) => byte !== 0);
    const bytes = first < 0 ? [0] : [...number.subarray(first)];
    if (bytes[0]! >= 0x80) bytes.unshift(0);
    return [INTEGER, bytes.length, ...bytes];
  });
  return Buffer.from([SEQUENCE, body.length, ...body]);
}
