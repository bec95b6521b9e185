import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

export interface Result {
  code: number | null;
  stdout: Buffer;
  stderr: string;
}

export interface RunOptions {
  input?: Uint8Array;
  cwd?: string;
  env?: Record<string, string>;
  /** A descriptor instead of a pipe for the standard output. */
  stdout?: number;
}

/** Runs `warpdrive` to its end (a signal that ends it is an error), with nothing on its standard input unless something is given. */
export function warpdrive(args: string[], options: RunOptions = {}): Result {
  return run(process.execPath, [MAIN, ...args], options);
}

export function run(command: string, args: string[], options: RunOptions = {}): Result {
  const done = spawnSync(command, args, {
    input: options.input ?? '',
    maxBuffer: 2 ** 30,
    stdio: ['pipe', options.stdout ?? 'pipe', 'pipe'],
    ...(options.cwd ? { cwd: options.cwd } : {}),
    env: { ...process.env, ...options.env },
  });
  // A command that stops early has not read all that it was given.
  if (done.error && (done.error as NodeJS.ErrnoException).code !== 'EPIPE') throw done.error;
  const stderr = done.stderr.toString();
  if (done.signal) throw new Error(`${command} ${args.join(' ')} died of ${done.signal}: ${stderr}`);
  return { code: done.status, stdout: done.stdout ?? Buffer.alloc(0), stderr };
}

/** Starts `warpdrive` and lets it run. */
export function startWarpdrive(args: string[], stdio: ('pipe' | 'ignore')[] = []): ChildProcess {
  return spawn(process.execPath, [MAIN, ...args], {
    stdio: [stdio[0] ?? 'ignore', stdio[1] ?? 'pipe', stdio[2] ?? 'pipe'],
  });
}

export function ended(child: ChildProcess): Promise<{ code: number | null; signal: string | null }> {
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
}

export function hasCommand(name: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${name}`]).status === 0;
}

/** A folder that is gone after the test file has run. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'warpdrive-cli-test-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Text that compresses as text does; the same for the same seed. */
export function sampleText(bytes: number, seed = 1): Buffer {
  const words = [
    'queue',
    'doorbell',
    'engine',
    'token',
    'region',
    'window',
    'device',
    'client',
    'memory',
    '\n',
  ];
  const out = Buffer.alloc(bytes);
  let state = seed;
  let at = 0;
  while (at < bytes) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    const word = `${words[(state >>> 16) % words.length]}${state % 97} `;
    at += out.write(word, at, 'latin1');
  }
  return out;
}

/** Bytes that do not compress. */
export function noise(bytes: number, seed = 7): Buffer {
  const out = Buffer.alloc(bytes);
  let state = seed;
  for (let at = 0; at < bytes; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    out[at] = state & 0xff;
  }
  return out;
}

export function writeSample(path: string, bytes: number, seed = 1): Buffer {
  const text = sampleText(bytes, seed);
  writeFileSync(path, text);
  return text;
}

/** Names in a folder, hidden ones, too. */
export function listing(folder: string): string[] {
  return readdirSync(folder).sort();
}

/** Waits until a temporary output has grown to some bytes: the work is in its middle. */
export async function untilWriting(folder: string, bytes: number): Promise<void> {
  for (let tries = 0; tries < 2000; tries++) {
    const partial = listing(folder).find((name) => name.endsWith('.tmp'));
    if (partial && existsSync(join(folder, partial)) && statSync(join(folder, partial)).size >= bytes) return;
    await sleep(5);
  }
  throw new Error('no temporary output appeared');
}
