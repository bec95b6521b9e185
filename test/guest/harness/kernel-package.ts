import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** A kernel that is unpacked here, and not installed. */
export interface Kernel {
  release: string;
  image: string;
  /** Its modules: `lib/modules/RELEASE`. */
  modules: string;
  /** A statically linked busybox. */
  busybox: string;
}

/** The generic kernel: the one for clouds lacks virtio_crypto and mdev. */
const META_PACKAGE = 'linux-image-amd64';

function cacheFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'warpdrive', 'guest');
}

function output(command: string, args: string[], cwd?: string): string | undefined {
  const result = spawnSync(command, args, { encoding: 'utf8', cwd, timeout: 300_000 });
  return result.status === 0 ? result.stdout : undefined;
}

/**
 * Debian's generic kernel and its static busybox, downloaded and unpacked into the cache. Where the archive cannot be
 * reached, what the cache has; undefined where it has nothing.
 */
export function obtainKernel(): Kernel | undefined {
  const cache = cacheFolder();
  const wanted = process.env['WARPDRIVE_NO_APT']
    ? undefined
    : (resolve() ?? (update() ? resolve() : undefined));
  if (wanted) {
    const folder = join(cache, `${wanted.name}_${wanted.version.replace(/[^\w.+-]/g, '_')}`);
    const kernel = unpackedKernel(folder) ?? download([wanted.name, 'busybox-static'], cache, folder);
    if (kernel) return kernel;
  }
  const cached = existsSync(cache)
    ? readdirSync(cache).filter((name) => name.startsWith('linux-image-'))
    : [];
  for (const name of cached.sort().reverse()) {
    const kernel = unpackedKernel(join(cache, name));
    if (kernel) return kernel;
  }
  return undefined;
}

/** The package that the newest kernel is in, by the lists that this machine has of the archive. */
function resolve(): { name: string; version: string } | undefined {
  const depends = output('apt-cache', ['depends', META_PACKAGE]) ?? '';
  const shown = output('apt-cache', ['show', '--no-all-versions', META_PACKAGE]) ?? '';
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  const version = /Version: (\S+)/.exec(shown)?.[1];
  return name !== undefined && version !== undefined ? { name, version } : undefined;
}

function update(): boolean {
  return output('apt-get', ['-qq', 'update']) !== undefined;
}

function unpackedKernel(folder: string): Kernel | undefined {
  const modules = join(folder, 'lib', 'modules');
  const release = existsSync(modules) ? readdirSync(modules)[0] : undefined;
  if (release === undefined) return undefined;
  return {
    release,
    image: join(folder, 'boot', `vmlinuz-${release}`),
    modules: join(modules, release),
    busybox: join(folder, 'bin', 'busybox'),
  };
}

/** Unpacks beside its place and renames, so that others see all of it or nothing. */
function download(packages: string[], cache: string, folder: string): Kernel | undefined {
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'unpacking-'));
  try {
    const fetch = (): boolean => output('apt-get', ['-qq', 'download', ...packages], work) !== undefined;
    if (!fetch() && !(update() && fetch())) return undefined;
    const unpacked = join(work, 'unpacked');
    for (const file of readdirSync(work).filter((name) => name.endsWith('.deb'))) {
      if (output('dpkg-deb', ['-x', join(work, file), unpacked]) === undefined) return undefined;
    }
    if (!existsSync(folder)) renameSync(unpacked, folder);
    return unpackedKernel(folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
