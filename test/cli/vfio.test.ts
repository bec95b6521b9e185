import assert from 'node:assert/strict';
import { readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { dependants, openers } from '../../src/cli/in-use.js';
import { formatListing, listVfio } from '../../src/cli/vfio.js';
import { bindToVfio, companions, lookUp, unbindFromVfio } from '../../src/cli/vfio-bind.js';
import { pciFunction } from '../../src/transport/vfio/pci-functions.js';
import { warpdrive } from './support-cli.js';
import { FakeMachine } from './support-machine.js';

const EDU = '0000:00:03.0';
const NEIGHBOUR = '0000:00:03.1';
const BRIDGE = '0000:00:1c.0';

const note = (machine: FakeMachine, address: string): string =>
  listVfio(machine.root, true).find((each) => each.address === address)!.note;

describe('vfio list', () => {
  test('tells for each function what keeps programs from it', () => {
    const machine = FakeMachine.healthy([
      { address: EDU, driver: 'vfio-pci', group: '7' },
      { address: NEIGHBOUR, driver: 'ahci', group: '7' },
      { address: '0000:00:04.0', driver: 'vfio-pci', group: '8' },
      { address: '0000:00:05.0', group: '9' },
      { address: '0000:00:06.0', driver: 'e1000e' },
      { address: BRIDGE, classCode: 0x060400, driver: 'pcieport', group: '8' },
    ]);
    assert.equal(note(machine, EDU), 'group held up by 0000:00:03.1 (ahci)');
    assert.equal(note(machine, NEIGHBOUR), 'bound to ahci');
    // A bridge in the group is in nobody's way.
    assert.equal(note(machine, '0000:00:04.0'), 'usable');
    assert.equal(note(machine, '0000:00:05.0'), 'not bound');
    assert.equal(note(machine, '0000:00:06.0'), 'no IOMMU');
    assert.equal(note(machine, BRIDGE), 'a bridge');
    assert.ok(!formatListing(listVfio(machine.root)).includes(`\n${BRIDGE}`));
  });

  test('marks what only an unsafe setting makes usable', () => {
    const machine = FakeMachine.healthy([{ address: EDU, driver: 'vfio-pci', group: '0' }]);
    machine.write('sys/kernel/iommu_groups/0/name', 'vfio-noiommu');
    assert.match(note(machine, EDU), /UNSAFE: no IOMMU/);
    assert.equal(listVfio(machine.root)[0]!.group, 'noiommu-0');
  });

  test('warns of what depends on a device', () => {
    const machine = FakeMachine.healthy([{ address: EDU, driver: 'nvme', group: '7', classCode: 0x010802 }]);
    machine.give(EDU, 'block', 'nvme0n1', { dev: '259:0' });
    machine.write('proc/self/mountinfo', '36 1 259:0 / /srv rw - ext4 /dev/nvme0n1 rw');
    assert.equal(note(machine, EDU), 'bound to nvme; the disk nvme0n1, mounted at /srv');
  });

  test('is empty on a machine without PCI', () => {
    assert.equal(formatListing(listVfio(new FakeMachine().root)), 'no PCI devices\n');
  });

  test('takes functions with broken attributes for none', () => {
    const machine = FakeMachine.healthy([{ address: EDU, group: '7' }]);
    machine.write(`sys/bus/pci/devices/${EDU}/vendor`, 'rubbish');
    assert.deepEqual(listVfio(machine.root), []);
  });
});

describe('what depends on a device', () => {
  const machine = FakeMachine.healthy([{ address: EDU }, { address: NEIGHBOUR }]);
  machine.give(EDU, 'block', 'sda', { dev: '8:0' });
  machine.give(EDU, 'block', 'sda1', { dev: '8:1', 'holders/dm-0/x': '' });
  machine.give(EDU, 'block', 'sda2', { dev: '8:2' });
  machine.give(EDU, 'net', 'eth0', { flags: '0x1003' });
  machine.give(NEIGHBOUR, 'net', 'eth1', { flags: '0x1002' });
  machine.write('proc/swaps', 'Filename Type Size\n/dev/sda2 partition 1024 0 -2');

  test('are mounted disks, swap, parts of others, and interfaces that are up', () => {
    assert.deepEqual(dependants(EDU, machine.root), [
      'the disk sda1, part of dm-0',
      'the disk sda2, used for swap',
      'the network interface eth0, which is up',
    ]);
  });

  test('are disks of file systems with a number of their own, of one path of several, and virtual functions', () => {
    const other = FakeMachine.healthy([{ address: EDU, driver: 'nvme', group: '7' }]);
    other.give(EDU, 'block', 'nvme0n1', { dev: '259:0' });
    other.write(
      'proc/self/mountinfo',
      '25 1 0:22 /root / rw,relatime shared:1 - btrfs /dev/nvme0n1 rw,subvol=/root',
    );
    other.write(`sys/bus/pci/devices/${EDU}/sriov_numvfs`, '2');
    assert.deepEqual(dependants(EDU, other.root), [
      'the disk nvme0n1, mounted at /',
      'its 2 virtual functions, which would go with it',
    ]);
    const multipath = FakeMachine.healthy([{ address: EDU, driver: 'nvme', group: '7' }]);
    multipath.give(EDU, 'nvme', 'nvme0', {});
    multipath.write('sys/class/nvme-subsystem/nvme-subsys0/nvme0', '');
    multipath.write('sys/class/nvme-subsystem/nvme-subsys0/nvme0n1/size', '8');
    multipath.write('sys/class/block/nvme0n1/dev', '259:0');
    multipath.write('proc/self/mountinfo', '25 1 259:0 / / rw - ext4 /dev/nvme0n1 rw');
    assert.deepEqual(dependants(EDU, multipath.root), ['the disk nvme0n1, mounted at /']);
  });

  test('are not those of another device, nor an interface that is down', () => {
    assert.deepEqual(dependants(NEIGHBOUR, machine.root), []);
  });
});

describe('vfio bind and unbind', () => {
  const options = (machine: FakeMachine, force = false) => ({ root: machine.root, force });
  const look = (machine: FakeMachine, address = EDU) => pciFunction(address, join(machine.root, 'sys'))!;

  test('refuse a device in use, and say by what', () => {
    const machine = FakeMachine.healthy([{ address: EDU, driver: 'e1000e', group: '7' }]);
    machine.give(EDU, 'net', 'eth0', { flags: '0x1003' });
    assert.throws(
      () => bindToVfio(look(machine), options(machine)),
      /in use by the network interface eth0, which is up; --force/,
    );
    assert.equal(
      readFileSync(join(machine.root, `sys/bus/pci/devices/${EDU}/driver_override`), 'utf8'),
      '(null)\n',
    );
  });

  test('leave no override behind when vfio-pci does not take the device', () => {
    const machine = FakeMachine.healthy([{ address: EDU, group: '7' }]);
    machine.write('sys/bus/pci/drivers/vfio-pci/module', '');
    machine.write('sys/bus/pci/drivers_probe', '');
    assert.throws(() => bindToVfio(look(machine), options(machine)), /vfio-pci does not take it/);
    assert.match(
      readFileSync(join(machine.root, `sys/bus/pci/devices/${EDU}/driver_override`), 'utf8'),
      /^\n/,
    );
  });

  test('refuse what a program has open: the kernel would wait for it', () => {
    const machine = FakeMachine.healthy([{ address: EDU, driver: 'vfio-pci', group: '7' }]);
    machine.write('proc/4711/fd/x', '');
    symlinkSync('/dev/vfio/7', join(machine.root, 'proc/4711/fd/19'));
    assert.deepEqual(openers('/dev/vfio/7', machine.root), [4711]);
    assert.throws(() => unbindFromVfio(look(machine), options(machine)), /process 4711, which has it/);
  });

  test('refuse a bridge, a device without an IOMMU, and one that VFIO does not have', () => {
    const machine = FakeMachine.healthy([
      { address: EDU, driver: 'ahci' },
      { address: BRIDGE, classCode: 0x060400, group: '1' },
    ]);
    assert.throws(() => bindToVfio(look(machine), options(machine)), /no IOMMU group; "warpdrive doctor/);
    assert.throws(() => bindToVfio(look(machine, BRIDGE), options(machine)), /is a bridge/);
    assert.throws(() => unbindFromVfio(look(machine), options(machine)), /not bound to VFIO: ahci has it/);
    assert.throws(() => lookUp('0000:00:09.0', machine.root), /no such PCI function/);
  });

  test('take a whole group but its bridges', () => {
    const machine = FakeMachine.healthy([
      { address: EDU, group: '7' },
      { address: NEIGHBOUR, group: '7' },
      { address: BRIDGE, group: '7', classCode: 0x060400 },
    ]);
    assert.deepEqual(
      companions(look(machine), machine.root).map(({ address }) => address),
      [EDU, NEIGHBOUR],
    );
  });
});

describe('the command line of vfio', () => {
  for (const [args, message] of [
    [['vfio'], /vfio takes an action: list, bind or unbind/],
    [['vfio', 'steal', '00:03.0'], /vfio takes an action/],
    [['vfio', 'list', '00:03.0'], /vfio list takes options alone/],
    [['vfio', 'list', '--force'], /vfio list takes no option --force/],
    [['vfio', 'bind'], /takes the addresses of devices/],
    [['vfio', 'bind', '--froce', '00:03.0'], /did you mean --force/],
    [['vfio', 'bind', '3.0'], /"3\.0" is no address of a device/],
    [['vfio', 'bind', '../../etc'], /is no address of a device/],
    [
      ['vfio', 'bind', '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'],
      /is a mediated device, which needs no binding/,
    ],
    [['doctor', 'a', 'b'], /doctor takes one device, or none/],
    [['doctor', 'gpu'], /gpu is no device/],
  ] as const) {
    test(`refuses ${args.join(' ')}`, () => {
      const { code, stderr, stdout } = warpdrive([...args]);
      assert.equal(code, 1);
      assert.match(stderr, message);
      assert.equal(stdout.length, 0);
    });
  }
});
