import type { AllocResult } from './alloc-child.js';
import { type Budget, type Outcome, runChild, type Suite } from './measure.js';

const COUNT = 1_000_000;
/** The collector stays away while allocations are counted, and starts from a clean heap. */
const FLAGS = ['--expose-gc', '--max-semi-space-size=512', '--min-semi-space-size=256'];

export const alloc: Suite = {
  name: 'alloc',
  rows: [
    {
      name: 'polled',
      unit: 'bytes/request',
      better: 'lower',
      baseline: 'zlib-async-1-byte',
      target: { of: 'value', atMost: 1 },
      run: polled,
    },
  ],
};

async function polled(budget: Budget): Promise<Outcome> {
  const results: AllocResult[] = [];
  for (let round = 0; round < budget.rounds; round++) {
    const count = budget.quick ? COUNT / 5 : COUNT;
    results.push(await runChild<AllocResult>('./alloc-child.js', [String(count)], FLAGS));
  }
  const list = (field: keyof AllocResult): string => results.map((each) => each[field].toFixed(3)).join(' ');
  const own = results.map(({ client, engine }) => client + engine);
  return {
    samples: { value: own, baseline: results.map(({ zlib }) => zlib) },
    // What a request allocates it always does; what comes on top is an engine that looks at the clock while it waits
    // for a client that has lost its processor.
    value: Math.min(...own),
    notes: [
      'the value is the least of all rounds: an engine that waits for a client without a processor reads the clock, ' +
        'which allocates, and no request is to blame',
      `client: ${list('client')}; engine: ${list('engine')}`,
      `requests that compress 4 KiB: client ${list('clientCompress')}; engine ${list('engineCompress')}`,
    ],
  };
}
