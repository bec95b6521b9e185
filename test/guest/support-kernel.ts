import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type DmarFault, EXPECT_FAULTS, parseFault } from './harness/kernel-log.js';

/** How long a fault may take to show in the log. */
const FAULT_LIMIT_MS = 5000;

function run(command: string, args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 64 << 20 });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** Loads a module of the kernel and what it needs. */
export function loadModule(name: string): void {
  run('modprobe', [name]);
}

/** Takes a module of the kernel away again. */
export function unloadModule(name: string): void {
  run('modprobe', ['-r', name]);
}

/** Everything the kernel has said. */
export function kernelLog(): string {
  return run('dmesg', []);
}

/** Writes a line into the kernel's log, as an error, so that the console has it, too. */
export function mark(text: string): void {
  writeFileSync('/dev/kmsg', `<3>warpdrive-test: ${text}\n`);
}

/**
 * Runs something that must make the IOMMU stop a DMA, and returns the faults that the kernel tells of. The kernel tells
 * of ten in five seconds at most. Any fault outside of this fails the whole run.
 */
export async function expectDmarFaults(work: () => void | Promise<void>): Promise<DmarFault[]> {
  writeFileSync('/dev/kmsg', `<3>${EXPECT_FAULTS.begin}\n`);
  try {
    await work();
    for (let waited = 0; ; waited += 50) {
      const log = kernelLog();
      const lines = log.slice(log.lastIndexOf(EXPECT_FAULTS.begin)).split('\n');
      const faults = lines.map(parseFault).filter((fault) => fault !== undefined);
      if (faults.length > 0) return faults;
      if (waited >= FAULT_LIMIT_MS) throw new Error('the kernel tells of no DMAR fault');
      await sleep(50);
    }
  } finally {
    writeFileSync('/dev/kmsg', `<3>${EXPECT_FAULTS.end}\n`);
  }
}
