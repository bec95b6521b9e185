import { readFileSync } from 'node:fs';
import { type Budget, median, type Outcome, runChild, type Suite } from './measure.js';

const MB = 1e6;
const COUNT = 30_000;
const QUICK_BASELINE_COUNT = 3_000;
/** What node:zlib keeps for each compression under way, with room to spare: it decides how many are safe. */
const BASELINE_BYTES = 300_000;

export const memory: Suite = {
  name: 'memory',
  rows: [
    {
      name: 'deflate-burst',
      unit: 'MB',
      better: 'lower',
      baseline: 'zlib.deflate',
      target: { of: 'value', atMost: 100 },
      run: burst,
    },
  ],
};

async function burst(budget: Budget): Promise<Outcome> {
  const affordable = Math.floor(availableBytes() / 2 / BASELINE_BYTES);
  const baselineCount = Math.min(COUNT, affordable, budget.quick ? QUICK_BASELINE_COUNT : COUNT);
  const notes = [`${COUNT} compressions of 90 bytes at once: peak resident memory, less what it was before`];
  if (baselineCount < COUNT) {
    notes.push(
      `zlib.deflate was measured with ${baselineCount} at once, and its growth is scaled up to ${COUNT}`,
    );
  }
  const samples: Outcome['samples'] = { value: [], baseline: [] };
  for (let round = 0; round < budget.rounds; round++) {
    samples.baseline.push((await growth('zlib', baselineCount)) * (COUNT / baselineCount));
    samples.value.push(await growth('warpdrive', COUNT));
  }
  return { samples, value: median(samples.value)!, notes };
}

async function growth(side: string, count: number): Promise<number> {
  const result = await runChild<{ growth: number }>('./memory-child.js', [side, String(count)]);
  return result.growth / MB;
}

export function availableBytes(): number {
  const match = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'));
  return match ? Number(match[1]) * 1024 : 0;
}
