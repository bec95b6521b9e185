import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CpioWriter } from './cpio.js';
import { aliasFile, dependencyFile, findModules } from './kernel-modules.js';
import type { Kernel } from './kernel-package.js';

export const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
/** Where the project lies in the guest. */
export const GUEST_ROOT = '/warpdrive/';

/** Counts system calls for benchmarks, where this machine has it. */
const STRACE = '/usr/bin/strace';

/** What of `node_modules` runs there: the dependencies, and what suites use. */
const PACKAGES = ['koffi', '@koromix', '@logtape', 'fast-check', 'pure-rand'];
/** What does not: types, maps, documents. */
const LEFT_OUT = /\.(map|md|d\.[cm]?ts|tsbuildinfo)$/;
/** And of packages: binaries for other systems, and what is only for their makers. */
const LEFT_OUT_OF_PACKAGES = /(^|\/)(musl_\w+|koffi\/(vendor|doc))\//;

/** Writes the guest's first file system: busybox, a Node, modules, and the project as it is built. */
export function buildImage(
  path: string,
  kernel: Kernel,
  node: string,
  settings: Record<string, string>,
): void {
  const archive = new CpioWriter(path);
  archive.characterDevice('dev/console', 5, 1);
  for (const folder of ['proc', 'sys', 'tmp', 'run']) archive.folder(folder);
  archive.copy('init', join(ROOT, 'test/guest/harness/init.sh'), 0o755);
  archive.file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n');
  archive.file('etc/group', 'root:x:0:\nnogroup:x:65534:\n');
  addBusybox(archive, kernel.busybox);
  addModules(archive, kernel);
  addProgram(archive, 'bin/node', realpathSync(node));
  if (existsSync(STRACE)) addProgram(archive, 'bin/strace', STRACE);
  const project = GUEST_ROOT.slice(1, -1);
  archive.copy(`${project}/package.json`, join(ROOT, 'package.json'));
  archive.copy(`${project}/docs/drivers.md`, join(ROOT, 'docs/drivers.md'));
  addFolder(archive, `${project}/dist`, join(ROOT, 'dist'));
  for (const name of PACKAGES) {
    addFolder(archive, `${project}/node_modules/${name}`, join(ROOT, 'node_modules', name));
  }
  const lines = Object.entries(settings).map(([name, value]) => `export ${name}='${value}'\n`);
  archive.file(`${project}/guest-settings.sh`, lines.join(''));
  archive.close();
}

function addBusybox(archive: CpioWriter, busybox: string): void {
  archive.copy('bin/busybox', busybox, 0o755);
  const { stdout } = spawnSync(busybox, ['--list'], { encoding: 'utf8' });
  for (const applet of stdout.trim().split('\n')) {
    if (applet !== 'busybox') archive.link(`bin/${applet}`, 'busybox');
  }
  // Where the kernel looks for it.
  archive.link('sbin/modprobe', '../bin/busybox');
}

function addModules(archive: CpioWriter, { modules: source, release }: Kernel): void {
  const target = `lib/modules/${release}`;
  const modules = findModules(source);
  for (const { path } of modules) archive.copy(`${target}/${path}`, join(source, path));
  archive.file(`${target}/modules.dep`, dependencyFile(modules));
  archive.file(`${target}/modules.alias`, aliasFile(modules));
  archive.copy(`${target}/modules.builtin`, join(source, 'modules.builtin'));
}

/** A program of this machine, with the libraries that it loads. */
function addProgram(archive: CpioWriter, target: string, program: string): void {
  archive.copy(target, program, 0o755);
  const { stdout } = spawnSync('ldd', [program], { encoding: 'utf8' });
  for (const [, library] of stdout.matchAll(/(\/\S+) \(0x/g)) {
    archive.copy(library!.slice(1), library!, 0o755);
  }
}

function addFolder(archive: CpioWriter, target: string, source: string): void {
  if (!existsSync(source)) return;
  for (const name of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    const file = join(source, name);
    const leftOut =
      LEFT_OUT.test(name) || (source.includes('node_modules') && LEFT_OUT_OF_PACKAGES.test(file));
    if (!leftOut && statSync(file).isFile()) archive.copy(`${target}/${name}`, file);
  }
}
