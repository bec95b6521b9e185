// `npm start`: sets up, builds, and runs the demo; `npm start -- compress FILE` runs that command instead.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

const args = process.argv.slice(2);
setup({ tools: args[0] === 'bench' });
const main = join(root, 'dist', 'src', 'cli', 'main.js');
const result = spawnSync(process.execPath, [main, ...(args.length > 0 ? args : ['demo'])], {
  stdio: 'inherit',
});
process.exitCode = result.status ?? 1;
