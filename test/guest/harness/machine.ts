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
      NODE_V8_COVERAGE: process.env['NODE_V8_COVERAGE'] ? GUEST_COVERAGE : '',
    });
    const hung = await boot(kernel, folder, options.shell ?? false);
    const console = options.shell ? '' : readFileSync(file('console'), 'utf8');
    const report = readReport(readFileSync(file('report'), 'utf8'));
    const found = troubles(report.log ?? console);
    if (hung) found.push(`the guest was not done after ${LIMIT_MS / 1000} seconds`);
    else if (!report.ended) found.push('the guest stopped before its end');
    return { report, console, troubles: found, folder: options.keep ? folder : undefined };
  } finally {
    if (!options.keep) rmSync(folder, { recursive: true, force: true });
  }
}

function findSuites(words: string[]): string[] {
  const suites = readdirSync(join(ROOT, 'dist/test/guest'))
    .filter((name) => name.endsWith('.guest.js'))
    .filter((name) => words.length === 0 || words.some((word) => name.includes(word)));
  if (suites.length === 0) throw new Error(`no suite of the guest matches ${words.join(' ')}`);
  return suites;
}

/** Runs QEMU to its end; true if it had to be ended. */
function boot(kernel: Kernel, folder: string, shell: boolean): Promise<boolean> {
  const child = spawn(QEMU, qemuArguments(kernel, folder, shell), {
    stdio: shell ? 'inherit' : ['ignore', 'ignore', 'inherit'],
  });
  return new Promise((resolve, reject) => {
    let hung = false;
    const timer = setTimeout(
      () => {
        hung = true;
        child.kill('SIGKILL');
      },
      shell ? 2 ** 31 - 1 : LIMIT_MS,
    );
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      if (code !== 0 && !hung) reject(new Error(`QEMU failed (${code ?? 'killed'}): see above`));
      resolve(hung);
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
    // An oops ends the guest at once, and slow processors are no lockup.
    '-append',
    'console=ttyS0 loglevel=5 intel_iommu=on panic=-1 oops=panic watchdog_thresh=60 mitigations=off',
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
