import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { diagnoseVfio, diagnoseVfioDevice } from '../../src/cli/doctor-vfio.js';
import { listVfio, runVfio, type VfioListing } from '../../src/cli/vfio.js';
import { GUEST_DEVICE } from './harness/devices.js';
import { bind, driverOf, groupOf, unbind } from './support-devices.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const NOBODY = 65534;

interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

function warpdrive(args: string[], uid?: number): Run {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  return { code: status, stdout, stderr };
}

/** The same in this process, since a new one takes a second here. All that `vfio` does is done when the call returns. */
async function vfio(...args: string[]): Promise<Run> {
  let stdout = '';
  const { write } = process.stdout;
  process.stdout.write = (text: string | Uint8Array): boolean => {
    stdout += text.toString();
    return true;
  };
  let work: Promise<number>;
  try {
    work = runVfio(args);
  } finally {
    process.stdout.write = write;
  }
  try {
    return { code: await work, stdout, stderr: '' };
  } catch (error) {
    return { code: 1, stdout, stderr: (error as Error).message };
  }
}

const listed = (address: string): VfioListing => listVfio('/').find((each) => each.address === address)!;

describe('warpdrive vfio', () => {
  test('lists devices with their groups, and who else is in them', () => {
    const { code, stdout } = warpdrive(['vfio', 'list', '--json']);
    assert.equal(code, 0);
    const list = JSON.parse(stdout) as VfioListing[];
    const shared = list.find(({ address }) => address === GUEST_DEVICE.sharedEdu)!;
    assert.deepEqual(shared.with, [{ address: GUEST_DEVICE.sharedRng, driver: 'virtio-pci' }]);
    assert.equal(shared.id, '1234:11e8');
    assert.equal(shared.usable, false);
    assert.equal(shared.note, 'not bound');
    assert.ok(!list.some(({ className }) => className === 'bridge'));
    assert.ok(listVfio('/', true).some(({ className }) => className === 'bridge'));
  });

  test('gives a device to VFIO, and back to the driver that had it', async () => {
    const address = GUEST_DEVICE.secondCrypto;
    assert.equal(driverOf(address), 'virtio-pci');
    const bound = warpdrive(['vfio', 'bind', address.slice('0000:'.length)]);
    assert.deepEqual(bound, {
      code: 0,
      stdout: `${address} is bound to vfio-pci: /dev/vfio/${groupOf(address)}\n`,
      stderr: '',
    });
    assert.equal(driverOf(address), 'vfio-pci');
    assert.equal(listed(address).note, 'usable');
    assert.equal((await vfio('bind', address)).code, 0);
    const freed = await vfio('unbind', address);
    assert.equal(freed.stdout, `${address} is bound to virtio-pci\n`);
    assert.equal(driverOf(address), 'virtio-pci');
    const again = await vfio('unbind', address);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /is not bound to VFIO: virtio-pci has it/);
  });

  test('tells who holds a group up, and takes the whole group', async () => {
    const alone = await vfio('bind', GUEST_DEVICE.sharedEdu);
    assert.equal(alone.code, 2);
    assert.match(alone.stdout, /but group held up by 0000:00:15\.1 \(virtio-pci\).*--group/);
    const sick = diagnoseVfioDevice(GUEST_DEVICE.sharedEdu, '/');
    assert.equal(sick.state, 'fails');
    assert.match(sick.findings[0]!.problem, /0000:00:15\.1 \(virtio-pci\)/);
    assert.match(sick.findings[0]!.fix, /warpdrive vfio bind 0000:00:15\.1/);
    const whole = await vfio('bind', '--group', GUEST_DEVICE.sharedEdu);
    assert.equal(whole.code, 0, whole.stdout + whole.stderr);
    assert.equal(driverOf(GUEST_DEVICE.sharedRng), 'vfio-pci');
    assert.equal(diagnoseVfioDevice(GUEST_DEVICE.sharedEdu, '/').state, 'works');
    assert.equal((await vfio('unbind', '--group', GUEST_DEVICE.sharedEdu)).code, 0);
    assert.equal(driverOf(GUEST_DEVICE.sharedRng), 'virtio-pci');
    assert.equal(driverOf(GUEST_DEVICE.sharedEdu), undefined);
  });

  test('takes no bridge, no device that is not there, and nothing without root', async () => {
    const bridge = await vfio('bind', '0000:00:1c.0');
    assert.match(bridge.stderr, /0000:00:1c\.0 is a bridge/);
    const absent = await vfio('bind', '0000:00:1e.7');
    assert.match(absent.stderr, /there is no such PCI function; "warpdrive vfio list"/);
    const nobody = warpdrive(['vfio', 'bind', GUEST_DEVICE.edu], NOBODY);
    assert.match(nobody.stderr, /permission denied; this takes root/);
    assert.deepEqual([bridge.code, absent.code, nobody.code], [1, 1, 1]);
    assert.equal(driverOf(GUEST_DEVICE.edu), undefined);
  });

  test('does not wait for a program that has the device open', async () => {
    const address = GUEST_DEVICE.edu;
    bind(address, 'vfio-pci');
    const group = openSync(`/dev/vfio/${groupOf(address)}`, 'r+');
    const refused = await vfio('unbind', address);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, new RegExp(`in use by process ${process.pid}, .*--force`));
    // The doctor does not count the process that asks.
    const doctor = warpdrive(['doctor', `vfio:${address}`]);
    assert.equal(doctor.code, 1);
    assert.match(doctor.stdout, new RegExp(`in use by process ${process.pid}\n`));
    closeSync(group);
    unbind(address);
  });
});

describe('warpdrive doctor', () => {
  test('finds nothing wrong with this machine', () => {
    const without = diagnoseVfio('/');
    assert.equal(without.state, 'absent');
    assert.ok(
      without.findings.every(({ blocks }) => !blocks),
      JSON.stringify(without),
    );
    bind(GUEST_DEVICE.edu, 'vfio-pci');
    const { state, summary } = diagnoseVfio('/');
    assert.deepEqual({ state, summary }, { state: 'works', summary: `vfio:${GUEST_DEVICE.edu}` });
    assert.equal(warpdrive(['doctor', `vfio:${GUEST_DEVICE.edu}`]).code, 0);
    unbind(GUEST_DEVICE.edu);
  });

  test('names the permission and the limit that a user lacks', () => {
    const address = GUEST_DEVICE.edu;
    bind(address, 'vfio-pci');
    const command = `ulimit -l 64; exec ${process.execPath} ${MAIN} doctor vfio:${address}`;
    const { status, stdout } = spawnSync('sh', ['-c', command], {
      encoding: 'utf8',
      uid: NOBODY,
      gid: NOBODY,
    });
    assert.equal(status, 1);
    assert.match(stdout, /this user may not open \/dev\/vfio\/\d+/);
    assert.match(stdout, /SUBSYSTEM=="vfio", GROUP="vfio", MODE="0660"/);
    assert.match(stdout, /may lock 64 KiB of memory, and a device needs 65536 KiB/);
    assert.match(stdout, /LimitMEMLOCK=65536K/);
    unbind(address);
  });

  test('fails for a device that is bound elsewhere, and says where', () => {
    const { state, findings } = diagnoseVfioDevice(GUEST_DEVICE.crypto, '/');
    assert.equal(state, 'fails');
    assert.equal(findings[0]!.problem, `${GUEST_DEVICE.crypto} is bound to virtio-pci, and not to VFIO`);
    assert.equal(findings[0]!.fix, `as root, warpdrive vfio bind ${GUEST_DEVICE.crypto}`);
  });
});
