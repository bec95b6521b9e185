/** Encodings of a result that bytes can be turned into one part after the other, by the names that node:crypto takes. */
export type TextEncoding = 'hex' | 'base64' | 'base64url' | 'latin1';

/** How a digest is wanted: undefined as a buffer, null in a way that is better left to node:crypto. */
export function digestEncoding(encoding: unknown): TextEncoding | undefined | null {
  switch (encoding) {
    case undefined:
    case null:
    case '':
    case 'buffer':
      return undefined;
    case 'hex':
    case 'base64':
    case 'base64url':
    case 'latin1':
      return encoding;
    case 'binary':
      return 'latin1';
    default:
      return null;
  }
}
