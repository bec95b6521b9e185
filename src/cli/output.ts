import { randomBytes } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  futimesSync,
  linkSync,
  openSync,
  renameSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, EXIT, errorCode, Failure } from './failure.js';
import { removeOnSignal, removeQuietly } from './interruption.js';
import { Sink } from './sink.js';

const PERMISSION_BITS = 0o777;
const OWNER_BITS = 0o700;
/** What link() says where the file system has no hard links. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

/**
 * An output file. It grows under another name in the same directory and gets its own at the end, whole: nobody ever
 * finds half of it.
 */
export class OutputFile {
  readonly sink: Sink;
  readonly #path: string;
  readonly #temporary: string;
  readonly #fd: number;
  readonly #replace: boolean;
  readonly #forget: () => void;
  #open = true;

  /** @param replace whether a file of that name may be overwritten */
  constructor(path: string, replace: boolean) {
    this.#path = path;
    this.#replace = replace;
    this.#temporary = join(dirname(path), `.warpdrive-${process.pid}-${randomBytes(6).toString('hex')}.tmp`);
    this.#forget = removeOnSignal(this.#temporary);
    try {
      this.#fd = openSync(this.#temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    } catch (error) {
      this.#forget();
      throw new Failure(describe(error), { subject: path, cause: error });
    }
    this.sink = new Sink(this.#fd, path);
  }

  /**
   * Gives the file its name, and what is known of its source: mode, times and, where permitted, owner.
   * @param confidential whether nobody may read it who could not read the source
   */
  commit(like: BigIntStats | undefined, { confidential = false } = {}): void {
    try {
      if (like) this.#describeAs(like, confidential);
      else if (!confidential) fchmodSync(this.#fd, 0o666 & ~process.umask());
      this.#open = false;
      closeSync(this.#fd);
      if (this.#replace) renameSync(this.#temporary, this.#path);
      else this.#link();
    } catch (error) {
      this.#remove();
      if (error instanceof Failure) throw error;
      throw new Failure(describe(error), { subject: this.#path, cause: error });
    }
    this.#forget();
  }

  #describeAs(like: BigIntStats, confidential: boolean): void {
    try {
      fchownSync(this.#fd, Number(like.uid), Number(like.gid));
    } catch {
      // Only root gives files away; gzip does not mind either.
    }
    const { uid, gid } = fstatSync(this.#fd, { bigint: true });
    // The source's group, and what it permits others, mean somebody else where owner or group are not the same.
    const isSame = uid === like.uid && gid === like.gid;
    const mask = confidential && !isSame ? OWNER_BITS : PERMISSION_BITS;
    fchmodSync(this.#fd, Number(like.mode) & mask);
    futimesSync(this.#fd, toSeconds(like.atimeNs), toSeconds(like.mtimeNs));
  }

  /** A link never replaces a file that somebody has made meanwhile. */
  #link(): void {
    try {
      linkSync(this.#temporary, this.#path);
      unlinkSync(this.#temporary);
    } catch (error) {
      if (errorCode(error) === 'EEXIST') throw alreadyExists(this.#path);
      if (!NO_LINKS.includes(errorCode(error) ?? '')) throw error;
      this.#reserveAndRename();
    }
  }

  #reserveAndRename(): void {
    try {
      closeSync(openSync(this.#path, 'wx'));
    } catch (error) {
      throw errorCode(error) === 'EEXIST' ? alreadyExists(this.#path) : error;
    }
    renameSync(this.#temporary, this.#path);
  }

  /** Leaves nothing behind. Waits for a write that is under way. */
  async discard(): Promise<void> {
    await this.sink.settled();
    this.#remove();
  }

  #remove(): void {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
    removeQuietly(this.#temporary);
    this.#forget();
  }
}

export function alreadyExists(path: string): Failure {
  return new Failure('already exists -- not overwritten (-f overwrites)', {
    subject: path,
    exitCode: EXIT.warning,
  });
}

/** Whether an output of this name exists, and is something to be written to rather than replaced: a device, a pipe. */
export function isSpecial(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats !== undefined && !stats.isFile() && !stats.isDirectory();
}

/**
 * Seconds, as futimes takes them. Below a second a Number cannot hold every nanosecond: half a microsecond is added,
 * since it is rounded down to one later.
 */
function toSeconds(nanoseconds: bigint): number {
  const seconds = Number(nanoseconds) / 1e9;
  return nanoseconds % 1_000_000_000n === 0n ? seconds : seconds + 5e-7;
}
