import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { deviceArguments } from './devices.js';
import { buildImage, GUEST_ROOT, ROOT } from './image.js';
import { troubles } from './kernel-log.js';
import { type Kernel, obtainKernel } from './kernel-package.js';
import { type Report, readReport } from './report.js';

const QEMU = 'qemu-system-x86_64';
/** A guest that runs for longer hangs. */
const LIMIT_MS = 540_000;
/**
 * QEMU 7.2 sometimes goes on with code that the kernel has rewritten on another processor, and the kernel then never
 * comes to its first process: nothing of ours has run, and it is started again.
 */
const START_LIMIT_MS = 60_000;
const STARTS = 3;
/** Where the coverage of Node lies in the guest. */
const GUEST_COVERAGE = '/tmp/coverage';

/** What a guest needs of this machine. */
export interface Prerequisites {
  kernel: Kernel;
}

export interface GuestOptions {
  /** Only suites whose file name contains one of these. */
  words?: string[];
  /** These files of `dist/test/guest` instead of the suites. */
  files?: string[];
  /** A shell on this terminal instead of the suites. */
  shell?: boolean;
  /** Leave the guest's files where they are. */
  keep?: boolean;
}

export interface GuestOutcome {
  report: Report;
  /** Whatever the kernel wrote to its console. */
  console: string;
  /** Why the run failed apart from its tests: faults, disasters, hangs. */
  troubles: string[];
  /** The folder of the guest's files, where they were kept. */
  folder: string | undefined;
}

/** What is missing to run a guest here, or what it takes. */
export function prerequisites(): Prerequisites | { missing: string } {
  if (process.arch !== 'x64') return { missing: 'a processor of the kind x64, for the guest' };
  const path = (process.env['PATH'] ?? '').split(delimiter);
  if (!path.some((folder) => existsSync(join(folder, QEMU))))
    return { missing: `${QEMU} (package qemu-system-x86)` };
  const kernel = obtainKernel();
  return kernel
    ? { kernel }
    : { missing: "Debian's package linux-image-amd64, to be had by apt-get download" };
}

/** Boots a guest, runs the suites in it with this Node, and tells what came of it. */
export async function runGuest({ kernel }: Prerequisites, options: GuestOptions = {}): Promise<GuestOutcome> {
  const folder = mkdtempSync(join(tmpdir(), 'warpdrive-guest-'));
  const file = (name: string): string => join(folder, name);
  try {
    const suites = options.files ?? findSuites(options.words ?? []);
    buildImage(file('image.cpio'), kernel, process.execPath, {
      WARPDRIVE_GUEST_FILES: suites.map((name) => `dist/test/guest/${name}`).join(' '),
      WARPDRIVE_GUEST_SHELL: options.shell ? '1' : '',
      WARPDRIVE_TEST_REQUIRE: process.env['WARPDRIVE_TEST_REQUIRE'] ?? '',
      WARPDRIVE_TEST_SEED: process.env['WARPDRIVE_TEST_SEED'] ?? '',
      WARPDRIVE_BENCH: process.env['WARPDRIVE_BENCH'] ?? '',
      NODE_V8_COVERAGE: process.env['NODE_V8_COVERAGE'] ? GUEST_COVERAGE : '',
    });
    const failure = await bootUntilStarted(kernel, folder, options.shell ?? false);
    const console = readIfThere(file('console'));
    const report = readReport(readIfThere(file('report')));
    const found = troubles(report.log ?? console);
    if (failure !== undefined) found.push(failure);
    else if (!report.ended) found.push('the guest stopped before its end');
    return { report, console, troubles: found, folder: options.keep ? folder : undefined };
  } finally {
    if (!options.keep) rmSync(folder, { recursive: true, force: true });
  }
}

/** QEMU makes the files when it starts; the shell's guest has no file for the console. */
function readIfThere(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

function findSuites(words: string[]): string[] {
  const suites = readdirSync(join(ROOT, 'dist/test/guest'))
    .filter((name) => name.endsWith('.guest.js'))
    .filter((name) => words.length === 0 || words.some((word) => name.includes(word)));
  if (suites.length === 0) throw new Error(`no suite of the guest matches ${words.join(' ')}`);
  return suites;
}

const NOT_STARTED = `the guest had not started after ${START_LIMIT_MS / 1000} seconds`;

async function bootUntilStarted(kernel: Kernel, folder: string, shell: boolean): Promise<string | undefined> {
  for (let starts = 1; ; starts++) {
    const failure = await boot(kernel, folder, shell);
    if (failure !== NOT_STARTED || starts === STARTS) return failure;
  }
}

/** Runs QEMU to its end; what went wrong, if anything did. */
function boot(kernel: Kernel, folder: string, shell: boolean): Promise<string | undefined> {
  const child = spawn(QEMU, qemuArguments(kernel, folder, shell), {
    stdio: shell ? 'inherit' : ['ignore', 'ignore', 'inherit'],
  });
  let failure: string | undefined;
  const end = (reason: string): void => {
    failure = reason;
    child.kill('SIGKILL');
  };
  const timers = [
    setTimeout(() => {
      if (readIfThere(join(folder, 'report')) === '') end(NOT_STARTED);
    }, START_LIMIT_MS),
    setTimeout(() => end(`the guest was not done after ${LIMIT_MS / 1000} seconds`), LIMIT_MS),
  ];
  // Whoever sits at a shell has time.
  if (shell) timers.forEach(clearTimeout);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      timers.forEach(clearTimeout);
      if (failure === undefined && code !== 0)
        failure = `QEMU failed (${code ?? signal}), and says why above`;
      resolve(failure);
    });
  });
}

function qemuArguments(kernel: Kernel, folder: string, shell: boolean): string[] {
  const kvm = process.env['WARPDRIVE_GUEST_ACCEL'] === 'kvm';
  const file = (name: string): string => join(folder, name);
  return [
    ...['-accel', kvm ? 'kvm' : 'tcg,thread=multi', '-cpu', kvm ? 'host' : 'max'],
    ...['-machine', kvm ? 'q35,kernel-irqchip=split' : 'q35', '-m', '2048', '-smp', '2'],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', kernel.image, '-initrd', file('image.cpio')],
    // An oops ends the guest at once, and slow processors are no lockup. What Linux tries on a virtio-crypto device fails.
    '-append',
    'console=ttyS0 loglevel=5 intel_iommu=on panic=-1 oops=panic watchdog_thresh=60 mitigations=off cryptomgr.notests',
    ...['-serial', shell ? 'mon:stdio' : `file:${file('console')}`],
    ...['-device', 'intel-iommu,intremap=on,caching-mode=on'],
    // The report, and QEMU's own monitor, as serial ports.
    ...['-device', 'virtio-serial-pci'],
    ...['-chardev', `file,id=report,path=${file('report')}`],
    ...['-device', 'virtserialport,chardev=report,name=report'],
    ...['-chardev', `socket,id=monitor,path=${file('monitor')},server=on,wait=off`],
    ...['-mon', 'chardev=monitor,mode=control'],
    ...['-chardev', `socket,id=to-monitor,path=${file('monitor')}`],
    ...['-device', 'virtserialport,chardev=to-monitor,name=monitor'],
    ...deviceArguments(),
  ];
}

/** The coverage that the guest gathered, with its files by their names here. */
export function hostCoverage(text: string): string {
  return text.replaceAll(`file://${GUEST_ROOT}`, `file://${ROOT}`);
}
