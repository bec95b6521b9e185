import { type Budget, type Outcome, runChild, type Suite } from './measure.js';
import { availableBytes } from './memory.js';

const COUNT = 30_000;
const QUICK_COUNT = 3_000;
/** What node:zlib keeps for each call under way, with room to spare: it decides how many are safe. */
const BASELINE_BYTES = 300_000;
const MOST_BYTES = 150e6;

export const small: Suite = {
  name: 'small',
  rows: [
    {
      name: 'gzip-burst',
      unit: 's',
      better: 'lower',
      baseline: 'node:zlib',
      target: { of: 'ratio', atLeast: 1 },
      run: burst,
    },
  ],
};

interface Result {
  seconds: number;
  growth: number;
}

/** As many calls as that at once, each side in processes of its own; opening the accelerator is part of it. */
async function burst(budget: Budget): Promise<Outcome> {
  const wanted = budget.quick ? QUICK_COUNT : COUNT;
  const count = Math.min(wanted, Math.floor(availableBytes() / 2 / BASELINE_BYTES));
  const samples: Outcome['samples'] = { value: [], baseline: [] };
  const growth = { warpdrive: 0, node: 0 };
  for (let round = 0; round < budget.rounds; round++) {
    for (const side of ['node', 'warpdrive'] as const) {
      const { seconds, growth: bytes } = await runChild<Result>('./small-child.js', [side, String(count)]);
      samples[side === 'node' ? 'baseline' : 'value'].push(seconds);
      growth[side] = Math.max(growth[side], bytes);
    }
  }
  const notes = [
    `${count} calls of zlib.gzip with 90 bytes at once, with opening the accelerator`,
    `resident memory grew by at most ${(growth.warpdrive / 1e6).toFixed(0)} MB; node:zlib ${(growth.node / 1e6).toFixed(0)} MB`,
  ];
  if (growth.warpdrive >= MOST_BYTES)
    notes.push(`that is more than the ${MOST_BYTES / 1e6} MB it may grow by`);
  return { samples, notes };
}
