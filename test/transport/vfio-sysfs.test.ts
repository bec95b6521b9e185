import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { parseVfioAddress } from '../../src/transport/vfio/address.js';
import { createMdev, describeMdev, listMdevParents, removeMdev } from '../../src/transport/vfio/mdev.js';
import { openVfio } from '../../src/transport/vfio/open.js';
import { findSysfsDevice, groupMembers, holdsUpGroup } from '../../src/transport/vfio/sysfs-device.js';

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';

/** A tree as /sys is: files by path, and symbolic links (`-> target`). */
function tree(t: TestContext, entries: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'warpdrive-sysfs-'));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [path, text] of Object.entries(entries)) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    if (text.startsWith('-> ')) symlinkSync(join(root, text.slice(3)), join(root, path));
    else writeFileSync(join(root, path), text);
  }
  return root;
}

describe('the name of a device', () => {
  test('is a PCI address, long or short, or a UUID', () => {
    for (const [text, name] of [
      ['vfio:0000:00:03.0', '0000:00:03.0'],
      ['00:03.0', '0000:00:03.0'],
      ['vfio:0001:AF:1f.7', '0001:af:1f.7'],
      ['vfio:10000:e1:00.0', '10000:e1:00.0'],
    ]) {
      assert.deepEqual(parseVfioAddress(text!), { kind: 'pci', name });
    }
    assert.deepEqual(parseVfioAddress(`vfio:${UUID.toUpperCase()}`), { kind: 'mdev', name: UUID });
  });

  test('and nothing else: least of all a path', () => {
    for (const text of [
      '',
      'vfio:',
      'vfio:3.0',
      '00:20.0',
      '00:03.8',
      '0000:00:03',
      '00:03.0\n',
      'vfio:../../etc/passwd',
      'vfio:0000:00:03.0/../..',
      `${UUID}x`,
      'g0:03.0',
      'vfio:vfio:00:03.0',
    ]) {
      assert.throws(
        () => parseVfioAddress(text),
        { code: 'ERR_WARPDRIVE_ARGUMENT', message: /vfio:0000:00:03\.0/ },
        text,
      );
    }
  });

  test('leads nowhere on a machine that has no such device', async () => {
    await assert.rejects(openVfio('vfio:ffff:ff:1f.7'), {
      code: 'ERR_WARPDRIVE_DEVICE_LOST',
      message: /vfio list/,
    });
    await assert.rejects(openVfio('vfio:nonsense'), { code: 'ERR_WARPDRIVE_ARGUMENT' });
  });
});

describe('what /sys says of a device', () => {
  test('its driver, its group and who else is in it', (t) => {
    const root = tree(t, {
      'devices/a/vfio-dev/vfio3/dev': '1:3',
      'devices/a/driver': '-> drivers/vfio-pci',
      'devices/a/iommu_group': '-> kernel/iommu_groups/7',
      'devices/b/driver': '-> drivers/e1000e',
      'devices/c/class': '0',
      'drivers/vfio-pci/x': '',
      'drivers/e1000e/x': '',
      'bus/pci/devices/0000:00:03.0': '-> devices/a',
      'bus/pci/devices/0000:00:03.2': '-> devices/c',
      'kernel/iommu_groups/7/devices/0000:00:03.1': '-> devices/b',
      'kernel/iommu_groups/7/devices/0000:00:03.0': '-> devices/a',
      'kernel/iommu_groups/7/devices/0000:00:03.2': '-> devices/c',
    });
    const look = (name: string): ReturnType<typeof findSysfsDevice> =>
      findSysfsDevice(parseVfioAddress(name), root);
    assert.deepEqual(look('00:03.0'), { driver: 'vfio-pci', group: '7', cdev: 'vfio3' });
    assert.deepEqual(look('00:03.2'), { driver: undefined, group: undefined, cdev: undefined });
    assert.equal(look('00:04.0'), undefined);
    const members = groupMembers('7', root);
    assert.deepEqual(
      members.map(({ name }) => name),
      ['0000:00:03.0', '0000:00:03.1', '0000:00:03.2'],
    );
    assert.deepEqual(members.filter(holdsUpGroup), [{ name: '0000:00:03.1', driver: 'e1000e' }]);
    assert.deepEqual(groupMembers('8', root), []);
  });
});

