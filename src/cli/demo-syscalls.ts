import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const CHILD = fileURLToPath(new URL('./demo-syscalls-child.js', import.meta.url));
const REQUESTS = 2000;
const TIMEOUT_MS = 10_000;

/** System calls of one request; undefined where they could not be counted. */
export interface SyscallCounts {
  polled: number | undefined;
  zlib: number | undefined;
}

/** Whether strace is here, and may trace. */
export function canTrace(): boolean {
  return spawnSync('strace', ['-f', '-c', '-o', '/dev/null', 'true']).status === 0;
}

/**
 * Counts the system calls of all threads of a process that sends N requests, and of one that sends 2 N: what the second
 * makes more of is what N requests cost, without what starting costs.
 */
export async function countSyscalls(): Promise<SyscallCounts> {
  const folder = mkdtempSync(join(tmpdir(), 'warpdrive-demo-'));
  try {
    return { polled: await perRequest('polled', folder), zlib: await perRequest('zlib', folder) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function perRequest(kind: string, folder: string): Promise<number | undefined> {
  try {
    // Not at the same time: a polling client and its engine want a processor each.
    const once = await trace(kind, REQUESTS, join(folder, `${kind}-1`));
    const twice = await trace(kind, 2 * REQUESTS, join(folder, `${kind}-2`));
    return Math.max(0, (twice - once) / REQUESTS);
  } catch {
    return undefined;
  }
}

async function trace(kind: string, count: number, summary: string): Promise<number> {
  const child = [process.execPath, CHILD, kind, String(count)];
  await promisify(execFile)('strace', ['-f', '-c', '-o', summary, ...child], { timeout: TIMEOUT_MS });
  // The last line of strace's summary: "100.00  0.123456  12  3456  78 total".
  const total = readFileSync(summary, 'utf8')
    .split('\n')
    .findLast((line) => line.endsWith(' total'));
  return Number(total!.trim().split(/\s+/)[3]);
}
