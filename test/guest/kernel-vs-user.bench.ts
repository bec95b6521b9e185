import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEVICE_VARIABLE } from '../../bench/kernel-vs-user.js';
import type { SuiteReport } from '../../bench/report.js';
import { runBench } from '../../bench/run.js';
import { GUEST_DEVICE } from './harness/devices.js';
import { bind } from './support-devices.js';
import { loadModule } from './support-kernel.js';

/* What `npm run bench:guest` runs in the guest: a measurement, and no test. */

describe('bench kernel-vs-user', () => {
  test('one kind of device under both drivers; ours makes no system call for a request', async () => {
    // The kernel's driver takes every device of its kind that is left, and would spread requests over them.
    loadModule('vfio-pci');
    for (const name of ['crypto', 'secondCrypto', 'hotplugCrypto'] as const) {
      bind(GUEST_DEVICE[name], 'vfio-pci');
    }
    // In this order: once the device is the kernel's, it would verify modules with its RSA, which fails.
    for (const module of ['af_alg', 'algif_skcipher', 'virtio_crypto']) loadModule(module);
    process.env[DEVICE_VARIABLE] = GUEST_DEVICE.crypto;
    let printed = '';
    const code = await runBench(['kernel-vs-user', '--json'], (text) => {
      printed += text;
    });
    assert.equal(code, 0);
    console.log(printed.trim());
    for (const { name, value, notes } of (JSON.parse(printed) as SuiteReport).rows) {
      assert.ok(value! > 0, name);
      assert.match(notes[0]!, /^system calls per request: 0\.0[01] \| [1-9]/, name);
    }
  });
});
