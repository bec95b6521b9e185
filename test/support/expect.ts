import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { WarpDriveError } from '../../src/index.js';

type ErrorClass<T extends WarpDriveError> = abstract new (...args: never[]) => T;

/** Runs something that must fail with one of our errors: its class, its code, and what its message says. */
export async function fails<T extends WarpDriveError>(
  work: (() => unknown) | Promise<unknown>,
  type: ErrorClass<T>,
  code: string,
  message: RegExp,
): Promise<T> {
  let outcome: unknown;
  try {
    outcome = await (typeof work === 'function' ? work() : work);
  } catch (error) {
    assert.ok(error instanceof type, `${type.name} is wanted, not ${String(error)}`);
    assert.ok(error instanceof WarpDriveError && error instanceof Error);
    assert.equal(error.name, type.name);
    assert.equal(error.code, `ERR_WARPDRIVE_${code}`);
    assert.match(error.message, message);
    return error;
  }
  assert.fail(`${type.name} is wanted, but it gave ${String(outcome).slice(0, 80)}`);
}

/** Settles as `work` does, or fails loudly: for what must not hang. */
export async function settles<T>(work: Promise<T>, what: string, limitMs = 10_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const hung = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`hung: ${what}`)), limitMs);
  });
  try {
    return await Promise.race([work, hung]);
  } finally {
    clearTimeout(timer);
  }
}

/** Everything that a stream yields. */
export async function gather(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}

/** Looks again and again until a condition holds; fails if it never does. */
export async function eventually(condition: () => boolean, what: string, limitMs = 10_000): Promise<void> {
  for (let waited = 0; !condition(); waited += 5) {
    if (waited >= limitMs) assert.fail(`never so: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export interface ChildOutcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

const library = new URL('../../src/index.js', import.meta.url).href;
const memory = new URL('../../src/sys/memory.js', import.meta.url).href;

/**
 * Runs a module in a process of its own. `library` and `memory` in it are the URLs of the library and of sys/memory.
 * A child that hangs is killed, and shows it by its signal.
 */
export function runChild(
  source: string,
  nodeArguments: string[] = [],
  env: Record<string, string> = {},
): Promise<ChildOutcome> {
  const head = `const library = ${JSON.stringify(library)}; const memory = ${JSON.stringify(memory)};`;
  const { promise, settle } = deferred<ChildOutcome>();
  const child = spawn(
    process.execPath,
    [...nodeArguments, '--input-type=module', '--eval', `${head}\n${source}`],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 120_000,
      killSignal: 'SIGKILL',
      env: { ...process.env, ...env },
    },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  child.on('close', (code, signal) => settle({ code, signal, stdout, stderr }));
  return promise;
}

function deferred<T>(): { promise: Promise<T>; settle: (value: T) => void } {
  let settle!: (value: T) => void;
  const promise = new Promise<T>((resolve) => {
    settle = resolve;
  });
  return { promise, settle };
}
