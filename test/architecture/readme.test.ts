import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const MAX_LINES = 15;

/** src and every folder in it, and the folders beside it that hold code. */
function folders(): string[] {
  const inside = readdirSync(join(ROOT, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length));
  return ['src', 'bench', 'test', ...inside];
}

describe('every folder says what lives there', () => {
  for (const folder of folders()) {
    test(folder, () => {
      const file = join(ROOT, folder, 'README.md');
      assert.ok(existsSync(file), `${folder}/README.md is missing: what lives there, and who may import it`);
      const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
      assert.ok(
        lines.length >= 3 && lines.length <= MAX_LINES,
        `${folder}/README.md has ${lines.length} lines`,
      );
      assert.match(lines[0]!, /^# /);
    });
  }
});
