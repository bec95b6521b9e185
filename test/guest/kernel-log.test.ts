import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EXPECT_FAULTS, parseFault, troubles } from './harness/kernel-log.js';
import { readReport } from './harness/report.js';

const FAULT =
  '[    7.1] DMAR: [DMA Write NO_PASID] Request device [00:10.0] fault addr 0xdead000 [fault reason 0x05] PTE Write access is not set';

describe("the judgement on the guest's kernel log", () => {
  test('reads a fault', () => {
    const { kind, device, address, reason } = parseFault(FAULT)!;
    assert.deepEqual(
      { kind, device, address },
      { kind: 'DMA Write', device: '00:10.0', address: 0xdead000n },
    );
    assert.match(reason, /0x05\] PTE Write access is not set/);
    const index =
      '[1.0] DMAR: [INTR-REMAP] Request device [f0:1f.0] fault index 0x40 [fault reason 0x25] Blocked';
    assert.equal(parseFault(index)?.kind, 'INTR-REMAP');
    assert.equal(parseFault('[1.0] DMAR: DRHD: handling fault status reg 2'), undefined);
  });

  test('fails for a fault that nobody expected, before, after, but not between the marks', () => {
    const { begin, end } = EXPECT_FAULTS;
    assert.deepEqual(troubles([FAULT, begin, FAULT, end].join('\n')), [FAULT]);
    assert.deepEqual(troubles([begin, end, FAULT].join('\n')), [FAULT]);
    assert.deepEqual(troubles([begin, FAULT, end].join('\n')), []);
  });

  for (const line of [
    'BUG: kernel NULL pointer dereference, address: 0000000000000000',
    'Oops: 0000 [#1] PREEMPT SMP NOPTI',
    'WARNING: CPU: 0 PID: 1 at drivers/vfio/vfio_main.c:1',
    'watchdog: BUG: soft lockup - CPU#0 stuck for 26s!',
    'INFO: task node:12 blocked for more than 120 seconds.',
    'Kernel panic - not syncing: Attempted to kill init!',
    'Out of memory: Killed process 80 (node)',
  ]) {
    test(`fails for: ${line}`, () => assert.deepEqual(troubles(`[ 1.0] ${line}`), [`[ 1.0] ${line}`]));
  }
});

describe('the report of the guest', () => {
  const line = (name: string, nesting: number, passed = true): string =>
    JSON.stringify({ kind: 'test', name, nesting, passed });

  test('is a tree, told from the leaves up', () => {
    const text = [
      line('a1', 1),
      line('a2', 1, false),
      line('a', 0, false),
      line('b', 0),
      '{"kind":"end"}',
      '',
    ];
    const { tests, ended } = readReport(text.join('\n'));
    assert.ok(ended);
    assert.deepEqual(
      tests.map(({ name, passed, children }) => [name, passed, children.map((each) => each.name)]),
      [
        ['a', false, ['a1', 'a2']],
        ['b', true, []],
      ],
    );
  });

  test('of a guest that died in the middle has what it had told, and no end', () => {
    const { tests, ended } = readReport(`${line('a1', 1)}\n${line('a', 0).slice(0, 9)}`);
    assert.ok(!ended);
    assert.deepEqual(
      tests.map(({ name }) => name),
      ['a1'],
    );
  });
});
