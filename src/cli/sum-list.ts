/*
 * Lists of digests and checksums, as sha256sum and its kin write and read them (GNU coreutils, digest.c). Names are bytes
 * there and need not be text, so a name here is a string with one character for each byte (latin1).
 */

/** What the lists of one algorithm look like. */
export interface SumKind {
  /** What a BSD-style line begins with. */
  tag: string;
  /** Hexadecimal digits of one digest. */
  digits: number;
}

export interface SumLineOptions {
  /** `TAG (NAME) = HEX`. */
  tag: boolean;
  /** Marks the name with `*`, which says that the file was read as binary. */
  binary: boolean;
  /** Ends the line with a NUL, and escapes nothing. */
  zero: boolean;
}

export interface SumEntry {
  /** In lower case. */
  hex: string;
  name: string;
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r' };
const UNESCAPES: Readonly<Record<string, string>> = { '\\': '\\', n: '\n', r: '\r' };
const STANDARD = /^[ \t]*(\\?)([0-9a-f]+)[ \t](.+)$/is;
/** The name ends with the last parenthesis. */
const TAGGED = /^[ \t]*(\\?)([\w/-]+?) ?\((.*)\)[ \t]*=[ \t]*([0-9a-f]+)$/is;

/** A name of the command line, byte for byte. */
export function byteName(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** A name as the system calls take it. */
export function pathOf(name: string): Buffer {
  return Buffer.from(name, 'latin1');
}

/** A name for a message: as text, with control characters made visible. */
export function shownName(name: string): string {
  const text = pathOf(name).toString();
  return text.replace(/\p{Cc}/gu, (each) => JSON.stringify(each).slice(1, -1));
}

/** A name with what would break its line escaped. */
export function escapeName(name: string): string {
  return name.replace(/[\\\n\r]/g, (each) => ESCAPES[each]!);
}

/** One line of a list, with its end. A backslash before it says that the name is escaped. */
export function formatSum(kind: SumKind, { hex, name }: SumEntry, options: SumLineOptions): Buffer {
  const shown = options.zero ? name : escapeName(name);
  const text = options.tag
    ? `${kind.tag} (${shown}) = ${hex}`
    : `${hex} ${options.binary ? '*' : ' '}${shown}`;
  return Buffer.from(`${shown === name ? '' : '\\'}${text}${options.zero ? '\0' : '\n'}`, 'latin1');
}

/** Reads the lines of one list. */
export class SumReader {
  readonly #kind: SumKind;
  /**
   * Whether names follow one space, as old BSD programs wrote them. The first line that tells decides for the whole list:
   * else a name that begins with a space could be taken for another one.
   */
  #oneSpace: boolean | undefined;

  constructor(kind: SumKind) {
    this.#kind = kind;
  }

  /** Takes a line apart (without its end); undefined for one that is not of this kind. */
  read(line: string): SumEntry | undefined {
    return this.#tagged(line) ?? this.#standard(line);
  }

  #tagged(line: string): SumEntry | undefined {
    const [, escaped, tag, rest, hex] = TAGGED.exec(line) ?? [];
    if (tag !== this.#kind.tag) return undefined;
    return this.#entry(hex!, rest!, escaped === '\\');
  }

  #standard(line: string): SumEntry | undefined {
    const [, escaped, hex, rest] = STANDARD.exec(line) ?? [];
    if (rest === undefined || hex!.length !== this.#kind.digits) return undefined;
    const isMarked = rest.length > 1 && (rest[0] === ' ' || rest[0] === '*');
    if (!isMarked && this.#oneSpace === false) return undefined;
    this.#oneSpace ??= !isMarked;
    return this.#entry(hex!, this.#oneSpace ? rest : rest.slice(1), escaped === '\\');
  }

  #entry(hex: string, name: string, isEscaped: boolean): SumEntry | undefined {
    if (hex.length !== this.#kind.digits) return undefined;
    const plain = isEscaped ? unescapeName(name) : name;
    // No file has a name of another kind.
    if (plain === undefined || plain === '' || plain.includes('\0')) return undefined;
    return { hex: hex.toLowerCase(), name: plain };
  }
}

/** The name that an escaped one stands for; undefined where a backslash is followed by something else. */
function unescapeName(name: string): string | undefined {
  if (!/^(?:[^\\]|\\[\\nr])*$/s.test(name)) return undefined;
  return name.replace(/\\(.)/g, (_, each: string) => UNESCAPES[each]!);
}