describe('mediated devices', () => {
  const TYPE = 'devices/p/mdev_supported_types';
  const entries = {
    [`${TYPE}/mtty-1/name`]: 'Single port serial\n',
    [`${TYPE}/mtty-1/device_api`]: 'vfio-pci\n',
    [`${TYPE}/mtty-1/available_instances`]: '2\n',
    [`${TYPE}/mtty-1/create`]: '',
    [`${TYPE}/mtty-1/devices/${UUID}`]: `-> devices/p/${UUID}`,
    [`${TYPE}/mtty-2/device_api`]: 'vfio-pci\n',
    [`${TYPE}/mtty-2/available_instances`]: '0\n',
    [`devices/p/${UUID}/remove`]: '',
    [`devices/p/${UUID}/mdev_type`]: `-> ${TYPE}/mtty-1`,
    [`bus/mdev/devices/${UUID}`]: `-> devices/p/${UUID}`,
    'class/mdev_bus/p': '-> devices/p',
  };

  test('are listed with their parents and types', (t) => {
    const root = tree(t, entries);
    assert.deepEqual(listMdevParents(root), [
      {
        name: 'p',
        types: [
          {
            id: 'mtty-1',
            name: 'Single port serial',
            description: undefined,
            api: 'vfio-pci',
            available: 2,
            devices: [UUID],
          },
          {
            id: 'mtty-2',
            name: undefined,
            description: undefined,
            api: 'vfio-pci',
            available: 0,
            devices: [],
          },
        ],
      },
    ]);
    assert.deepEqual(describeMdev(UUID, root), { parent: 'p', type: 'mtty-1' });
    assert.deepEqual(listMdevParents(join(root, 'nowhere')), []);
  });

  test('are created and removed by writing to /sys', (t) => {
    const root = tree(t, entries);
    const other = UUID.replace('83b8', '1234');
    assert.equal(createMdev('p', 'mtty-1', other, root), `vfio:${other}`);
    assert.equal(readFileSync(join(root, TYPE, 'mtty-1/create'), 'utf8'), other);
    assert.match(createMdev('p', 'mtty-1', undefined, root), /^vfio:[0-9a-f-]{36}$/);
    removeMdev(`vfio:${UUID}`, root);
    assert.equal(readFileSync(join(root, `devices/p/${UUID}/remove`), 'utf8'), '1');
  });

  test('what cannot be says what can', (t) => {
    const root = tree(t, entries);
    assert.throws(() => createMdev('q', 'mtty-1', UUID, root), {
      code: 'ERR_WARPDRIVE_DEVICE_LOST',
      message: /there are p/,
    });
    assert.throws(() => createMdev('p', 'x', UUID, root), { message: /there are mtty-1, mtty-2/ });
    assert.throws(() => createMdev('p', 'mtty-2', UUID, root), { message: /no more of mtty-2/ });
    assert.throws(() => createMdev('p', 'mtty-1', '../../x', root), { code: 'ERR_WARPDRIVE_ARGUMENT' });
    assert.throws(() => removeMdev('00:03.0', root), { message: /no UUID/ });
    assert.throws(() => removeMdev(UUID.replace('83', '84'), root), { code: 'ERR_WARPDRIVE_DEVICE_LOST' });
    rmSync(join(root, TYPE, 'mtty-1/create'));
    mkdirSync(join(root, TYPE, 'mtty-1/create'));
    assert.throws(() => createMdev('p', 'mtty-1', UUID, root), {
      code: 'ERR_WARPDRIVE_SYSTEM',
      syscall: /mtty-1\/create/,
    });
  });
});
