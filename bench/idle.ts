import { type Budget, type Outcome, runChild, type Suite } from './measure.js';

const WAIT_MS = 6000;
const QUICK_WAIT_MS = 1000;

export const idle: Suite = {
  name: 'idle',
  rows: [
    {
      name: 'cpu',
      unit: '% of a core',
      better: 'lower',
      baseline: 'no-accelerator',
      target: { of: 'value', atMost: 0.5 },
      run: cpu,
    },
  ],
};

/** What an open accelerator takes while nobody uses it, above what the same process takes without one. */
async function cpu(budget: Budget): Promise<Outcome> {
  const ms = budget.quick ? QUICK_WAIT_MS : WAIT_MS;
  const samples: Outcome['samples'] = { value: [], baseline: [] };
  for (let round = 0; round < budget.rounds; round++) {
    const [open, none] = await Promise.all([share('open', ms), share('none', ms)]);
    samples.value.push(open - none);
    samples.baseline.push(none);
  }
  return { samples, notes: [`over ${ms} ms, all threads; the value is what the accelerator adds`] };
}

async function share(side: string, ms: number): Promise<number> {
  return (await runChild<{ percent: number }>('./idle-child.js', [side, String(ms)])).percent;
}
