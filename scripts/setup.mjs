// Makes a fresh clone ready: npm packages, faster engines where this machine lets us install them, and the build.
// Plain JavaScript without dependencies, since it runs before anything is there.

import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stamp = join(root, '.setup');
/** How long a failed installation of Debian packages is not tried again. */
const RETRY_MS = 24 * 3600 * 1000;

/** Debian packages by what they are for; `present` finds out whether this machine has it already. */
const ENGINES = [
  {
    package: 'libisal2',
    present: () => hasLibrary('libisal.so.2'),
    gain: 'ISA-L: levels 1 to 3, 4 to 8 times as fast',
  },
  {
    package: 'libdeflate0',
    present: () => hasLibrary('libdeflate.so.0'),
    gain: 'libdeflate: levels 4 to 12, 1.5 times as fast',
  },
  { package: 'libzstd1', present: () => hasLibrary('libzstd.so.1'), gain: 'zstd, where Node has none' },
  { package: 'liblz4-1', present: () => hasLibrary('liblz4.so.1'), gain: 'LZ4: fast, and levels 2 to 12' },
  {
    package: 'libxxhash0',
    present: () => hasLibrary('libxxhash.so.0'),
    gain: 'the checksums xxh64 and xxh3',
  },
  {
    package: 'libipsec-mb1',
    present: () => process.arch !== 'x64' || hasLibrary('libIPSec_MB.so.1'),
    gain: 'AES-GCM: up to 4 times as fast on processors with vector AES',
  },
];
/** What the demo shows more with. */
const DEMO = [{ package: 'strace', present: () => hasProgram('strace'), gain: 'counting system calls' }];
const TOOLS = [
  { package: 'gzip', present: () => hasProgram('gzip'), gain: 'the gzip program, as an independent opinion' },
  { package: 'zstd', present: () => hasProgram('zstd'), gain: 'the zstd program, as an independent opinion' },
  { package: 'lz4', present: () => hasProgram('lz4'), gain: 'the lz4 program, as an independent opinion' },
  {
    package: 'brotli',
    present: () => hasProgram('brotli'),
    gain: 'the brotli program, as an independent opinion',
  },
  { package: 'pigz', present: () => hasProgram('pigz'), gain: 'pigz, to compare with' },
  { package: 'gcc', present: () => hasProgram('cc'), gain: 'a C compiler, to check layouts against headers' },
  { package: 'libc6-dev', present: () => existsSync('/usr/include/stdio.h'), gain: 'C headers' },
  {
    package: 'linux-libc-dev',
    present: () => existsSync('/usr/include/linux/vfio.h'),
    gain: 'kernel headers',
  },
  {
    package: 'libisal-dev',
    present: () => existsSync('/usr/include/isa-l/igzip_lib.h'),
    gain: "ISA-L's header",
  },
  {
    package: 'systemd',
    present: () => hasProgram('systemd-socket-activate'),
    gain: 'systemd-socket-activate, to try socket activation',
  },
  { package: 'util-linux', present: () => hasProgram('setpriv'), gain: 'setpriv, to drop capabilities' },
  {
    package: 'qemu-system-x86',
    present: () => process.arch !== 'x64' || hasProgram('qemu-system-x86_64'),
    gain: 'QEMU: a guest with an IOMMU and devices, for the tests of hardware',
  },
  { package: 'zlib1g-dev', present: () => existsSync('/usr/include/zlib.h'), gain: "zlib's header" },
];

/** @param {{ tools?: boolean }} [options] `tools`: what tests and benchmarks want, too */
export function setup({ tools = false } = {}) {
  checkNode();
  installNpmPackages();
  installDebianPackages([...ENGINES, ...DEMO, ...(tools ? TOOLS : [])]);
  build();
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  fail(`Node ${process.versions.node} is too old: WarpDrive needs 20.19 or later`);
}

function installNpmPackages() {
  const lock = join(root, 'package-lock.json');
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
  say('installing npm packages');
  const result = spawnSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (result.status !== 0) fail('npm install failed');
}

function installDebianPackages(wanted) {
  const missing = wanted.filter((each) => !each.present());
  if (missing.length === 0) return;
  const names = missing.map((each) => each.package);
  const tell = (why) => {
    say(`not installed (${why}); everything works without:`);
    for (const each of missing) say(`  ${each.package.padEnd(14)} ${each.gain}`);
  };
  if (process.env.WARPDRIVE_NO_APT) return tell('WARPDRIVE_NO_APT is set');
  if (process.getuid?.() !== 0 || !hasProgram('apt-get')) {
    return tell(`run as root: apt-get install ${names.join(' ')}`);
  }
  if (triedLately(names)) return tell('tried today, and failed');
  say(`installing Debian packages: ${names.join(' ')}`);
  const install = () =>
    apt('install', '-y', '--no-install-recommends', ...names) === 0 && wanted.every((each) => each.present());
  if (install() || (apt('update') === 0 && install())) return;
  writeFileSync(stamp, JSON.stringify({ names, at: Date.now() }));
  tell('apt-get could not get them');
}

function triedLately(names) {
  try {
    const { names: tried, at } = JSON.parse(readFileSync(stamp, 'utf8'));
    return Date.now() - at < RETRY_MS && names.every((name) => tried.includes(name));
  } catch {
    return false;
  }
}

function apt(...args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return spawnSync('apt-get', ['-qq', ...args], { stdio: 'ignore', env, timeout: 300_000 }).status;
}

function build() {
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const result = spawnSync(process.execPath, [compiler, '-p', root], { cwd: root, stdio: 'inherit' });
  if (result.status !== 0) fail('the build failed');
  const main = join(root, 'dist', 'src', 'cli', 'main.js');
  chmodSync(main, 0o755);
}

function hasProgram(name) {
  return (process.env.PATH ?? '')
    .split(':')
    .some((folder) => folder !== '' && existsSync(join(folder, name)));
}

function hasLibrary(soname) {
  for (const tool of ['/sbin/ldconfig', '/usr/sbin/ldconfig']) {
    if (!existsSync(tool)) continue;
    const { stdout } = spawnSync(tool, ['-p'], { encoding: 'utf8' });
    return (stdout ?? '').includes(soname);
  }
  return ['/usr/lib', '/usr/lib64', '/lib'].some((folder) => existsSync(join(folder, soname)));
}

function say(message) {
  process.stderr.write(`setup: ${message}\n`);
}

function fail(message) {
  say(message);
  process.exit(1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setup({ tools: process.argv.includes('--tools') });
