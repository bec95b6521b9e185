import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';

/** The bits of a mode that say what an entry is (cpio(5), "newc"). */
const TYPE = { directory: 0o040000, file: 0o100000, link: 0o120000, characterDevice: 0o020000 } as const;

/** Writes an archive in cpio's "newc" format, which the kernel unpacks as its first file system. */
export class CpioWriter {
  readonly #fd: number;
  readonly #folders = new Set<string>();
  #entries = 0;

  constructor(path: string) {
    this.#fd = openSync(path, 'w');
  }

  /** Adds a file, and the folders that lead to it. `path` has no leading slash. */
  file(path: string, content: Buffer | string, mode = 0o644): void {
    this.#parents(path);
    this.#entry(path, TYPE.file | mode, Buffer.from(content as Buffer));
  }

  /** Adds a file of this machine. */
  copy(path: string, source: string, mode = 0o644): void {
    this.file(path, readFileSync(source), mode);
  }

  link(path: string, target: string): void {
    this.#parents(path);
    this.#entry(path, TYPE.link | 0o777, Buffer.from(target));
  }

  characterDevice(path: string, major: number, minor: number): void {
    this.#parents(path);
    this.#entry(path, TYPE.characterDevice | 0o600, Buffer.alloc(0), major, minor);
  }

  folder(path: string): void {
    if (path === '' || this.#folders.has(path)) return;
    this.#folders.add(path);
    this.#parents(path);
    this.#entry(path, TYPE.directory | 0o755, Buffer.alloc(0));
  }

  close(): void {
    this.#entry('TRAILER!!!', 0, Buffer.alloc(0));
    closeSync(this.#fd);
  }

  #parents(path: string): void {
    const slash = path.lastIndexOf('/');
    if (slash > 0) this.folder(path.slice(0, slash));
  }

  #entry(path: string, mode: number, content: Buffer, major = 0, minor = 0): void {
    const name = Buffer.from(`${path}\0`);
    // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), length of the name, checksum
    const fields = [++this.#entries, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, name.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
    this.#write(padded(Buffer.concat([Buffer.from(header), name])));
    this.#write(padded(content));
  }

  #write(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
  }
}

function padded(bytes: Buffer): Buffer {
  const missing = -bytes.length & 3;
  return missing === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(missing)]);
}
