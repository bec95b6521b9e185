import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { GUEST_DEVICE, HOTPLUG_ID, VENDOR_DEVICE } from './harness/devices.js';
import { bind, driverOf, findDevices, groupOf, unbind } from './support-devices.js';
import { kernelLog, mark } from './support-kernel.js';
import { monitor } from './support-monitor.js';

describe('the guest', () => {
  test('has its devices, each behind the IOMMU', () => {
    const found = [
      ...findDevices(VENDOR_DEVICE.edu),
      ...findDevices(VENDOR_DEVICE.virtioCrypto),
      ...findDevices(VENDOR_DEVICE.virtioRng),
    ];
    assert.deepEqual(found.sort(), Object.values(GUEST_DEVICE).sort());
    for (const address of found) assert.match(groupOf(address), /^\d+$/);
    assert.equal(groupOf(GUEST_DEVICE.sharedEdu), groupOf(GUEST_DEVICE.sharedRng));
  });

  test('gives a device to vfio-pci, and takes it away', () => {
    bind(GUEST_DEVICE.edu, 'vfio-pci');
    assert.equal(driverOf(GUEST_DEVICE.edu), 'vfio-pci');
    assert.ok(existsSync(`/dev/vfio/${groupOf(GUEST_DEVICE.edu)}`));
    unbind(GUEST_DEVICE.edu);
    assert.equal(driverOf(GUEST_DEVICE.edu), undefined);
    assert.deepEqual(readdirSync('/dev/vfio'), ['vfio']);
  });

  test("takes marks into the kernel's log", () => {
    mark('a mark');
    assert.match(kernelLog(), /warpdrive-test: a mark/);
  });

  test("reaches QEMU's monitor", async () => {
    const devices = (await monitor('qom-list', { path: '/machine/peripheral' })) as { name: string }[];
    assert.ok(devices.some(({ name }) => name === HOTPLUG_ID));
  });
});
