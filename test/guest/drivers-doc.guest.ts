import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { GUEST_DEVICE } from './harness/devices.js';
import { bind } from './support-devices.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const TEXT = readFileSync(join(ROOT, 'docs/drivers.md'), 'utf8');

/** The programs of the document, each with what it prints. */
const PROGRAMS = [...TEXT.matchAll(/```js\n\/\/ (\S+)\n([\s\S]*?)```\n\n```text\n([\s\S]*?)```/g)].map(
  ([, name, program, output]) => ({ name: name!, program: program!, output: output! }),
);

/** The document is followed to the letter, in a folder with nothing but the package. */
describe('docs/drivers.md', () => {
  const folder = mkdtempSync(join(tmpdir(), 'my-driver-'));

  before(() => {
    bind(GUEST_DEVICE.edu, 'vfio-pci');
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(ROOT, join(folder, 'node_modules/warpdrive'));
  });

  test('has a program for each step', () => {
    assert.deepEqual(
      PROGRAMS.map(({ name }) => name),
      ['identify.mjs', 'registers.mjs', 'factorial.mjs', 'dma.mjs', 'edu.mjs'],
    );
  });

  for (const { name, program, output } of PROGRAMS) {
    test(`${name} prints what it says`, () => {
      writeFileSync(join(folder, name), program);
      const { stdout, stderr } = spawnSync(process.execPath, [name], {
        cwd: folder,
        encoding: 'utf8',
        env: { ...process.env, FORCE_COLOR: '0' },
      });
      assert.equal(stdout + stderr, output);
    });
  }
});
