import assert from 'node:assert/strict';
import { rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { Diagnosis } from '../../src/cli/diagnosis.js';
import { diagnoseVfio, diagnoseVfioDevice } from '../../src/cli/doctor-vfio.js';
import { temporaryFolder, warpdrive } from './support-cli.js';
import { FakeMachine } from './support-machine.js';

const EDU = '0000:00:03.0';
const BOUND = { address: EDU, driver: 'vfio-pci', group: '7' };

/** A diagnosis that fails for one reason, and the fix for it. */
function failsBecause({ state, findings }: Diagnosis, problem: RegExp, fix: RegExp): void {
  assert.equal(state, 'fails');
  assert.equal(findings.length, 1, JSON.stringify(findings, null, 1));
  assert.match(findings[0]!.problem, problem);
  assert.match(findings[0]!.fix, fix);
}

describe('the doctor about VFIO', () => {
  test('has nothing to say where all is well', () => {
    const machine = FakeMachine.healthy([BOUND]);
    assert.deepEqual(diagnoseVfio(machine.root), {
      name: 'vfio',
      state: 'works',
      summary: `vfio:${EDU}`,
      findings: [],
    });
    assert.equal(diagnoseVfioDevice(EDU, machine.root).state, 'works');
  });

  test('has nothing to use where no device is bound, and says how to bind one', () => {
    const { state, findings } = diagnoseVfio(FakeMachine.healthy([{ address: EDU, group: '7' }]).root);
    assert.equal(state, 'absent');
    assert.match(findings[0]!.fix, /warpdrive vfio bind/);
  });

  test('has nothing to use where there is no PCI', () => {
    assert.equal(diagnoseVfio(new FakeMachine().root).state, 'absent');
  });

  for (const [what, files, fix] of [
    ['the firmware offers one', { 'sys/firmware/acpi/tables/DMAR': '' }, /add intel_iommu=on/],
    [
      'an AMD one is turned off',
      { 'sys/firmware/acpi/tables/IVRS': '', 'proc/cpuinfo': 'vendor_id : AuthenticAMD' },
      /remove amd_iommu=off/,
    ],
    [
      'a guest was given none',
      { 'proc/cpuinfo': 'flags\t\t: fpu hypervisor lahf_lm' },
      /-device intel-iommu/,
    ],
    [
      'the firmware hides it',
      { 'proc/cpuinfo': 'flags\t\t: fpu' },
      /turn VT-d, AMD-Vi or SMMU on in the firmware/,
    ],
  ] as const) {
    test(`no IOMMU: ${what}`, () => {
      const machine = FakeMachine.healthy([{ address: EDU }]);
      for (const [path, text] of Object.entries(files)) machine.write(path, text);
      failsBecause(diagnoseVfio(machine.root), /no IOMMU is at work/, fix);
      assert.equal(diagnoseVfioDevice(EDU, machine.root).state, 'fails');
    });
  }

  test('modules that are not loaded', () => {
    const machine = FakeMachine.healthy([BOUND]);
    rmSync(join(machine.root, 'sys/module/vfio_iommu_type1'), { recursive: true });
    failsBecause(diagnoseVfio(machine.root), /not loaded: vfio_iommu_type1/, /modprobe vfio-pci/);
  });

  test('a container without the device files', () => {
    const machine = FakeMachine.healthy([BOUND]);
    rmSync(join(machine.root, 'dev/vfio/7'));
    failsBecause(diagnoseVfio(machine.root), /\/dev\/vfio\/7 is missing/, /--device \/dev\/vfio\/7/);
    rmSync(join(machine.root, 'dev/vfio/vfio'));
    assert.match(diagnoseVfio(machine.root).findings[0]!.problem, /\/dev\/vfio\/vfio is missing/);
  });

  test('interrupts that are not remapped', () => {
    const machine = FakeMachine.healthy([BOUND]);
    machine.write('proc/interrupts', ' 24:  0  0  PCI-MSI 49152-edge  eth0');
    failsBecause(diagnoseVfio(machine.root), /interrupts are not remapped/, /intremap=on/);
    machine.write('sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts', 'Y');
    const { state, findings } = diagnoseVfio(machine.root);
    assert.equal(state, 'works');
    assert.match(findings[0]!.problem, /could raise any interrupt/);
  });

  test('no fuss about interrupts where no processor of that kind is', () => {
    const machine = FakeMachine.healthy([BOUND]);
    machine.write('proc/interrupts', ' 24:  0  0  ITS-MSI 49152-edge  eth0');
    assert.deepEqual(diagnoseVfio(machine.root).findings, []);
  });

  test('a limit on locked memory, unless it does not count for this process', () => {
    const machine = FakeMachine.healthy([BOUND]);
    machine.write(
      'proc/self/limits',
      'Max locked memory         8388608              8388608              bytes',
    );
    failsBecause(diagnoseVfio(machine.root), /may lock 8192 KiB.*needs 65536 KiB/, /LimitMEMLOCK=65536K/);
    machine.write('proc/self/status', 'CapEff:\t0000000000004000');
    assert.equal(diagnoseVfio(machine.root).state, 'works');
  });

  test('a group that another driver holds up', () => {
    const machine = FakeMachine.healthy([BOUND, { address: '0000:00:03.1', driver: 'ahci', group: '7' }]);
    failsBecause(diagnoseVfio(machine.root), /others have 0000:00:03\.1 \(ahci\)/, /vfio bind 0000:00:03\.1/);
  });

  test('a device that a process has open', () => {
    const machine = FakeMachine.healthy([BOUND]);
    machine.write('proc/4711/fd/x', '');
    symlinkSync(join(machine.root, 'dev/vfio/7'), join(machine.root, 'proc/4711/fd/19'));
    symlinkSync('/dev/vfio/7', join(machine.root, 'proc/4711/fd/20'));
    failsBecause(diagnoseVfio(machine.root), /in use by process 4711/, /end that process/);
  });

  test('a device of another driver, a bridge, and none at all', () => {
    const machine = FakeMachine.healthy([
      { address: EDU, driver: 'ahci', group: '7' },
      { address: '0000:00:1c.0', classCode: 0x060400, group: '8' },
    ]);
    failsBecause(
      diagnoseVfioDevice(EDU, machine.root),
      /bound to ahci, and not to VFIO/,
      /warpdrive vfio bind/,
    );
    failsBecause(diagnoseVfioDevice('0000:00:1c.0', machine.root), /is a bridge/, /behind it/);
    failsBecause(diagnoseVfioDevice('0000:00:09.0', machine.root), /no PCI function/, /vfio list/);
  });

  test('an IOMMU that is done without', () => {
    const machine = FakeMachine.healthy([BOUND]);
    machine.write('sys/module/vfio/parameters/enable_unsafe_noiommu_mode', 'Y');
    const { state, findings } = diagnoseVfio(machine.root);
    assert.equal(state, 'works');
    assert.match(findings[0]!.problem, /could then reach the memory of everybody/);
  });
});

describe('the command doctor', () => {
  const folder = temporaryFolder();
  const env = { WARPDRIVE_DEVICE: '', XDG_RUNTIME_DIR: folder };

  test('is content when the accelerator in the process works', () => {
    const { code, stdout } = warpdrive(['doctor', '--json'], { env });
    assert.equal(code, 0);
    const { works, diagnoses } = JSON.parse(stdout.toString()) as { works: boolean; diagnoses: Diagnosis[] };
    assert.ok(works);
    assert.deepEqual(
      diagnoses.map(({ name }) => name),
      ['embedded', 'broker', 'vfio', 'uacce'],
    );
    assert.equal(diagnoses[0]!.state, 'works');
    assert.equal(diagnoses[1]!.state, 'absent');
  });

  test('fails for a device that does not work, with the next step', () => {
    const named = warpdrive(['doctor', `unix:${folder}/nobody.sock`], { env });
    assert.equal(named.code, 1);
    assert.match(named.stdout.toString(), /does not work here/);
    const byEnvironment = warpdrive(['doctor'], { env: { ...env, WARPDRIVE_DEVICE: 'vfio:0000:00:1f.7' } });
    assert.equal(byEnvironment.code, 1);
    assert.match(byEnvironment.stdout.toString(), /there is no PCI function 0000:00:1f\.7\n +fix:/);
  });
});
