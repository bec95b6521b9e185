import { openSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { onSignal } from './interruption.js';
import { Unavailable } from './machinery.js';

const MAX_BYTES = 4096;

/** What keys send, where the terminal does nothing by itself. */
const KEY = {
  interrupt: 0x03,
  endOfFile: 0x04,
  backspace: 0x08,
  newline: 0x0a,
  enter: 0x0d,
  clearLine: 0x15,
  delete: 0x7f,
} as const;

/**
 * Asks for a passphrase at the process's terminal, wherever its standard input comes from, and shows nothing of it.
 * @throws Failure where there is no terminal, or the line is given up
 */
export async function askPassphrase(question: string): Promise<Buffer> {
  const terminal = openTerminal();
  const line = new HiddenLine();
  terminal.setRawMode(true);
  const restore = (): void => {
    terminal.setRawMode(false);
    process.stderr.write('\n');
  };
  const forget = onSignal(restore);
  try {
    process.stderr.write(question);
    return await new Promise<Buffer>((resolve, reject) => {
      terminal.on('data', (keys: Buffer) => {
        const end = line.add(keys);
        keys.fill(0);
        if (end === 'done') resolve(line.take());
        else if (end === 'interrupted') process.kill(process.pid, 'SIGINT');
        else if (end === 'given up') reject(new Unavailable('no passphrase was given'));
      });
      const gone = (): void => reject(new Unavailable('the terminal has gone'));
      terminal.on('error', gone);
      terminal.on('end', gone);
    });
  } finally {
    line.wipe();
    forget();
    restore();
    terminal.destroy();
  }
}

function openTerminal(): ReadStream {
  try {
    return new ReadStream(openSync('/dev/tty', 'r+'));
  } catch (cause) {
    throw new Unavailable(
      'there is no terminal to ask for a passphrase: use --passphrase-file, --key-file or WARPDRIVE_PASSPHRASE',
      { cause },
    );
  }
}

type LineEnd = 'done' | 'interrupted' | 'given up';

/** A line that is typed without being seen. */
class HiddenLine {
  readonly #bytes = Buffer.allocUnsafeSlow(MAX_BYTES);
  #length = 0;

  /** Takes what was typed; how the line has ended, or undefined where it goes on. */
  add(keys: Uint8Array): LineEnd | undefined {
    for (const key of keys) {
      if (key === KEY.enter || key === KEY.newline) return 'done';
      if (key === KEY.interrupt) return 'interrupted';
      if (key === KEY.endOfFile) return this.#length > 0 ? 'done' : 'given up';
      if (key === KEY.clearLine) this.#length = 0;
      else if (key === KEY.backspace || key === KEY.delete) this.#removeCharacter();
      else if (this.#length < MAX_BYTES) this.#bytes[this.#length++] = key;
      else return 'given up';
    }
    return undefined;
  }

  /** Of UTF-8: the bytes that continue a character go with the one that begins it. */
  #removeCharacter(): void {
    while (this.#length > 0 && (this.#bytes[--this.#length]! & 0xc0) === 0x80);
  }

  /** What was typed, in memory of its own. */
  take(): Buffer {
    const taken = Buffer.allocUnsafeSlow(this.#length);
    this.#bytes.copy(taken, 0, 0, this.#length);
    return taken;
  }

  wipe(): void {
    this.#bytes.fill(0);
  }
}
