import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { jainIndex } from '../../bench/broker-task.js';
import { compare, median, type RowPlan, runRow, throughput } from '../../bench/measure.js';
import { isMet } from '../../bench/report.js';

const plan: RowPlan = {
  name: 'row',
  unit: 'ns',
  better: 'lower',
  baseline: 'other',
  target: { of: 'ratio', atLeast: 2 },
  run: async () => ({ samples: { value: [30, 10, 20], baseline: [50, 40, 60] } }),
};
const budget = { rounds: 5, roundMs: 10, quick: true };

describe('measuring', () => {
  it('takes medians over rounds', async () => {
    assert.equal(median([3, 1, 2]), 2);
    assert.equal(median([4, 1, 2, 3]), 2.5);
    assert.equal(median([]), null);
    const row = await runRow(plan, budget);
    assert.deepEqual([row.value, row.baseline.value, row.ratio, row.met], [20, 50, 2.5, true]);
    const rate = await runRow({ ...plan, better: 'higher' }, budget);
    assert.deepEqual([rate.ratio, rate.met], [0.4, false]);
  });

  it('says that a row was skipped, and neither met nor missed', async () => {
    const run = async () => ({ samples: { value: [], baseline: [] }, skipped: 'no pigz' });
    const row = await runRow({ ...plan, run }, budget);
    assert.deepEqual([row.value, row.ratio, row.met, row.skipped], [null, null, null, 'no pigz']);
  });

  it('judges a value of zero by the value', () => {
    assert.equal(isMet({ of: 'value', atMost: 0 }, 0, null), true);
    assert.equal(isMet({ of: 'value', atMost: 0 }, 0.1, 100), false);
    assert.equal(isMet({ of: 'ratio', atLeast: 10 }, 0, null), true);
  });

  it('judges nothing without a bound', () => {
    assert.equal(isMet({ of: 'ratio' }, 5, 0.5), null);
  });

  it("knows Jain's index", () => {
    assert.equal(jainIndex([2, 2, 2, 2]), 1);
    assert.equal(jainIndex([3, 0, 0]), 1 / 3);
    assert.equal(jainIndex([0, 0]), 0);
  });

  it('warms up, then runs both sides in turns', async () => {
    const order: string[] = [];
    const samples = await compare(
      5,
      () => order.push('own'),
      () => order.push('base'),
    );
    assert.equal(order.length, 16);
    assert.deepEqual(samples, { value: [8, 9, 12, 13, 16], baseline: [7, 10, 11, 14, 15] });
  });

  it('keeps exactly as many calls in flight as asked for', async () => {
    let inFlight = 0;
    let most = 0;
    let total = 0;
    const started = performance.now();
    const rate = await throughput(20, 3, [1000, 3000], async (bytes) => {
      most = Math.max(most, ++inFlight);
      await new Promise((resolve) => setImmediate(resolve));
      inFlight--;
      total += bytes;
      return bytes;
    });
    assert.equal(most, 3);
    // MB/s are bytes per microsecond; the time was measured a little inside of ours.
    const least = total / 1000 / (performance.now() - started);
    assert.ok(rate >= least && rate < least * 2, `${rate} for ${least}`);
  });
});
