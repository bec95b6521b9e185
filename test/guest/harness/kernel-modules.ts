import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/** What the tests load, or the kernel for them: names of modules, and folders of which all modules come along. */
const WANTED = [
  'vfio-pci',
  'vfio_iommu_type1',
  'mdev',
  'virtio_pci',
  'virtio_console',
  'virtio-rng',
  'virtio_crypto',
  'kernel/crypto/',
  'kernel/arch/x86/crypto/',
];

export interface KernelModule {
  name: string;
  /** Within the folder of the kernel's modules. */
  path: string;
  dependencies: string[];
  aliases: string[];
}

/** The kernel's name for a module: what a file's name has as a dash is an underscore there. */
const canonical = (name: string): string => name.replaceAll('-', '_');

/** The modules that are wanted in the guest, and those that they need. */
export function findModules(folder: string): KernelModule[] {
  const paths = new Map<string, string>();
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (path.endsWith('.ko')) paths.set(canonical(basename(path, '.ko')), path);
  }
  const found = new Map<string, KernelModule>();
  const add = (name: string): void => {
    const path = paths.get(name);
    if (path === undefined || found.has(name)) return;
    const module = describe(name, path, readFileSync(join(folder, path)));
    found.set(name, module);
    module.dependencies.forEach(add);
  };
  for (const wanted of WANTED) {
    if (!wanted.endsWith('/')) add(canonical(wanted));
    else for (const [name, path] of paths) if (path.startsWith(wanted)) add(name);
  }
  return [...found.values()];
}

/** Reads a module's own description: NUL-terminated `key=value`. */
function describe(name: string, path: string, content: Buffer): KernelModule {
  const text = content.toString('latin1');
  const values = (key: string): string[] =>
    [...text.matchAll(new RegExp(`\\0${key}=([\\x20-\\x7e]*)(?=\\0)`, 'g'))].map((match) => match[1]!);
  const dependencies = (values('depends')[0] ?? '').split(',').filter((each) => each !== '');
  return { name, path, dependencies: dependencies.map(canonical), aliases: values('alias') };
}

/** `modules.dep`: each module, and all that must be there before it; the last of them goes first. */
export function dependencyFile(modules: KernelModule[]): string {
  const byName = new Map(modules.map((module) => [module.name, module]));
  const needs = (module: KernelModule): string[] =>
    module.dependencies
      .map((name) => byName.get(name))
      .flatMap((each) => (each ? [...needs(each), each.path] : []));
  return modules
    .map((module) => `${module.path}: ${[...new Set(needs(module))].reverse().join(' ')}\n`)
    .join('');
}

/** `modules.alias`: what else the kernel calls a module by when it asks for one. */
export function aliasFile(modules: KernelModule[]): string {
  return modules.flatMap(({ name, aliases }) => aliases.map((alias) => `alias ${alias} ${name}\n`)).join('');
}
