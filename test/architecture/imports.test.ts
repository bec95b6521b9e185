import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const SRC = join(ROOT, 'src');

interface Rule {
  /** What a layer may import, as a folder of src or a path that starts so. */
  may: string[];
  /** What it may import besides, as types alone: nothing of it runs. */
  types?: string[];
}

/**
 * The layers, lowest first; `device` is the other end. A layer that is not here is a failure: decide where it belongs,
 * and say so here.
 */
const RULES: Record<string, Rule> = {
  errors: { may: [] },
  nearest: { may: [] },
  abi: { may: ['errors'] },
  sys: { may: ['errors', 'abi'] },
  transport: { may: ['errors', 'abi', 'sys'] },
  queue: { may: ['errors', 'abi', 'sys', 'transport'] },
  driver: { may: ['errors', 'abi', 'sys', 'transport', 'queue'], types: ['device'] },
  algorithms: { may: ['errors', 'abi', 'sys'], types: ['driver', 'device'] },
  device: { may: ['errors', 'abi', 'sys', 'transport/vfio-user'], types: ['transport'] },
  broker: { may: ['errors', 'nearest', 'abi', 'sys', 'transport', 'device'] },
  accelerator: { may: ['errors', 'abi', 'sys', 'transport', 'queue', 'driver', 'algorithms', 'device'] },
  compat: { may: ['errors', 'abi', 'sys', 'driver', 'algorithms', 'device', 'accelerator'] },
  index: { may: ['errors', 'abi', 'driver', 'algorithms', 'accelerator'], types: ['device'] },
  cli: {
    may: [
      'errors',
      'nearest',
      'abi',
      'sys',
      'transport',
      'queue',
      'driver',
      'algorithms',
      'device',
      'broker',
      'accelerator',
      'index',
    ],
  },
};

/** The packages that may be imported, and the layer that alone may do so. */
const PACKAGES: Record<string, string> = { koffi: 'sys', '@logtape/logtape': 'broker' };

/** The one way out of src: the command `bench` starts the suites that lie beside it. */
const OUTSIDE: Record<string, string> = { 'cli/bench': 'bench/run.ts' };

interface Import {
  file: string;
  specifier: string;
  typeOnly: boolean;
}

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
}

/** Every import of a file: static, exported from, dynamic, by `import('x')` in a type, and worker files by URL. */
function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
  const found: Import[] = [];
  const add = (specifier: string, typeOnly: boolean): void => {
    found.push({ file, specifier, typeOnly });
  };
  for (const match of text.matchAll(/^(import|export)\s+(type\s+)?[^;'"]*?\bfrom\s+['"]([^'"]+)['"]/gm)) {
    add(match[3]!, match[2] !== undefined);
  }
  for (const match of text.matchAll(/^import\s+['"]([^'"]+)['"]/gm)) add(match[1]!, false);
  for (const match of text.matchAll(/(typeof\s+)?\bimport\(\s*['"]([^'"]+)['"]/g)) {
    add(match[2]!, match[1] !== undefined);
  }
  for (const match of text.matchAll(/new URL\(\s*['"](\.[^'"]+\.js)['"],\s*import\.meta\.url/g)) {
    add(match[1]!, false);
  }
  return found;
}

/** A path within src, without its ending: `queue/queue-pair`. */
function within(file: string): string {
  return relative(SRC, file).replace(/\.[jt]s$/, '');
}

const layerOf = (path: string): string => path.split('/')[0]!;
const covers = (rule: string, path: string): boolean => path === rule || path.startsWith(`${rule}/`);

const ALL = sources(SRC).flatMap(importsOf);
const INTERNAL = ALL.filter(({ specifier }) => specifier.startsWith('.'));
const leavesSrc = ({ file, specifier }: Import): boolean =>
  relative(SRC, resolve(dirname(file), specifier)).startsWith('..');

describe('imports', () => {
  test('there are some, and each leads to a file', () => {
    assert.ok(INTERNAL.length > 100);
    for (const { file, specifier } of INTERNAL) {
      const target = resolve(dirname(file), specifier).replace(/\.js$/, '.ts');
      assert.ok(existsSync(target), `${within(file)} imports ${specifier}`);
      if (relative(ROOT, target) === OUTSIDE[within(file)]) continue;
      assert.ok(target.startsWith(`${SRC}/`), `${within(file)} imports ${specifier}, outside src`);
    }
  });

  test('point downwards only', () => {
    const wrong: string[] = [];
    for (const { file, specifier, typeOnly } of INTERNAL.filter((each) => !leavesSrc(each))) {
      const from = within(file);
      const to = within(resolve(dirname(file), specifier));
      const layer = layerOf(from);
      if (layer === layerOf(to)) continue;
      const rule = RULES[layer];
      assert.ok(rule, `src/${layer} has no rule in this test`);
      const allowed =
        rule.may.some((each) => covers(each, to)) ||
        (typeOnly && (rule.types ?? []).some((each) => covers(each, to)));
      if (!allowed) wrong.push(`${from} imports ${typeOnly ? 'type ' : ''}${to}`);
    }
    assert.deepEqual(wrong, []);
  });

  test('make no cycles between folders, but for types', () => {
    const edges = new Map<string, Set<string>>();
    for (const { file, specifier, typeOnly } of INTERNAL.filter((each) => !leavesSrc(each))) {
      if (typeOnly) continue;
      const from = layerOf(within(file));
      const to = layerOf(within(resolve(dirname(file), specifier)));
      if (from === to) continue;
      edges.set(from, (edges.get(from) ?? new Set()).add(to));
    }
    const visit = (layer: string, path: string[]): void => {
      assert.ok(!path.includes(layer), `a cycle: ${[...path, layer].join(' -> ')}`);
      for (const next of edges.get(layer) ?? []) visit(next, [...path, layer]);
    };
    for (const layer of edges.keys()) visit(layer, []);
  });

  test('of native code are made by src/sys alone', () => {
    for (const { file, specifier } of ALL) {
      if (specifier === 'koffi') assert.equal(layerOf(within(file)), 'sys', `${within(file)} imports koffi`);
    }
    for (const file of sources(SRC)) {
      if (layerOf(within(file)) === 'sys') continue;
      const text = readFileSync(file, 'utf8');
      assert.doesNotMatch(text, /\bcreateRequire\b/, within(file));
      assert.doesNotMatch(text, /\bprocess\.dlopen\b/, within(file));
    }
  });

  test('of packages name koffi and the logger, each in its layer', () => {
    for (const { file, specifier } of ALL) {
      if (specifier.startsWith('.') || specifier.startsWith('node:')) continue;
      assert.equal(PACKAGES[specifier], layerOf(within(file)), `${within(file)} imports ${specifier}`);
    }
  });
});
