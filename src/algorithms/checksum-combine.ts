/*
 * Checksums of a whole from those of its parts, so that parts can be worked on at the same time.
 * CRC-32: ISO 3309, polynomial 0xedb88320 reflected, as in RFC 1952. Adler-32: RFC 1950.
 */

const POLYNOMIAL = 0xedb88320;

/** Product of two polynomials over GF(2), modulo the CRC's; the highest power is the lowest bit. */
function multiply(a: number, b: number): number {
  let product = 0;
  let factor = b;
  for (let bit = 0x80000000; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= factor;
    factor = (factor & 1) !== 0 ? (factor >>> 1) ^ POLYNOMIAL : factor >>> 1;
  }
  return product >>> 0;
}

/** x to the power 2^n, for n = 0 to 63. */
const powers: number[] = [0x40000000];
for (let n = 1; n < 64; n++) powers.push(multiply(powers[n - 1]!, powers[n - 1]!));

/** CRC-32 of A followed by B, from CRC-32 of A, of B, and the bytes in B. */
export function combineCrc32(crcA: number, crcB: number, lengthB: number): number {
  // Appending n bytes multiplies by x^(8n): one factor for each bit set in n.
  let shift = 0x80000000;
  let rest = lengthB;
  for (let n = 3; rest > 0; n++) {
    if (rest % 2 === 1) shift = multiply(powers[n]!, shift);
    rest = Math.floor(rest / 2);
  }
  return (multiply(shift, crcA) ^ crcB) >>> 0;
}

const ADLER_MODULUS = 65521;

/** Adler-32 of A followed by B, from Adler-32 of A, of B, and the bytes in B. */
export function combineAdler32(adlerA: number, adlerB: number, lengthB: number): number {
  const lowA = adlerA & 0xffff;
  const low = (lowA + (adlerB & 0xffff) + ADLER_MODULUS - 1) % ADLER_MODULUS;
  const carried = ((lengthB % ADLER_MODULUS) * (lowA + ADLER_MODULUS - 1)) % ADLER_MODULUS;
  const high = ((adlerA >>> 16) + (adlerB >>> 16) + carried) % ADLER_MODULUS;
  return ((high << 16) | low) >>> 0;
}
